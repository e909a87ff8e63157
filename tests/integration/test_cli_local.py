"""The commands that work on this machine's settings and database, and what all commands have in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from foreman.cli.main import main
from foreman.settings import KEYS
from tests.doc_tables import helps
from tests.stores import Stores, opened, quiet

COMMANDS = dict(helps(main, "foreman"))


def _config(*arguments: str, **environ: str) -> Result:
    told = {name: None for name in os.environ if name.startswith("FOREMAN_")} | {"HOME": "/home/somebody"} | environ
    return CliRunner().invoke(main, ["config", *arguments], env=told)


def test_config_shows_every_setting_and_who_set_it(tmp_path: Path) -> None:
    """The variable, the file, or that nobody did; the value as it would be set."""
    file = tmp_path / "foreman.toml"
    file.write_text("[web]\nthreads = 8\n[webhook]\nallow_http = true\n")
    done = _config("--json", FOREMAN_CONFIG=str(file), FOREMAN_WEB_BIND="127.0.0.1:9999")
    assert done.exit_code == 0
    lines = {line["name"]: line for line in json.loads(done.stdout)}
    assert list(lines) == [f"{section}.{key}" for section, keys in KEYS.items() for key in keys]
    assert lines["web.bind"] == {
        "name": "web.bind",
        "value": "127.0.0.1:9999",
        "source": "env",
        "origin": "FOREMAN_WEB_BIND",
    }
    assert (lines["web.threads"]["value"], lines["web.threads"]["origin"]) == ("8", str(file))
    assert (lines["jobs.ttl_s"]["value"], lines["jobs.ttl_s"]["source"]) == ("86400", "default")


def test_config_hides_what_is_secret() -> None:
    """Within URLs and lists too: the output may be pasted into a report."""
    servers = json.dumps([{"name": "gpu", "url": "http://me:hunter2@gpu", "api_key": "hunter2"}])
    done = _config(
        FOREMAN_WEBHOOK_SECRET="hunter2",
        FOREMAN_DATABASE_URL="postgresql://foreman:hunter2@db/foreman",
        FOREMAN_REDIS_URL="redis://:hunter2@redis/0",
        FOREMAN_UPSTREAM_SERVERS=servers,
    )
    assert done.exit_code == 0
    assert "hunter2" not in done.output
    assert "postgresql://foreman:***@db/foreman" in done.output


def test_config_shows_a_section_a_setting_or_what_was_changed() -> None:
    """And says which there are if there is none of that name."""
    one = _config("web.bind", "--json")
    assert [line["name"] for line in json.loads(one.stdout)] == ["web.bind"]
    assert {line["name"].partition(".")[0] for line in json.loads(_config("web", "--json").stdout)} == {"web"}
    changed = _config("--changed", FOREMAN_WEB_THREADS="9").stdout.splitlines()
    assert [line.split() for line in changed[1:]] == [["web.threads", "9", "FOREMAN_WEB_THREADS"]]
    wrong = _config("wbe")
    assert (wrong.exit_code, wrong.stderr.partition(";")[0]) == (2, "foreman: wbe: no such setting or section")


def test_prune_removes_what_is_over_and_says_so(tmp_path: Path) -> None:
    """A job that ended years ago goes, one that lives stays, and the second time there is nothing to do."""
    with opened("sqlite", f"sqlite:///{tmp_path}/foreman.db") as engine:
        stores = Stores()
        stores.done(quiet())
        live = stores.submit(quiet())
        command = [sys.executable, "-P", "-m", "foreman.cli", "prune"]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "FOREMAN_DATA_DIR": str(tmp_path)}
        first, second = (
            subprocess.run([*command, *more], env=env, capture_output=True, text=True, check=True, timeout=60).stdout
            for more in ((), ("--json",))
        )
        assert first == "removed 1 job with all that belongs to it\n"
        assert json.loads(second) == {"jobs": 0, "objects": 0, "tombstones": 0}
        assert engine.rows("SELECT id FROM jobs") == [(live.id,)]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_help_of_each_command_has_examples(path: str) -> None:
    """That begin with foreman, or set something for it."""
    shown = COMMANDS[path].partition("Examples:\n")[2]
    assert "foreman" in shown.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nothing"], "No such option '--nothing'; see foreman --help"),
        (["sumbit"], "No such command 'sumbit'"),
        (["keys", "rewoke"], "No such command 'rewoke'"),
        (["show"], "Missing argument 'ID'; see foreman show --help"),
        (["jobs", "--state", "dead"], "Invalid value for '--state': 'dead' is not one of"),
        (["completion", "tcsh"], "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(arguments: list[str], said: str) -> None:
    """As every other error is, and with where the right one is explained."""
    result = CliRunner().invoke(main, arguments, prog_name="foreman")
    [line] = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (2, "")
    assert line.startswith(f"foreman: {said}")
    assert line.endswith("--help")


@pytest.mark.parametrize("group", ["", "keys"])
def test_a_group_alone_shows_its_help(group: str) -> None:
    """For who knows no more than its name."""
    result = CliRunner().invoke(main, group.split(), prog_name="foreman")
    assert result.output.startswith("Usage: foreman")
    assert result.exit_code == 2


def test_no_room_for_the_output_is_told_in_one_line(tmp_path: Path) -> None:
    """The data was not printed, so the status is not 0."""
    command = f"ulimit -f 0; exec '{sys.executable}' -P -m foreman.cli config > '{tmp_path}/out'"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/home/somebody"}
    ended = subprocess.run(
        ["/bin/sh", "-c", command], env=env, stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert (ended.returncode, ended.stderr) == (1, "foreman: the output cannot be written: File too large\n")


def test_every_command_that_prints_data_prints_json() -> None:
    """All but those that run foreman, the tour for people, the script for a shell, and the groups."""
    assert {path for path, shown in COMMANDS.items() if "--json" not in shown.partition("Options:")[2]} == {
        "foreman",
        "foreman completion",
        "foreman demo",
        "foreman keys",
        "foreman process",
        "foreman up",
    }


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(shell: str) -> None:
    """The script asks foreman itself, which knows its commands and options."""
    script = CliRunner().invoke(main, ["completion", shell]).stdout
    assert f"_FOREMAN_COMPLETE={shell}_complete" in script
    asked = {"_FOREMAN_COMPLETE": "bash_complete", "COMP_WORDS": "foreman sub", "COMP_CWORD": "1"}
    completed = CliRunner().invoke(main, [], env=asked, prog_name="foreman")
    assert completed.stdout == "plain,submit\n"


def test_bash_can_read_the_script() -> None:
    """Whatever its version, which is not asked for: the one that completes may be another."""
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=True)


@pytest.mark.parametrize("group", [(), ("keys",)])
def test_every_command_is_listed_by_its_first_sentence(group: tuple[str, ...]) -> None:
    """None is cut off on a terminal of eighty columns."""
    listed = CliRunner().invoke(main, [*group, "--help"], terminal_width=80).stdout.partition("Commands:\n")[2]
    assert [line for line in listed.splitlines() if line.endswith("...")] == []

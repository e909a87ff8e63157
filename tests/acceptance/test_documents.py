from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.acceptance.foreman_up import ROOT, until
from tests.terminal import Terminal, blocks
from tests.upstream import FakeOllama


def _keys(shown: str) -> list[str]:
    """The keys of a JSON object as a document shows it, which may leave off its end."""
    return re.findall(r'^    "(\w+)":', shown, re.MULTILINE)


#: Seconds for all commands of a document, a model's answers among them, on a busy machine; 15 on an idle one.
PATIENCE_S = 400


@pytest.mark.timeout(PATIENCE_S)
def test_the_session_of_the_readme_goes_as_it_is_printed(tmp_path: Path) -> None:
    """Every command, typed as it stands, prints what the document says, but for ids, times and a model's words."""
    readme = blocks(ROOT / "README.md")
    [receiver] = [block.text for block in readme if block.language == "python"]
    with Terminal(tmp_path / "reader") as terminal:
        heard = terminal.open("receiver", "python3", "-c", receiver)
        for block in readme:
            for command, shown in block.commands() if block.language in {"sh", "console"} else ():
                printed = terminal.like_the_document(terminal.enter(command))
                if "json.tool" in command:
                    job = json.loads(printed)
                    assert _keys(shown) == list(job)[: len(_keys(shown))]
                    assert job["state"] == "done"
                elif shown.startswith("{"):
                    assert json.loads(printed).keys() == json.loads(shown).keys()
                elif shown:
                    assert _kind(shown) in _kind(printed)  # between lines of the log
        [events] = [block.text for block in readme if block.language == "console" and "genuine" in block.text]
        until(lambda: _verdicts(heard.read_text()) == _verdicts(events))


def _verdicts(printed: str) -> list[str]:
    """What the receiver says of each event, between lines of its server's log."""
    return re.findall(r"^\w+-(\w+ genuine|\w+ FORGED)$", printed, re.MULTILINE)


def _kind(printed: str) -> str:
    """Output, less what differs from machine to machine."""
    return re.sub(r"/\S+/foreman$", "…", printed.strip(), flags=re.MULTILINE)


@pytest.mark.timeout(PATIENCE_S)
def test_every_command_of_the_quickstart_works_in_its_order(tmp_path: Path) -> None:
    """From ``make demo`` to an upstream of one's own and a key: each ends well, and none needs what was not said."""
    with FakeOllama() as upstream, Terminal(tmp_path / "reader") as terminal:
        terminal.ports["11434"] = upstream.port
        [receiver] = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
        heard = terminal.open("receiver", "python3", "-c", receiver)
        for block in blocks(ROOT / "docs/quickstart.md"):
            for command, _ in block.commands():
                terminal.enter(command)
                if "state_webhook_url" in command:
                    until(lambda: heard.read_text().count("-done genuine") == 1)
        assert heard.read_text().count("-done genuine") == 1

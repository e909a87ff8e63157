from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from foreman.domain.address import Listener
from foreman.domain.endpoint import Endpoint
from foreman.domain.section import Data, Jobs, Web, Webhook
from foreman.errors import SettingInvalid
from foreman.settings import Settings, SettingsInvalid, Source, child_environ, conf_path, load, to_environ

HOME = {"HOME": "/home/somebody"}


def _refusal(environ: dict[str, str], config: Path | None = None) -> str:
    with pytest.raises(SettingInvalid) as caught:
        load(HOME | environ, config)
    return str(caught.value)


def _file(directory: Path, text: str) -> Path:
    path = directory / "foreman.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_with_nothing_set_everything_is_on_this_machine() -> None:
    """`foreman up` needs no configuration."""
    settings = load(HOME)
    assert settings.web.bind == "127.0.0.1:8420"
    assert settings.public_url == "http://127.0.0.1:8420"
    assert settings.data_dir == Path("/home/somebody/.local/state/foreman")
    assert settings.database_url == "sqlite:////home/somebody/.local/state/foreman/foreman.db"
    assert settings.artifacts_url == "file:///home/somebody/.local/state/foreman/artifacts"
    assert settings.source("web.bind") is Source.DEFAULT


def test_the_environment_overrides_the_file_and_the_file_the_defaults(tmp_path: Path) -> None:
    """And each value remembers where it came from."""
    config = _file(tmp_path, "[web]\nthreads = 8\nworkers = 2\n")
    settings = load(HOME | {"FOREMAN_WEB_THREADS": "16"}, config)
    assert (settings.web.threads, settings.web.workers, settings.upstream.slots) == (16, 2, 1)
    assert settings.source("web.threads") is Source.ENV
    assert settings.source("web.workers") is Source.FILE
    assert settings.source("upstream.slots") is Source.DEFAULT


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    """A container's command line need not change."""
    config = _file(tmp_path, "[web]\nthreads = 8\n")
    assert load(HOME | {"FOREMAN_CONFIG": str(config)}).web.threads == 8


def test_a_variable_that_is_set_but_empty_is_not_set() -> None:
    """`FOREMAN_REDIS_URL=` in an env file means the default."""
    assert load(HOME | {"FOREMAN_WEB_THREADS": "", "FOREMAN_WEB_BIND": "  "}) == load(HOME)


def test_every_kind_of_value_is_read_from_the_environment() -> None:
    """Lists are separated by commas; fractions of a second are numbers."""
    settings = load(
        HOME
        | {
            "FOREMAN_WEBHOOK_ALLOW_HTTP": "True",
            "FOREMAN_WEBHOOK_ALLOWED_NETS": "127.0.0.0/8, ::1/128",
            "FOREMAN_WEBHOOK_ALLOWED_HOSTS": "Receiver, *.Example.internal.",
            "FOREMAN_WEBHOOK_RETRY_DELAYS_S": "0.1,0.2, 1e1",
            "FOREMAN_JOBS_TTL_S": "0",
            "FOREMAN_LOG_LEVEL": "DEBUG",
        }
    )
    assert settings.webhook.allow_http is True
    assert settings.webhook.networks == (ip_network("127.0.0.0/8"), ip_network("::1/128"))
    assert settings.webhook.hosts == ("receiver", "*.example.internal")
    assert settings.webhook.retry_delays_s == (0.1, 0.2, 10.0)
    assert settings.jobs.ttl_s == 0
    assert settings.log.level == "debug"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FOREMAN_WEB_BIND", "8420"),
        ("FOREMAN_WEB_BIND", ":8420"),
        ("FOREMAN_WEB_BIND", "127.0.0.1:0"),
        ("FOREMAN_WEB_BIND", "127.0.0.1:65536"),
        ("FOREMAN_WEB_BIND", "::1:8420"),
        ("FOREMAN_WEB_BIND", "[127.0.0.1]:8420"),
        ("FOREMAN_WEB_BIND", "http://127.0.0.1:8420"),
        ("FOREMAN_WEB_BIND", "127.0.0.1:８４２０"),
        ("FOREMAN_WEB_AUTH", "true"),
        ("FOREMAN_WEB_PUBLIC_URL", "foreman.example.org"),
        ("FOREMAN_WEB_PUBLIC_URL", "ftp://foreman.example.org"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://foreman.example.org/?a=b"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://foreman.example.org:99999"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://[::1"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://a b"),
        ("FOREMAN_WEB_THREADS", "0"),
        ("FOREMAN_WEB_THREADS", "1.5"),
        ("FOREMAN_WEB_THREADS", "many"),
        ("FOREMAN_WEB_THREADS", "1_0"),
        ("FOREMAN_WEB_THREADS", "9" * 5000),
        ("FOREMAN_DATABASE_URL", "mysql://host/name"),
        ("FOREMAN_DATABASE_URL", "postgresql://host"),
        ("FOREMAN_DATABASE_URL", "sqlite:///foreman.db"),
        ("FOREMAN_DATABASE_URL", "sqlite://foreman.db"),
        ("FOREMAN_DATABASE_URL", "/var/lib/foreman.db"),
        ("FOREMAN_REDIS_URL", "localhost:6379"),
        ("FOREMAN_REDIS_URL", "redis://"),
        ("FOREMAN_REDIS_URL", "redis://host/db"),
        ("FOREMAN_REDIS_URL", "unix://"),
        ("FOREMAN_UPSTREAM_URL", "127.0.0.1:11434"),
        ("FOREMAN_ARTIFACTS_URL", "/var/lib/artifacts"),
        ("FOREMAN_ARTIFACTS_URL", "file://relative/path"),
        ("FOREMAN_ARTIFACTS_URL", "s3:///prefix"),
        ("FOREMAN_ARTIFACTS_URL", "http://bucket"),
        ("FOREMAN_ARTIFACTS_INLINE_LIMIT_B", "-1"),
        ("FOREMAN_JOBS_TTL_S", "-1"),
        ("FOREMAN_JOBS_TTL_S", "2592001"),
        ("FOREMAN_JOBS_TTL_S", "nan"),
        ("FOREMAN_JOBS_TTL_S", "inf"),
        ("FOREMAN_JOBS_TTL_S", "1e999"),
        ("FOREMAN_JOBS_TTL_S", "1h"),
        ("FOREMAN_JOBS_EXEC_TIMEOUT_S", "0"),
        ("FOREMAN_JOBS_RETRY_JITTER", "1.1"),
        ("FOREMAN_WEBHOOK_SECRET", "two\nlines"),
        ("FOREMAN_WEBHOOK_SECRET", "blank at the end "),
        ("FOREMAN_WEBHOOK_ALLOW_HTTP", "maybe"),
        ("FOREMAN_WEBHOOK_ALLOWED_NETS", "10.0.0.1/8"),
        ("FOREMAN_WEBHOOK_ALLOWED_NETS", "10.0.0.0/8,,"),
        ("FOREMAN_WEBHOOK_ALLOWED_NETS", "localhost"),
        ("FOREMAN_WEBHOOK_RETRY_DELAYS_S", "1,,2"),
        ("FOREMAN_WEBHOOK_RETRY_DELAYS_S", "1,-2"),
        ("FOREMAN_WEBHOOK_RETRY_DELAYS_S", "1;2"),
        ("FOREMAN_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_stops_the_start_with_one_line_that_names_it(variable: str, text: str) -> None:
    """The line has the setting's name, the variable, and what would be right."""
    section, _, key = variable.removeprefix("FOREMAN_").lower().partition("_")
    line = _refusal({variable: text})
    assert line.startswith(f"{section}.{key}: must be ")
    assert line.endswith(f"({variable})")
    assert "\n" not in line
    assert len(line) < 250


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("FOREMAN_WEB_BIND", "0.0.0.0:80"),
        ("FOREMAN_WEB_BIND", "[::1]:8420"),
        ("FOREMAN_WEB_BIND", "localhost:8420"),
        ("FOREMAN_WEB_PUBLIC_URL", "https://foreman.example.org/base"),
        ("FOREMAN_DATABASE_URL", "postgresql://user:p%40ss@host:5432/name?sslmode=require"),
        ("FOREMAN_DATABASE_URL", "postgresql:///name"),
        ("FOREMAN_REDIS_URL", "redis://:password@host:6379/1"),
        ("FOREMAN_REDIS_URL", "rediss://host"),
        ("FOREMAN_REDIS_URL", "unix:///run/valkey.sock?db=1"),
        ("FOREMAN_UPSTREAM_URL", "http://[::1]:11434"),
        ("FOREMAN_ARTIFACTS_URL", "file:///var/lib/artifacts"),
        ("FOREMAN_ARTIFACTS_URL", "s3://bucket"),
        ("FOREMAN_ARTIFACTS_URL", "gs://bucket/prefix"),
        ("FOREMAN_ARTIFACTS_URL", "az://container/prefix/"),
        ("FOREMAN_WEBHOOK_SECRET", "whsec_c2VjcmV0"),
        ("FOREMAN_WEBHOOK_ALLOWED_NETS", "127.0.0.1"),
    ],
)
def test_a_right_value_is_taken_as_it_stands(variable: str, text: str) -> None:
    """And a child process is told the same."""
    assert to_environ(load(HOME | {variable: text}))[variable] == text


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("sqlite:////var/lib/foreman.db", "sqlite:////var/lib/foreman.db"),
        ("sqlite:///var/lib/foreman.db", "sqlite:////var/lib/foreman.db"),
        ("postgres://host/name", "postgresql://host/name"),
    ],
)
def test_a_database_url_has_one_spelling(given: str, used: str) -> None:
    """Three slashes are relative to some libraries and absolute to others: the store sees four."""
    assert load(HOME | {"FOREMAN_DATABASE_URL": given}).database_url == used


def test_the_public_url_ends_without_a_slash() -> None:
    """Paths are put behind it."""
    settings = load(HOME | {"FOREMAN_WEB_PUBLIC_URL": "https://foreman.example.org/base/"})
    assert settings.public_url == "https://foreman.example.org/base"


def test_all_wrong_settings_are_told_at_once(tmp_path: Path) -> None:
    """Nobody restarts five times to find five mistakes."""
    config = _file(tmp_path, '[web]\nthreads = "64"\n[jobs]\nretry_delay_s = 100\n')
    with pytest.raises(SettingsInvalid) as caught:
        load(HOME | {"FOREMAN_WEB_BIND": "nowhere", "FOREMAN_LOG_FORMAT": "xml"}, config)
    assert [problem.name for problem in caught.value.problems] == [
        "web.threads",
        "log.format",
        "web.bind",
        "jobs.retry_delay_s",
    ]
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[web]\nthread = 1\n", "web.thread: unknown key; did you mean threads? ({path})"),
        ("[wbe]\nthreads = 1\n", "wbe.threads: unknown section; did you mean web? ({path})"),
        ("threads = 1\n", "threads: unknown section; did you mean "),
        ("web = 1\n", "web: must be a table: [web] ({path})"),
        ("[web]\nthreads = true\n", "web.threads: must be a whole number from 1 to 1024, not True ({path})"),
        ("[web]\nthreads = 1.0\n", "web.threads: must be a whole number from 1 to 1024, not 1.0 ({path})"),
        ("[jobs]\nttl_s = nan\n", "jobs.ttl_s: must be a number from 0 to 2592000, not nan ({path})"),
        ("[webhook]\nallow_http = 1\n", "webhook.allow_http: must be true or false, not 1 ({path})"),
        ("[webhook]\nretry_delays_s = []\n", "webhook.retry_delays_s: must be a list of one or more numbers "),
        ("[webhook]\nallowed_nets = '10.0.0.0/8'\n", "webhook.allowed_nets: must be a list of CIDR blocks"),
        ("[webhook]\nallowed_hosts = ['*']\n", "webhook.allowed_hosts: must be a list of host names"),
        ("[webhook]\nallowed_hosts = ['10.0.0.1']\n", "webhook.allowed_hosts: must be a list of host names"),
        ("[webhook]\nallowed_hosts = ['https://a.b']\n", "webhook.allowed_hosts: must be a list of host names"),
        ("[webhook]\nallowed_hosts = ['a.*.b']\n", "webhook.allowed_hosts: must be a list of host names"),
        ("[webhook]\nsecret = 7\n", "webhook.secret: must be a secret on one line ({path})"),
        ("[web\n", "config: {path} is not TOML: "),
    ],
)
def test_a_mistake_in_the_file_names_the_file(tmp_path: Path, text: str, line: str) -> None:
    """Unknown sections and keys are mistakes there: nothing but foreman writes it."""
    config = _file(tmp_path, text)
    assert _refusal({}, config).startswith(line.format(path=config))


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    """Running on defaults instead would look like success."""
    assert "cannot be read: No such file" in _refusal({}, tmp_path / "missing.toml")


def test_a_file_that_is_not_text_stops_the_start(tmp_path: Path) -> None:
    """With a line, not a traceback."""
    config = tmp_path / "foreman.toml"
    config.write_bytes(b"\xff\xfe")
    assert "is not TOML" in _refusal({}, config)


def test_an_unknown_variable_of_a_known_section_is_a_mistake() -> None:
    """A misspelt variable would otherwise be a setting that silently does nothing."""
    assert _refusal({"FOREMAN_WEBHOOK_SECRETS": "x"}) == (
        "webhook.secrets: unknown key; did you mean secret? (FOREMAN_WEBHOOK_SECRETS)"
    )


def test_what_kubernetes_adds_to_the_environment_is_passed_over() -> None:
    """A service called foreman, or foreman-web, must not stop foreman's own start."""
    injected = {
        "FOREMAN_PORT": "tcp://10.0.0.1:8420",
        "FOREMAN_SERVICE_HOST": "10.0.0.1",
        "FOREMAN_WEB_PORT": "tcp://10.0.0.1:8420",
        "FOREMAN_WEB_PORT_8420_TCP": "tcp://10.0.0.1:8420",
        "FOREMAN_WEB_PORT_8420_TCP_ADDR": "10.0.0.1",
        "FOREMAN_WEB_SERVICE_HOST": "10.0.0.1",
        "FOREMAN_WEB_SERVICE_PORT": "8420",
        "FOREMAN_WEB_SERVICE_PORT_HTTP": "8420",
    }
    assert load(HOME | injected) == load(HOME)
    assert "unknown key" in _refusal({"FOREMAN_WEB_PORT": "8420"})


@pytest.mark.parametrize(
    "environ",
    [
        {"FOREMAN_WEBHOOK_SECRET": "hunter2\n"},
        {"FOREMAN_DATABASE_URL": "mysql://user:hunter2@host/name"},
        {"FOREMAN_REDIS_URL": "http://:hunter2@host"},
    ],
)
def test_an_error_never_shows_a_secret(environ: dict[str, str]) -> None:
    """Start-up errors end up in logs."""
    assert "hunter2" not in _refusal(environ)


def test_a_repr_never_shows_a_secret() -> None:
    """Nor does a log line or a test's failure."""
    secrets = {
        "FOREMAN_WEBHOOK_SECRET": "hunter2",
        "FOREMAN_DATABASE_URL": "postgresql://user:hunter2@host/name",
        "FOREMAN_REDIS_URL": "redis://:hunter2@host",
        "FOREMAN_UPSTREAM_URL": "http://user:hunter2@host",
    }
    assert "hunter2" not in repr(load(HOME | secrets))


@pytest.mark.parametrize(
    ("environ", "directory"),
    [
        ({"HOME": "/h"}, "/h/.local/state/foreman"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/state"}, "/state/foreman"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "/h/.local/state/foreman"),
        ({"HOME": "/h", "FOREMAN_DATA_DIR": "/data"}, "/data"),
        ({"XDG_STATE_HOME": "/state"}, "/state/foreman"),
    ],
)
def test_the_data_directory_follows_the_xdg_specification(environ: dict[str, str], directory: str) -> None:
    """Unless it is named."""
    assert load(environ).data_dir == Path(directory)


def test_a_relative_data_directory_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, at the start: a child with another working directory uses the same one."""
    monkeypatch.chdir(tmp_path)
    assert load(HOME | {"FOREMAN_DATA_DIR": "state"}).data_dir == tmp_path / "state"


def test_a_data_directory_with_odd_characters_makes_sound_urls() -> None:
    """A blank, a question mark or a per cent sign in a path does not end it."""
    settings = load(HOME | {"FOREMAN_DATA_DIR": "/data/a b?c%d"})
    assert settings.database_url == "sqlite:////data/a%20b%3Fc%25d/foreman.db"
    assert settings.artifacts_url == "file:///data/a%20b%3Fc%25d/artifacts"


def test_settings_know_where_foreman_and_what_it_uses_listen() -> None:
    """No webhook may go there; a file and a Unix socket are nowhere a webhook could go."""
    settings = load(
        HOME
        | {
            "FOREMAN_WEB_BIND": "[::1]:9000",
            "FOREMAN_REDIS_URL": "rediss://user:pw@Redis.example.com./1",
            "FOREMAN_DATABASE_URL": "postgresql://u:p@10.0.0.5/foreman",
            "FOREMAN_UPSTREAM_URL": "https://llm.example.com/prefix",
            "FOREMAN_UPSTREAM_SERVERS": '[{"name": "b", "url": "http://gpu-2:11434"}]',
        }
    )
    assert settings.listeners == (
        Listener("::1", 9000),
        Listener("redis.example.com", 6379),
        Listener("10.0.0.5", 5432),
        Listener("llm.example.com", 443),
        Listener("gpu-2", 11434),
    )
    local = load(HOME | {"FOREMAN_REDIS_URL": "unix:///run/valkey.sock", "FOREMAN_DATABASE_URL": "sqlite:////d/f.db"})
    assert local.listeners == (Listener("127.0.0.1", 8420),)


def test_a_child_process_reads_the_same_settings() -> None:
    """Whatever was set in a file or by hand reaches every process of `foreman up`."""
    settings = replace(
        load(HOME),
        web=Web(bind="[::1]:9000", threads=3),
        data=Data(dir="/data"),
        jobs=Jobs(ttl_s=0, lease_s=2.5, retry_jitter=0.1 + 0.2),
        webhook=Webhook(
            secret="a,b #'\"", allow_http=True, allowed_nets=("10.0.0.0/8", "::1/128"), retry_delays_s=(0.25, 1)
        ),
    )
    assert load(to_environ(settings)) == settings


def test_a_child_process_is_not_told_what_was_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inherited variable or file would speak against the settings; the rest of the environment is inherited."""
    monkeypatch.setenv("FOREMAN_CONFIG", "/nowhere.toml")
    monkeypatch.setenv("FOREMAN_WEBHOOK_SECRET", "inherited")
    monkeypatch.setenv("UNRELATED", "kept")
    settings = load(HOME)
    environ = child_environ(settings)
    assert load(environ) == settings
    assert environ["UNRELATED"] == "kept"


#: Where the API listens, what ``web.auth`` says, and whether keys are asked for.
KEYS_REQUIRED = [
    ("127.0.0.1:8420", "auto", False),
    ("127.8.8.8:8420", "auto", False),
    ("[::1]:8420", "auto", False),
    ("localhost:8420", "auto", False),
    ("LocalHost:8420", "auto", False),
    ("0.0.0.0:8420", "auto", True),
    ("[::]:8420", "auto", True),
    ("192.168.1.5:8420", "auto", True),
    ("10.0.0.1:8420", "auto", True),
    ("foreman.example.org:8420", "auto", True),
    ("localhost.example.org:8420", "auto", True),
    ("127.1:8420", "auto", True),
    ("[fe80::1]:8420", "auto", True),
    ("127.0.0.1:8420", "on", True),
    ("0.0.0.0:8420", "on", True),
    ("127.0.0.1:8420", "off", False),
    ("0.0.0.0:8420", "off", False),
]


@pytest.mark.parametrize(("bind", "auth", "required"), KEYS_REQUIRED)
def test_keys_are_asked_for_wherever_others_could_ask(
    bind: str,
    auth: str,
    required: bool,  # noqa: FBT001  a column of the table
) -> None:
    """Unless an operator says otherwise; a name or form that may be loopback and need not be counts as reachable."""
    assert load(HOME | {"FOREMAN_WEB_BIND": bind, "FOREMAN_WEB_AUTH": auth}).keys_required is required


def test_settings_made_by_hand_have_the_defaults() -> None:
    """A test or a tool need not read an environment."""
    assert Settings(data=Data(dir="/data")) == load({"FOREMAN_DATA_DIR": "/data"})


def test_configuration_files_are_found_in_a_source_tree() -> None:
    """The same call finds them inside an installed package."""
    assert conf_path("foreman.toml").is_file()


SERVERS = (
    '[{"name": "gpu-1", "url": "http://user:hunter2@10.0.0.5:11434"}, {"name": "gpu-2", "url": "https://b/v1", %s}]'
)


def test_several_upstreams_are_read_from_the_environment_and_from_a_file(tmp_path: Path) -> None:
    """A JSON array there, an array of tables here, and the same settings of both."""
    environ = {"FOREMAN_UPSTREAM_SERVERS": SERVERS % '"kind": "OpenAI", "slots": 4, "models": ["q*"], "api_key": "k"'}
    config = _file(
        tmp_path,
        '[[upstream.servers]]\nname = "gpu-1"\nurl = "http://user:hunter2@10.0.0.5:11434"\n'
        '[[upstream.servers]]\nname = "gpu-2"\nurl = "https://b/v1"\nkind = "openai"\nslots = 4\nmodels = ["q*"]\n'
        'api_key = "k"\n',
    )
    settings = load(HOME | environ)
    assert settings.upstream.endpoints == (
        Endpoint("gpu-1", "http://user:hunter2@10.0.0.5:11434"),
        Endpoint("gpu-2", "https://b/v1", "openai", 4, ("q*",), "k"),
    )
    assert load(HOME, config) == settings == load(to_environ(settings))
    assert "hunter2" not in repr(settings.upstream.endpoints)


def test_the_url_of_the_one_upstream_is_one_server_more() -> None:
    """Whoever adds a second server changes nothing about the first; and one alone needs no list."""
    one = {"FOREMAN_UPSTREAM_URL": "http://a:1", "FOREMAN_UPSTREAM_SLOTS": "3", "FOREMAN_UPSTREAM_API_KEY": "k"}
    first = Endpoint("default", "http://a:1", slots=3, api_key="k")
    assert load(HOME).upstream.endpoints == ()
    assert load(HOME | one).upstream.endpoints == (first,)
    both = load(HOME | one | {"FOREMAN_UPSTREAM_SERVERS": SERVERS % '"slots": 2'})
    assert [each.name for each in both.upstream.endpoints] == ["default", "gpu-1", "gpu-2"]
    assert both.upstream.endpoints[0] == first


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("http://a:1", "upstream.servers: must be a list of servers, such as ["),
        ('{"name": "a"}', "upstream.servers: must be a list of servers, such as ["),
        ("[" * 9999, "upstream.servers: must be a list of servers, such as ["),
        ('["http://a:1"]', "upstream.servers[0]: must be a table with name, url, and "),
        ('[{"name": "a"}]', "upstream.servers[0].url: must be an http or https URL "),
        ('[{"url": "http://a:1"}]', "upstream.servers[0].name: must be 1 to 64 of a-z, 0-9 and -, "),
        ('[{"name": "default", "url": "http://a:1"}]', "upstream.servers[0].name: must be 1 to 64 of "),
        ('[{"name": "GPU", "url": "http://a:1"}]', "upstream.servers[0].name: must be 1 to 64 of "),
        (SERVERS % '"slots": "2"', "upstream.servers[1].slots: must be a whole number from 1 to 1024 ("),
        (SERVERS % '"slots": 0', "upstream.servers[1].slots: must be a whole number from 1 to 1024 ("),
        (SERVERS % '"kind": "x"', "upstream.servers[1].kind: must be one of ollama, openai ("),
        (SERVERS % '"models": "m"', "upstream.servers[1].models: must be a list of names of models"),
        (SERVERS % '"models": [""]', "upstream.servers[1].models: must be a list of names of models"),
        (SERVERS % '"slot": 1', "upstream.servers[1].slot: must be one of the keys name, url, kind, slots, models, "),
        (SERVERS % '"name": "gpu-1"', "upstream.servers[1].name: must be a name that no other server has ("),
        (SERVERS % '"api_key": "hunter2\\n"', "upstream.servers[1].api_key: must be a key on one line"),
    ],
)
def test_a_mistake_in_a_server_is_told_by_its_place(text: str, line: str) -> None:
    """The number of the server and the key, and never its URL or key."""
    told = _refusal({"FOREMAN_UPSTREAM_SERVERS": text})
    assert told.startswith(line)
    assert told.endswith("(FOREMAN_UPSTREAM_SERVERS)")
    assert "hunter2" not in told

from __future__ import annotations

import ast
import io
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from foreman.domain.event import event_headers, ping_body
from foreman.domain.lifecycle import EDGES, Cause, State
from foreman.domain.setting import plain
from foreman.settings import KEYS, PREFIX, Settings, conf_path
from tests.doc_tables import MOVES, PLACES, ROOT, TABLES, documents, renewed, span

DOCUMENTS = documents()
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
VARIABLES = {f"{PREFIX}{section}_{key}".upper() for section, keys in KEYS.items() for key in keys} | {
    "FOREMAN_CONFIG",
    "FOREMAN_URL",
    "FOREMAN_API_KEY",
}

#: Units in which documents give the defaults of settings, in the settings' own.
UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86_400, "KiB": 1024, "MiB": 2**20, "": 1}

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")
_NAMED = re.compile(r"`(\w+)\.(\w+)`(?:\s\((\d[\d,]*) ?(\w*)\))?")
_CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SECRET = b"s3cret"

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _prose(path: Path) -> str:
    return _CODE.sub("", _text(path))


def _anchors(path: Path) -> set[str]:
    """What the headings of a Markdown file are linked by, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def _defined(path: Path) -> set[str]:
    """``name`` and ``Class.name`` of what a Python file defines."""
    found: set[str] = set()
    for node in ast.parse(_text(path)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def _snippets(path: Path) -> list[str]:
    return [code for language, code in _CODE.findall(_text(path)) if language == "python"]


def _signed(body: bytes) -> dict[str, str]:
    """The headers of a try made now."""
    now = round(time.time() * 1000)
    return event_headers(
        "J-done", body, secrets=(b"older", _SECRET), now=now, attempt=1, sequence=4, user_agent="foreman"
    )


@each_document
def test_tables_made_from_the_code_are_up_to_date(path: Path) -> None:
    """A document says what the code does; if not, ``python -m tests.doc_tables`` makes it."""
    assert _text(path) == renewed(_text(path))


def test_every_table_is_shown_somewhere() -> None:
    """No table is made for nobody, and no marker names one that does not exist."""
    shown = [place["name"] for path in DOCUMENTS for place in PLACES.finditer(_text(path))]
    assert sorted(shown) == sorted(TABLES)


def test_the_lifecycle_names_every_state_edge_and_cause() -> None:
    """Whoever meets a state or a code in an answer finds it explained."""
    assert set(MOVES) == EDGES
    text = _text(ROOT / "docs/lifecycle.md")
    missing = [name for name in (*State, *Cause) if f"| `{name}` | " not in text]
    assert missing == []
    assert not re.search(r"\| +\|", TABLES["states"]() + TABLES["causes"]()), "a member has no comment"


def test_the_settings_table_has_the_keys_of_the_configuration_file() -> None:
    """A key in one place is in the other."""
    conf = tomllib.loads(_text(conf_path("foreman.toml")))
    table = re.findall(r"^\| `(\w+\.\w+)` \| ", TABLES["settings"](), re.MULTILINE)
    assert table == [f"{section}.{key}" for section, keys in conf.items() for key in keys]


@each_document
def test_settings_that_are_named_exist(path: Path) -> None:
    """Nobody sets a variable that does nothing because a document misspelt it."""
    named = {match[0] for match in re.finditer(rf"{PREFIX}[A-Z][A-Z_]*[A-Z]\b", _text(path))}
    assert named <= VARIABLES
    known = {f"{section}.{key}" for section, keys in KEYS.items() for key in keys}
    found = {f"{section}.{key}" for section, key, *_ in _NAMED.findall(_prose(path)) if section in KEYS}
    assert {each for each in found if not each.endswith((".py", ".toml"))} <= known


@each_document
def test_defaults_that_are_told_are_the_defaults(path: Path) -> None:
    """A number in brackets behind a setting is what that setting is if nobody sets it."""
    for section, key, number, unit in _NAMED.findall(_prose(path)):
        if number and section in KEYS and unit in UNITS:
            told = float(number.replace(",", "")) * UNITS[unit]
            assert plain(getattr(getattr(Settings(), section), key)) == plain(told), f"{section}.{key}"


@each_document
def test_links_lead_somewhere(path: Path) -> None:
    """A link names a file that is there, a heading that it has, and a function that it defines."""
    for shown, target in _LINK.findall(_prose(path)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        goal = (path.parent / name).resolve() if name else path
        assert goal.exists(), target
        assert goal.is_relative_to(ROOT), target
        assert not anchor or anchor in _anchors(goal), target
        function = re.fullmatch(r"`([A-Za-z_.]+)`", shown)
        if function and goal.suffix == ".py" and not function[1].endswith(".py"):
            assert function[1] in _defined(goal), f"{shown} in {target}"


@each_document
def test_each_document_begins_with_its_title_and_what_it_is_for(path: Path) -> None:
    """A reader in a hurry knows after one sentence whether to read on."""
    title, blank, purpose = _text(path).splitlines()[:3]
    assert re.match(r"# \S", title)
    assert not blank
    assert purpose[:1].isupper() or purpose.startswith("foreman ")


def test_decisions_have_a_number_each() -> None:
    """A number that is cited means one decision for ever: its file and its title agree on it, and no other has it."""
    numbers = [int(path.name.partition("-")[0]) for path in DECISIONS]
    assert len(set(numbers)) == len(numbers)
    for number, path in zip(numbers, DECISIONS, strict=True):
        assert path.name.startswith(f"{number:04d}-")
        assert _text(path).startswith(f"# {number}. ")


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_what_was_turned_down(path: Path) -> None:
    """Each is short, and has the four parts by which it can be judged again."""
    assert re.findall(r"^## (.+)$", _text(path), re.MULTILINE) == [
        "Context",
        "Decision",
        "Consequences",
        "Turned down",
    ]
    assert len(_text(path).splitlines()) <= 60


def test_the_index_leads_to_every_document() -> None:
    """What is written can be found."""
    index = ROOT / "docs/index.md"
    linked = {(index.parent / target).resolve() for _, target in _LINK.findall(_text(index))}
    assert {path for path in DOCUMENTS if path not in (index, ROOT / "README.md")} <= linked


def test_the_glossary_is_sorted_and_says_each_word_once() -> None:
    """A word is where one looks for it."""
    words = re.findall(r"^- \*\*(.+?)\*\*", _text(ROOT / "docs/glossary.md"), re.MULTILINE)
    assert words == sorted(set(words))


@each_document
def test_python_snippets_compile(path: Path) -> None:
    """What is shown can be pasted."""
    for number, code in enumerate(_snippets(path), 1):
        compile(code, f"{path.name} snippet {number}", "exec", dont_inherit=True)


def test_the_snippet_with_foremans_own_receiver_tells_genuine_from_forged(capsys: pytest.CaptureFixture[str]) -> None:
    """It answers 204 to what foreman signs and 401 to anything else, and says what was wrong."""
    names: dict[str, Any] = {}
    exec(_snippets(ROOT / "docs/webhooks.md")[0], names)  # noqa: S102  the document is what is tested
    body = ping_body("J-done", 0)
    assert names["receive"](_signed(body), body, "s3cret, newer") == 204
    assert names["receive"](_signed(body), body, "another") == 401
    assert capsys.readouterr().out.startswith("refused: X-Foreman-Signature is not")


@pytest.mark.parametrize("number", [1, 2])
def test_the_snippets_for_receivers_tell_genuine_from_forged(number: int) -> None:
    """Both ways to verify accept what foreman signs, also during a rotation, and nothing else."""
    names: dict[str, Any] = {}
    exec(_snippets(ROOT / "docs/webhooks.md")[number], names)  # noqa: S102  the document is what is tested
    body = b'{"id": "J-done"}'
    assert names["verify"](_SECRET, _signed(body), body)
    assert not names["verify"](_SECRET, _signed(body), b'{"id": "K-done"}')
    assert not names["verify"](b"another", _signed(body), body)
    assert not names["verify"](_SECRET, {}, body)


def test_the_ten_lines_of_the_readme_are_a_receiver() -> None:
    """What the README shows answers 204 to what foreman signs and 401 to anything else."""
    [code] = _snippets(ROOT / "README.md")
    assert len(code.splitlines()) == 10
    names: dict[str, Any] = {}
    exec(code.rpartition("http.server.HTTPServer")[0], names)  # noqa: S102  the document is what is tested
    body = b'{"id": "J-done"}'
    genuine = event_headers("J-done", body, secrets=(_SECRET,), now=0, attempt=1, sequence=4, user_agent="foreman")
    for headers, status in ((genuine, 204), (genuine | {"X-Foreman-Signature": "sha256=00"}, 401)):
        request = _Request(headers | {"Content-Length": str(len(body))}, body)
        names["Receiver"].do_POST(request)
        assert request.answered == [status]


class _Request:
    """As much of a ``BaseHTTPRequestHandler`` as a receiver uses."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.rfile = io.BytesIO(body)
        self.answered: list[int] = []

    def send_response(self, status: int) -> None:
        self.answered.append(status)

    def end_headers(self) -> None:
        """Nothing to send."""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.8, "0.8 s"), (1.0, "1 s"), (60.0, "1 min"), (91.0, "1 min 31 s"), (30_991.0, "8 h 36 min 31 s")],
)
def test_times_are_told_in_hours_minutes_and_seconds(seconds: float, told: str) -> None:
    """The table of tries can be read without a calculator."""
    assert span(seconds) == told

from __future__ import annotations

import re
import tomllib

import pytest

from foreman.domain.setting import Number, Whole, plain
from foreman.settings import KEYS, Settings, conf_path, load

CONF = conf_path("foreman.toml")
TABLES = tomllib.loads(CONF.read_text(encoding="utf-8"))
NAMES = [(section, key) for section, keys in KEYS.items() for key in keys]


def _comment(section: str, key: str) -> str:
    """The lines of comment right above ``key``, as one."""
    body = CONF.read_text(encoding="utf-8").partition(f"[{section}]\n")[2]
    match = re.search(rf"((?:^#.*\n)+){key} = ", body, re.MULTILINE)
    assert match is not None, f"{section}.{key} has no comment"
    return match[1].replace("\n# ", " ")


def test_the_file_holds_the_keys_of_the_settings_in_their_order() -> None:
    """Nobody looks for a setting in vain, in either place."""
    assert {section: list(table) for section, table in TABLES.items()} == {
        section: list(keys) for section, keys in KEYS.items()
    }


def test_the_file_holds_the_defaults() -> None:
    """A copy of the file changes nothing until a line of it is changed."""
    environ = {"HOME": "/home/somebody"}
    assert load(environ, CONF) == load(environ)


@pytest.mark.parametrize(("section", "key"), NAMES)
def test_each_comment_ends_with_the_variable(section: str, key: str) -> None:
    """Who reads the file sees how to override the key."""
    assert _comment(section, key).split()[-1] == f"FOREMAN_{section}_{key}".upper()


@pytest.mark.parametrize(("section", "key"), NAMES)
def test_each_comment_says_the_bounds(section: str, key: str) -> None:
    """The range that is checked is the range that is written."""
    kind = KEYS[section][key]
    if isinstance(kind, Whole | Number):
        bounds = f"{plain(kind.low)} to {plain(kind.high)}".replace(".0 ", " ")
        assert bounds in _comment(section, key)


def test_a_setting_that_holds_a_password_is_known_as_secret() -> None:
    """Every URL but the public one may have a password in it."""
    shown = repr(Settings())
    assert "secret=" not in shown
    assert re.findall(r"\w*url=", shown) == ["public_url="]

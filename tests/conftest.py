"""What every suite shares: a test is marked by the directory it lies in, and told on what to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.artifacts import ARTIFACTS, KINDS, LOCAL
from tests.databases import ENGINES, SESSION, SQLITE

_SUITES = frozenset({"unit", "contract", "integration", "acceptance", "browser"})


# How long an example takes says how busy the machine is.
settings.register_profile("foreman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foreman")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--database postgresql`` and ``--artifacts s3``: run on them what otherwise runs on the one default only."""
    parser.addoption("--database", choices=ENGINES, default=SQLITE, help="of tests that do not run on both")
    parser.addoption("--artifacts", choices=KINDS, default=LOCAL, help="where tests that do not run on both keep them")


def pytest_configure(config: pytest.Config) -> None:
    """Tell those that need one."""
    SESSION.engine = config.getoption("--database")
    ARTIFACTS.kind = config.getoption("--artifacts")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Leave no server and no file behind, after the last fixture.

    Not when it is unconfigured: a process of pytest-xdist is killed ten seconds after it has finished its session, and
    to remove a thousand databases takes longer.
    """
    ARTIFACTS.end()
    SESSION.end()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its suite, so that ``pytest -m "not acceptance"`` works without a decorator per file."""
    here = Path(__file__).parent
    for item in items:
        suite = item.path.relative_to(here).parts[0]
        if suite in _SUITES:
            item.add_marker(suite)
    unused = {SQLITE, LOCAL} - {SESSION.engine, ARTIFACTS.kind}
    others = [item for item in items if any(_is_about(kind, item) for kind in unused)]
    items[:] = [item for item in items if item not in others]
    config.hook.pytest_deselected(items=others)


def _is_about(kind: str, item: pytest.Item) -> bool:
    """Whether a test is about the ways of that kind of store alone, or is the half of a pair that runs on it."""
    values = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return item.get_closest_marker(kind) is not None or kind in values

"""What every suite shares: a test is marked by the directory it lies in, and told which database to run on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.databases import ENGINES, POSTGRESQL, SESSION, SQLITE

_SUITES = frozenset({"unit", "contract", "integration", "acceptance", "browser"})


# How long an example takes says how busy the machine is.
settings.register_profile("foreman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("foreman")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--database postgresql`` runs on PostgreSQL what otherwise runs on SQLite only."""
    parser.addoption("--database", choices=ENGINES, default=SQLITE, help="of tests that do not run on both")


def pytest_configure(config: pytest.Config) -> None:
    """Tell those that need one."""
    SESSION.engine = config.getoption("--database")


def pytest_unconfigure() -> None:
    """Leave no server behind."""
    SESSION.end()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with its suite, so that ``pytest -m "not acceptance"`` works without a decorator per file."""
    here = Path(__file__).parent
    for item in items:
        suite = item.path.relative_to(here).parts[0]
        if suite in _SUITES:
            item.add_marker(suite)
    if SESSION.engine == POSTGRESQL:
        ours = [item for item in items if _is_about_sqlite(item)]
        items[:] = [item for item in items if item not in ours]
        config.hook.pytest_deselected(items=ours)


def _is_about_sqlite(item: pytest.Item) -> bool:
    """Whether a test is about SQLite's own ways, or is the half of a pair that runs on it."""
    values = item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    return item.get_closest_marker("sqlite") is not None or SQLITE in values

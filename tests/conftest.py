"""What every suite shares: a test is marked by the directory it lies in."""

from __future__ import annotations

from pathlib import Path

import pytest

_SUITES = frozenset({"unit", "contract", "integration", "acceptance", "browser"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its suite, so that ``pytest -m "not acceptance"`` works without a decorator per file."""
    here = Path(__file__).parent
    for item in items:
        suite = item.path.relative_to(here).parts[0]
        if suite in _SUITES:
            item.add_marker(suite)

from __future__ import annotations

import subprocess
import sys

import pytest

#: What only a server needs.
SERVERS = ("falcon", "peewee", "playhouse", "dramatiq", "redis", "gunicorn", "obstore", "psycopg", "xllamacpp", "click")


@pytest.mark.parametrize("module", ["foreman.client", "foreman.receiver"])
def test_what_programs_use_does_not_bring_the_server_along(module: str) -> None:
    """A program that imports it loads nothing that only a server needs."""
    code = f"import sys, {module}; print(*(set({SERVERS!r}) & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []

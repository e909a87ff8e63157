"""The process that serves the API, as the Procfile and ``foreman up`` run it."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from foreman import stock
from foreman.domain.setting import is_loopback
from foreman.settings import Settings, conf_path


def web(fd: int | None = None, grace_s: float | None = None) -> NoReturn:
    """Become gunicorn. ``fd``: a socket that listens already; ``grace_s``: for requests under way when it is stopped.

    Raises:
        SettingInvalid: before gunicorn would stumble over it.
    """
    settings = stock.settings()
    stock.redis_url()
    if settings.traces.endpoint:
        from foreman import wiring  # noqa: PLC0415 -- as long to import as all of the above

        wiring.tracer()
    stock.migrate()
    _warn(settings)
    argv = [sys.executable, "-P", "-m", "gunicorn", "--config", str(conf_path("gunicorn.py"))]
    # gunicorn puts its directory first among those that modules come from; this one is nobody's to write to.
    argv += ["--chdir", "/", "--bind", settings.web.bind if fd is None else f"fd://{fd}"]
    if grace_s is not None:
        argv += ["--graceful-timeout", str(round(grace_s))]
    os.execv(sys.executable, argv)  # noqa: S606 -- no shell is wanted


def _warn(settings: Settings) -> None:
    """One line about what an operator may not have meant."""
    if not settings.keys_required and not is_loopback(settings.web.bind):
        click.echo(f"web.auth is off: whoever reaches {settings.web.bind} may do everything", err=True)
    if settings.keys_required and not stock.keys().any_good():
        click.echo("every request needs an API key, and there is none yet: foreman keys create NAME", err=True)

"""``foreman demo``: the whole service once, on loopback and on a real model, told step by step."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from foreman import clock
from foreman.bundled import model
from foreman.cli import tether
from foreman.cli.receiver import Delivery, Receiver
from foreman.settings import Settings, child_environ, from_environment

#: Seconds for everything to start: measured 3 s on two cores, and a slow disk may take ten times as long.
_START_S = 90.0
#: Seconds for one short completion with all its webhooks: measured 2 s.
_JOB_S = 120.0
#: Seconds for the stop: more than ``foreman up`` allows itself.
_STOP_S = 30.0
#: Lines of the service's log shown when something goes wrong, and characters of each: a traceback is one long line.
_LOG_LINES, _LOG_WIDTH = 30, 1000

_CHAT = {
    "model": model.NAME,
    "messages": [{"role": "user", "content": "In one short sentence: why is the sky blue?"}],
    # A small model rambles: a bound on its answer, and the same one every time.
    "options": {"num_predict": 48, "temperature": 0.2, "seed": 7},
}


class DemoFailed(click.ClickException):
    """The service did not do what it promises; the message says what was missed."""


@dataclass(frozen=True, slots=True)
class _Service:
    """A running ``foreman up``."""

    popen: subprocess.Popen[str]
    port: int
    log: Path

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The decoded answer to one request.

        Raises:
            DemoFailed: it is not a success.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_JOB_S)
        try:
            connection.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status not in {http.client.OK, http.client.ACCEPTED}:
            raise DemoFailed(f"{method} {path} answered {response.status}: {text[:500]}")
        answer: dict[str, Any] = json.loads(text)
        return answer


def demo() -> None:
    """Show the headline: submit, webhooks as they come, a completion, and recovery by polling.

    Raises:
        click.ClickException: something did not work; the message says what.
    """
    began = clock.monotonic()
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()
    with tempfile.TemporaryDirectory(prefix="foreman-demo-") as folder, Receiver(secret) as receiver:
        settings = _settings(Path(folder), secret)
        _step("Starting foreman: Valkey, SQLite, the model server, the workers and the API")
        with _running(settings, Path(folder)) as service:
            _show_webhooks(service, receiver)
            _show_recovery(service, receiver)
            _step("Stopping it")
        _note("every process has ended, and the exit status was 0")
    click.echo(f"\nDone in {clock.monotonic() - began:.0f} s. For real use: {_called()} up")


def _called() -> str:
    """How this terminal can call foreman: by its name, or by its path where no environment is activated."""
    installed = Path(sys.executable).with_name("foreman")
    found = shutil.which("foreman")
    if not installed.exists() or (found is not None and Path(found).samefile(installed)):
        return "foreman"
    return min(os.path.relpath(installed), str(installed), key=len)


def _settings(folder: Path, secret: str) -> Settings:
    """The settings of a service of its own: nothing of what is configured here is used, or touched."""
    _provide_model(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bind = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = Settings()
    return replace(
        settings,
        web=replace(settings.web, bind=bind),
        data=replace(settings.data, dir=str(folder)),
        # The receiver is on loopback and plain HTTP, which nobody may call unless an operator says so.
        webhook=replace(settings.webhook, secret=secret, allow_http=True, allowed_nets=("127.0.0.0/8",)),
    )


def _provide_model(folder: Path) -> None:
    """Have the model where the service looks for it; fetched once, to where ``foreman up`` finds it too."""
    usual = from_environment().data_dir
    try:
        file = model.find(usual) or model.fetch(usual, partial(click.echo, err=True))
    except model.ModelUnavailable as error:
        raise click.ClickException(str(error)) from error
    if file.is_relative_to(usual):
        (folder / "models").symlink_to(file.parent)


@contextlib.contextmanager
def _running(settings: Settings, folder: Path) -> Iterator[_Service]:
    """A ``foreman up`` that listens; it is stopped when the block ends, and must end well if the block did.

    Raises:
        DemoFailed: it did not start, or did not stop cleanly.
    """
    log = folder / "up.log"
    # Tethered, and out of reach of this terminal's Ctrl-C: it is this process that stops it, or dies with it.
    argv = [sys.executable, "-I", "-S", str(Path(tether.__file__)), str(os.getpid())]
    with log.open("w") as errors:
        popen = subprocess.Popen(
            [*argv, sys.executable, "-P", "-m", "foreman.cli", "up"],
            env=child_environ(settings) | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    service = _Service(popen, int(settings.web.bind.rpartition(":")[2]), log)
    try:
        _await_start(service)
        yield service
    except BaseException:
        _end(popen)
        _show_log(log)
        raise
    if status := _end(popen):
        _show_log(log)
        raise DemoFailed(f"foreman up ended with status {status}")


def _await_start(service: _Service) -> None:
    """Repeat what ``foreman up`` says when all is ready."""
    began = clock.monotonic()
    # A start that hangs is ended, and then so is its output, which is what is waited for.
    signal.signal(signal.SIGALRM, lambda *_: service.popen.kill())
    signal.setitimer(signal.ITIMER_REAL, _START_S)
    assert service.popen.stdout is not None  # noqa: S101 -- it was asked for
    lines = [service.popen.stdout.readline().rstrip() for _ in range(3)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    if not lines[-1]:
        raise DemoFailed("foreman up did not start")
    for line in lines:
        _note(line.strip())
    _note(f"ready after {clock.monotonic() - began:.1f} s")


def _show_webhooks(service: _Service, receiver: Receiver) -> None:
    _step("Submitting a job: POST /jobs with a state_webhook_url")
    began = clock.monotonic()
    job = service.call("POST", "/jobs", _CHAT | {"state_webhook_url": receiver.url("/hook")})
    _note(f"202 at once, in {(clock.monotonic() - began) * 1000:.0f} ms: job {job['job_id']} is {job['state']}")
    _step("Its webhooks, as they come")
    for expected in ("queued", "loading", "working", "done"):
        delivery = _next(receiver, job["job_id"])
        event = delivery.event
        _show(delivery, began)
        if event["state"] != expected or not delivery.is_signed:
            raise DemoFailed(f"expected the signed event {expected}, got {event['state']}: {event['error']}")
        if event["state"] == "done":
            _show_completion(event["artifacts"][0]["data"])


def _show_recovery(service: _Service, receiver: Receiver) -> None:
    _step("A second job, whose receiver refuses every webhook")
    began = clock.monotonic()
    job = service.call("POST", "/jobs", _CHAT | {"state_webhook_url": receiver.url("/dropped")})
    _show(_next(receiver, job["job_id"]), began)
    _step(f"No webhook came through, and nothing is lost: GET /jobs/{job['job_id']}?wait=60")
    found = service.call("GET", f"/jobs/{job['job_id']}?wait=60")
    while found["state"] not in {"done", "failed"} and clock.monotonic() - began < _JOB_S:
        found = service.call("GET", f"/jobs/{job['job_id']}?wait=60")
    if found["state"] != "done":
        raise DemoFailed(f"the second job is {found['state']}: {found['error']}")
    _note("state: " + " -> ".join(found["timestamps"]))
    for event in found["webhook"]["events"]:
        _note(f"webhook {event['state']}: {event['status']}, tries so far {event['attempts']}")
    _show_completion(found["result"])


def _next(receiver: Receiver, job_id: str) -> Delivery:
    """The next delivery for this job; those that are late of another are passed over."""
    deadline = clock.monotonic() + _JOB_S
    while (left_s := deadline - clock.monotonic()) > 0:
        with contextlib.suppress(queue.Empty):
            delivery = receiver.deliveries.get(timeout=left_s)
            if delivery.event["job_id"] == job_id:
                return delivery
    raise DemoFailed(f"no webhook within {_JOB_S:g} s")


def _show(delivery: Delivery, began: float) -> None:
    event = delivery.event
    fate = "refused with 503" if delivery.dropped else "accepted"
    signatures = "both signatures verified" if delivery.is_signed else "SIGNATURE WRONG"
    at_ms = (clock.monotonic() - began) * 1000
    _note(f"{at_ms:6.0f} ms  #{event['sequence']} {event['type']:<12} {signatures}, {fate}")


def _show_completion(completion: dict[str, Any]) -> None:
    text = " ".join(completion["message"]["content"].split())
    rate = completion["eval_count"] / (completion["eval_duration"] / 1e9)
    _note(f"{completion['model']} says: {text}")
    _note(f"({completion['eval_count']} tokens, {rate:.0f} a second)")


def _end(popen: subprocess.Popen[str]) -> int:
    """Stop it, if need be by force; its exit status."""
    popen.terminate()
    try:
        status = popen.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        popen.kill()
        status = popen.wait()
    if popen.stdout is not None:
        popen.stdout.close()
    return status


def _show_log(log: Path) -> None:
    lines = log.read_text().splitlines()[-_LOG_LINES:]
    click.echo("\n".join(["", "The end of its log:", *(line[:_LOG_WIDTH] for line in lines)]), err=True)


def _step(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _note(text: str) -> None:
    click.echo(f"  {text}")

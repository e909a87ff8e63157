"""A job as it happens: its states and its text, gone on with after every broken connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from http import HTTPStatus
from typing import Any, TypeAlias

from msgspec import Struct, structs

from foreman import clock
from foreman.client.answers import Failure
from foreman.client.errors import Unavailable, Unreachable
from foreman.client.patience import Patience
from foreman.client.sse import ServerSent, server_sent
from foreman.client.transport import Request, Transport, path_of
from foreman.domain.lifecycle import TERMINAL, State

#: Seconds of silence after which a connection counts as dead: three of the comments that foreman sends every 15 s.
_SILENCE_S = 45.0


class Followed(Struct, frozen=True, kw_only=True):
    """What all have: ``id`` is where to go on from, for ``Client.follow(after=…)``; ``None``: the one before counts."""

    id: str | None = None


class StateReached(Followed, frozen=True, kw_only=True):
    """The job came to ``state``; each once, in order. ``error`` says why it is ``failed``."""

    state: State
    at: datetime
    sequence: int
    attempt: int = 0
    error: Failure | None = None

    @property
    def terminal(self) -> bool:
        """Whether it is the last one."""
        return self.state in TERMINAL


class Text(Followed, frozen=True, kw_only=True):
    """More of the answer. ``line`` is the upstream's own, with everything that it said."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()
    line: dict[str, Any] = {}


class Restarted(Followed, frozen=True, kw_only=True):
    """Another run begins: the text until here is void. ``error`` is what ended the run before, where that is known."""

    attempt: int = 0
    error: Failure | None = None


class Gap(Followed, frozen=True, kw_only=True):
    """Text is missing here. Unless it is very long it comes again, whole, after a ``Restarted``, before ``done``."""


Event: TypeAlias = StateReached | Text | Restarted | Gap


class _Message(Struct, frozen=True):
    content: str | None = None
    thinking: str | None = None
    tool_calls: tuple[dict[str, Any], ...] | None = None


class _Line(Struct, frozen=True):
    message: _Message = _Message()


def follow(transport: Transport, job_id: str, *, after: str | None, outage_s: float, until: float) -> Iterator[Event]:
    """The job's events until it has ended or it is ``until`` (monotonic seconds).

    Raises:
        Unreachable, Unavailable: there was nothing but trouble for ``outage_s``.
        Refused: there is no such job.
    """
    patience = Patience(outage_s, until)
    path = f"{path_of('jobs', job_id)}/events"
    while (left_s := until - clock.monotonic()) > 0:
        headers = {"Accept": "text/event-stream"} | ({} if after is None else {"Last-Event-ID": after})
        heard, opened = False, float("inf")
        trouble: Unreachable | Unavailable
        try:
            with closing(transport.open(Request("GET", path, headers=headers), min(left_s, _SILENCE_S))) as response:
                opened = clock.monotonic()
                if response.status == HTTPStatus.NO_CONTENT:  # whoever sent this ``after`` has seen the end
                    return
                for sent in server_sent(transport.pieces(response, until)):
                    heard, after = True, sent.id or after
                    event = _event(transport, sent)
                    if event is not None:
                        yield event
                    if isinstance(event, StateReached) and event.terminal:
                        return
            # As foreman does when it is stopped; its successor has the rest.
            trouble = Unreachable(transport.origin, "ended the stream before the job had ended")
        except (Unreachable, Unavailable) as error:
            trouble = error
        if heard:
            patience.renew()
        else:
            patience.excuse(clock.monotonic() - opened)
        if clock.monotonic() < until:
            patience.endure(trouble)


def _event(transport: Transport, sent: ServerSent) -> Event | None:
    """What was sent, as a value; ``None`` for a type that this client does not know."""
    data = sent.data.encode()
    match sent.type:
        case "state":
            return structs.replace(transport.decoded(data, StateReached), id=sent.id)
        case "restart":
            return structs.replace(transport.decoded(data, Restarted), id=sent.id)
        case "gap":
            return Gap(id=sent.id)
        case "text":
            said = transport.decoded(data, _Line).message
            return Text(
                id=sent.id,
                content=said.content or "",
                thinking=said.thinking or "",
                tool_calls=said.tool_calls or (),
                line=transport.decoded(data, dict),
            )
        case _:
            return None

"""Where a process can be made to die: between every two steps from a transition to its recorded delivery.

The numbers are the steps of ``docs/messages.md``. A point inside a transaction dies before its commit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

#: Whether a call is the one meant: its arguments, its keyword arguments, and what it returned (None before it is made).
When = Callable[[tuple[Any, ...], dict[str, Any], Any], bool]


def always(_args: tuple[Any, ...], _kwargs: dict[str, Any], _came: object) -> bool:
    """Any call."""
    return True


def to(state: str) -> When:
    """A call with this state among its arguments."""
    return lambda args, kwargs, _came: state in {str(each) for each in (*args, *kwargs.values())}


def is_done(args: tuple[Any, ...], _kwargs: dict[str, Any], _came: object) -> bool:
    """A call about a job that is done."""
    return getattr(args[1], "state", None) == "done"


def of(actor: str) -> When:
    """A message to this actor."""
    return lambda args, _kwargs, _came: args[1].address.actor == actor


def on_message(actor: str) -> When:
    """Dramatiq's message for this actor, handled with a retry as the outcome."""
    return lambda args, kwargs, _came: args[2].actor_name == actor and kwargs.get("exception") is not None


def repeating(args: tuple[Any, ...], _kwargs: dict[str, Any], _came: object) -> bool:
    """A sweep that found something: what it takes back from lost workers it sends as a generator, empty or not."""
    return isinstance(args[1], list)


def came(_args: tuple[Any, ...], _kwargs: dict[str, Any], result: Any) -> bool:
    """A call that returned something."""
    return result is not None


@dataclass(frozen=True, slots=True)
class Failpoint:
    """``process`` dies just before, or ``after``, a call of ``function`` (``package.module:Class.name``)."""

    name: str
    process: str
    function: str
    after: bool
    when: When = always
    #: Only a completion that stays in its row comes to it; all others come to what only a larger one comes to.
    short: bool = False


_FLUSH = "foreman.store.arrivals:_Batch.flush"
_ACCEPTED = "foreman.queue.announcer:Announcer.accepted"
_ANNOUNCE = "foreman.store.outbox:Outbox.announce"
_TOLD = "foreman.queue.announcer:Announcer.announce"
_SEND = "foreman.queue.messages:Messenger.send"
_CLAIM = "foreman.store.claims:Claims.claim"
_TAKE = "foreman.store.claims:Claims._take"
_BEGIN = "foreman.store.claims:Claims.begin"
_COMPLETE = "foreman.store.claims:Claims.complete"
_FINISH = "foreman.store.claims:Claims.finish"
_KEEP = "foreman.store.claims:keep"
_UNSTORED = "foreman.store.artifacts:Artifacts.unstored"
_PUT = "foreman.store.objects:Objects.put"
_STORED = "foreman.store.artifacts:Artifacts.stored"
_EVENT_CLAIM = "foreman.store.events:Events.claim"
_EVENT_TAKE = "foreman.store.events:Events._take"
_WRITE = "foreman.net.wire:_write"
_TRY = "foreman.net.webhooks:WebhookSender.send"
_PASS_TURN = "foreman.store.events:pass_turn"
_RECORD = "foreman.store.events:Events.record"
_DELIVER = "foreman.services.deliver:Deliverer.deliver"
_RETRIED = "foreman.queue.retries:PersistentRetries.after_process_message"
_SWEPT = "foreman.queue.messages:Messenger.send_all"

_BEFORE, _AFTER = False, True

#: Every point, in the order in which a job comes to them.
POINTS: tuple[Failpoint, ...] = (
    # 2, 3: submit.
    Failpoint("submit-not-committed", "web", _FLUSH, _AFTER),
    Failpoint("submit-committed", "web", _ACCEPTED, _BEFORE),
    Failpoint("submit-sent-not-answered", "web", _ACCEPTED, _AFTER),
    # 4 to 10: run.
    Failpoint("permit-taken", "jobs", _CLAIM, _BEFORE),
    Failpoint("claim-not-committed", "jobs", _TAKE, _AFTER),
    Failpoint("claim-committed", "jobs", _CLAIM, _AFTER),
    Failpoint("load-requested", "jobs", _BEGIN, _BEFORE, to("loading")),
    Failpoint("loading-not-committed", "jobs", _ANNOUNCE, _AFTER),
    Failpoint("loading-committed", "jobs", _BEGIN, _AFTER, to("loading")),
    Failpoint("loading-sent", "jobs", _SEND, _AFTER, of("deliver")),
    Failpoint("chat-requested", "jobs", _BEGIN, _BEFORE, to("working")),
    Failpoint("working-committed", "jobs", _BEGIN, _AFTER, to("working")),
    Failpoint("chat-answered", "jobs", _COMPLETE, _BEFORE),
    Failpoint("completion-not-committed", "jobs", _KEEP, _AFTER),
    Failpoint("completion-committed", "jobs", _COMPLETE, _AFTER),
    Failpoint("persist-sent", "jobs", _SEND, _AFTER, of("persist")),
    # 11, 12: store.
    Failpoint("persist-taken", "artifacts", _UNSTORED, _BEFORE),
    Failpoint("bytes-not-put", "artifacts", _PUT, _BEFORE),
    Failpoint("bytes-put", "artifacts", _PUT, _AFTER),
    Failpoint("done-not-committed", "artifacts", _ANNOUNCE, _AFTER),
    Failpoint("done-committed", "artifacts", _STORED, _AFTER),
    Failpoint("done-sent", "artifacts", _SEND, _AFTER, of("deliver")),
    # 13 to 16: announce.
    Failpoint("deliver-taken", "webhooks", _EVENT_CLAIM, _BEFORE),
    Failpoint("event-claim-not-committed", "webhooks", _EVENT_TAKE, _AFTER),
    Failpoint("event-claimed", "webhooks", _EVENT_CLAIM, _AFTER, came),
    Failpoint("event-sent", "webhooks", _WRITE, _AFTER),
    Failpoint("event-answered", "webhooks", _TRY, _AFTER),
    Failpoint("outcome-not-committed", "webhooks", _PASS_TURN, _AFTER),
    Failpoint("outcome-committed", "webhooks", _RECORD, _AFTER),
    Failpoint("retry-not-asked-for", "webhooks", _DELIVER, _AFTER, came),
    Failpoint("retry-asked-for", "webhooks", _RETRIED, _AFTER, on_message("deliver")),
    # What the sweep sends again.
    Failpoint("sweep-not-sent", "clock", _SWEPT, _BEFORE, repeating),
    Failpoint("sweep-sent", "clock", _SWEPT, _AFTER, repeating),
    # 12 again. Here a mutant that writes the event after the commit of its transition dies in between.
    Failpoint("done-not-announced", "artifacts", _ANNOUNCE, _BEFORE),
    # 10 again, where the job is done by it. Behind all others, since no wave can have steps 11 and 12 as well.
    Failpoint("short-not-announced", "jobs", _ANNOUNCE, _BEFORE, is_done, short=True),
    Failpoint("short-not-committed", "jobs", _KEEP, _AFTER, short=True),
    Failpoint("short-committed", "jobs", _FINISH, _AFTER, short=True),
    Failpoint("short-sent", "jobs", _TOLD, _AFTER, is_done, short=True),
)


def waves() -> tuple[tuple[Failpoint, ...], ...]:
    """All points, no two of one process together: what one job can go through without two crashes of one kind."""
    names = dict.fromkeys(point.process for point in POINTS)
    of_process = [[point for point in POINTS if point.process == name] for name in names]
    return tuple(tuple(point for point in points if point) for points in zip_longest(*of_process))

"""The API on a real database in a temporary directory, with what drives its jobs on as workers would."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from falcon import testing

from foreman import clock
from foreman.api.app import Parts, make_app
from foreman.api.metrics import Sources
from foreman.domain.address import Policy
from foreman.domain.job import Artifact, Claim, JobFailure, Limits
from foreman.domain.lifecycle import Cause, State
from foreman.domain.origin_health import CircuitPolicy
from foreman.domain.schedule import Policy as SchedulePolicy
from foreman.domain.upstream import Slots
from foreman.net.origin import parse
from foreman.net.passthrough import Passthrough
from foreman.net.webhooks import WebhookSender
from foreman.queue.announcer import Announcer
from foreman.queue.broker import make_broker
from foreman.queue.hub import Hub
from foreman.queue.live import Publisher
from foreman.queue.messages import Address, Message, Messenger
from foreman.services.cancel import Canceller
from foreman.services.ping import Pinger
from foreman.services.prune import Pruner
from foreman.services.redeliver import Redeliverer
from foreman.services.submit import Submitter
from foreman.services.watch import Watcher
from foreman.store import database, schema
from foreman.store.artifacts import Artifacts
from foreman.store.claims import Claims
from foreman.store.counters import Counters
from foreman.store.deliveries import Deliveries
from foreman.store.endings import Endings
from foreman.store.events import Events
from foreman.store.gauges import Gauges
from foreman.store.jobs import Jobs
from foreman.store.line import Line
from foreman.store.models import TABLES
from foreman.store.origins import Origins
from foreman.store.outbox import Outbox
from foreman.store.pruning import Pruning
from foreman.store.redelivery import Redelivery
from foreman.store.room import Room
from foreman.store.upstreams import Upstreams
from foreman.tally import Tally
from foreman.traces import Tracer
from tests.artifacts import ARTIFACTS
from tests.databases import SESSION

PUBLIC_URL = "http://foreman.test"

#: Bytes: larger completions are objects, and not part of the job.
INLINE_LIMIT_B = 500

MAX_BODY_B = 20_000

#: Where nobody listens: the port of "discard", which no machine has these days.
NOWHERE = "http://127.0.0.1:9"
NO_REDIS = "redis://127.0.0.1:9/0"

MAX_QUEUE = 500

SLOTS = (Slots("default", 100),)
SCHEDULE = SchedulePolicy(max_wait_ms=300_000, max_streak=100)

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}

LIMITS = Limits(
    ttl_s=3600.0,
    start_deadline_s=None,
    load_timeout_s=600.0,
    exec_timeout_s=3600.0,
    stall_timeout_s=300.0,
    max_attempts=None,
)


class Recorder(Messenger):
    """Keeps what is sent; there is no Redis."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    @property
    def broken(self) -> bool:
        """Never."""
        return False

    def send(self, message: Message, delay_ms: int | None = None) -> bool:
        """Keep it."""
        self.sent.append(message)
        return True

    def send_all(self, messages: Iterable[Message]) -> bool:
        """Keep them."""
        self.sent.extend(messages)
        return True

    def room(self, address: Address, limit: int) -> int:
        """Nothing waits."""
        return limit


class Unwatched(Publisher):
    """Nobody follows a job live; there is no Redis."""

    def __init__(self) -> None:
        """Start no writer."""

    def state(self, job_id: str, state: State, **_: Any) -> None:
        """Tell nobody."""


@dataclass
class Api:
    """The WSGI app, a client for it, and the hands of the workers."""

    parts: Parts
    claims: Claims
    messenger: Recorder
    #: What each check of a dependency says; a test may change it.
    wrong: dict[str, Callable[[], str | None]]
    client: testing.TestClient = field(init=False)

    def __post_init__(self) -> None:
        self.rebuild()

    def rebuild(self, **changes: Any) -> None:
        """Make the app anew, with some of its parts changed."""
        self.parts = replace(self.parts, **changes)
        self.client = testing.TestClient(make_app(self.parts))

    def submit(self, headers: dict[str, str] | None = None, **keys: Any) -> str:
        """Submit a job and return its id."""
        answer = self.post(BODY | keys, headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json["job_id"])

    def post(self, body: Any, headers: dict[str, str] | None = None) -> testing.Result:
        """``POST /jobs`` with ``body`` as JSON, or as it is if it is bytes."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Content-Type": "application/json"} | (headers or {})
        return self.client.simulate_post("/jobs", body=data, headers=given)

    def get(self, path: str, headers: dict[str, str] | None = None) -> testing.Result:
        """``GET``."""
        return self.client.simulate_get(path, headers=headers)

    def job(self, job_id: str) -> Any:
        """The job as ``GET /jobs/{id}`` shows it."""
        answer = self.get(f"/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json

    def start(self, state: State = State.WORKING) -> Claim:
        """Claim the next job and bring it to ``state``."""
        claim = self.claims.claim(clock.now())
        assert isinstance(claim, Claim)
        for each in (State.LOADING, State.WORKING)[: state.rank]:
            self.claims.begin(claim, each, clock.now())
        return claim

    def finish(self, text: str = "Hi") -> bytes:
        """Run the next job to ``done`` with ``text`` for its content; returns the completion."""
        return self.finish_claim(self.start(), text)

    def finish_claim(self, claim: Claim, text: str) -> bytes:
        """Bring the job of ``claim``, which is ``working``, to ``done``."""
        stats = {"model": "tiny", "done": True, "done_reason": "stop", "eval_count": 2, "total_duration": 12345678901}
        body = json.dumps(stats | {"message": {"role": "assistant", "content": text}}).encode()
        artifact = Artifact(
            job_id=claim.job.id,
            name="completion",
            content_type="application/json",
            size_b=len(body),
            sha256=hashlib.sha256(body).hexdigest(),
            data=body,
        )
        self.claims.complete(claim, artifact, stats, clock.now())
        location = self.parts.objects.put(claim.job.id, "completion", body) if len(body) > INLINE_LIMIT_B else None
        assert self.parts.artifacts.stored(artifact, location, clock.now()) is not None
        return body

    def fail(self, cause: Cause = Cause.UPSTREAM_REJECTED) -> str:
        """Let the next job fail while it is ``working``; returns its id."""
        claim = self.start()
        self.fail_claim(claim, cause)
        return claim.job.id

    def fail_claim(self, claim: Claim, cause: Cause = Cause.UPSTREAM_REJECTED) -> None:
        """Let the job of ``claim`` fail."""
        self.claims.fail(claim, JobFailure(cause, "The upstream said no.", 400), clock.now())

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        with database.read():
            return {table.__name__: table.select().count() for table in TABLES}


@contextmanager
def running_api(directory: Path, redis_url: str = NO_REDIS) -> Iterator[Api]:
    """An API whose database and artifacts are in ``directory``; by default there is no Redis."""
    engine = database.connect(SESSION.new(directory / "foreman.db"))
    schema.migrate()
    outbox = Outbox(PUBLIC_URL, INLINE_LIMIT_B)
    jobs = Jobs(outbox, Room(MAX_QUEUE))
    objects = ARTIFACTS.store(directory / "artifacts")
    messenger = Recorder()
    wrong: dict[str, Callable[[], str | None]] = {name: lambda: None for name in ("database", "redis")}
    tally = Tally()
    announcer = Announcer(messenger, Unwatched(), tally)
    artifacts = Artifacts(outbox)
    hub = Hub(make_broker(redis_url))
    events = Events(lease_ms=30_000, origin_limit=8)
    origins = Origins(CircuitPolicy(failures=2, waiting=1, open_s=60, open_max_s=60))
    upstreams = Upstreams(SLOTS)
    parts = Parts(
        authenticator=None,
        submitter=Submitter(jobs, announcer, Tracer()),
        canceller=Canceller(Endings(outbox), announcer),
        watcher=Watcher(jobs, artifacts, objects, hub),
        pruner=Pruner(Pruning(), jobs, objects, batch=200, tombstone_ttl_ms=3_600_000, tally=tally),
        redeliverer=Redeliverer(Redelivery(), messenger),
        pinger=Pinger(WebhookSender(Policy(), 1.0), (), "foreman/test"),
        passthroughs={"default": Passthrough(parse(NOWHERE), 1.0, total_s=5.0, silence_s=5.0)},
        jobs=jobs,
        line=Line(SLOTS, SCHEDULE),
        events=events,
        deliveries=Deliveries(),
        origins=origins,
        artifacts=artifacts,
        objects=objects,
        upstreams=upstreams,
        metrics=Sources(Counters(), Gauges(), events, origins, upstreams),
        tally=tally,
        kinds={"default": "ollama"},
        checks={name: lambda name=name: wrong[name]() for name in wrong},  # type: ignore[misc]  # mypy sees no default
        defaults=LIMITS,
        policy=Policy(allow_http=False, allowed_nets=()),
        public_url=PUBLIC_URL,
        inline_limit_b=INLINE_LIMIT_B,
        max_body_b=MAX_BODY_B,
        max_waits=2,
        max_followers=3,
        stopping=threading.Event(),
    )
    claims = Claims(outbox, SLOTS, SCHEDULE, lease_ms=30_000)
    try:
        yield Api(parts, claims, messenger, wrong)
    finally:
        hub.close()
        engine.close_all()


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """What ``calls`` returned, all made at once, each in a thread of its own that leaves no connection behind."""
    barrier = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)
    errors: list[BaseException] = []

    def run(index: int, call: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            results[index] = call()
        except BaseException as error:  # noqa: BLE001  it is raised again in the test's own thread
            errors.append(error)
        finally:
            database.proxy.obj.close()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)
    return results

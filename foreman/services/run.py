"""Runs jobs, one after the other as long as there are any, from the claim to the record of what came of it.

The upstream is connected to before the job leaves ``queued``, so an upstream that is away leaves every job where it is.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from foreman import clock, logs
from foreman.domain import attempts, metric
from foreman.domain.backoff import retry_delay_s
from foreman.domain.completion import Completion, artifact_of, partial_of, tokens
from foreman.domain.fault import Aborted, Fault
from foreman.domain.job import Artifact, Claim, JobFailure, NoClaim, Spent
from foreman.domain.lifecycle import Cause, State
from foreman.errors import StaleLease, StoreUnavailable
from foreman.queue import messages
from foreman.store.claims import ended_on_request

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping

    from foreman.domain.job import Moment
    from foreman.net.upstream import Call, Upstream
    from foreman.queue.announcer import Announcer
    from foreman.services.leases import Held, LeaseKeeper
    from foreman.store.claims import Claims
    from foreman.tally import Tally
    from foreman.traces import Facts, Span, Tracer

log = logs.get_logger(__name__)

#: Seconds in which an upstream that has the model in memory answers a preload, for which it has nothing to do: some
#: twenty times what the round trip takes on loopback (0.4 ms, measured). A job whose model turns out not to be there
#: shows ``loading`` that much later.
WARM_GRACE_S = 0.01

Outcome = Completion | Fault | Aborted
T = TypeVar("T")

#: Seconds between tries to record the end of a run while the database is away, and for how long: a restart of
#: PostgreSQL takes less, and a completion that took minutes must not be lost to it.
RECORD_PAUSE_S = 0.2
RECORD_PATIENCE_S = 60.0

#: The ``done_reason`` of an answer to empty messages, which only loads or unloads a model.
_NOTHING_ASKED = frozenset({"load", "unload"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait between runs, and how many there are when the submitter did not say."""

    first_s: float
    max_s: float
    spread: float
    max_attempts: int


@dataclass(slots=True)
class Laps:
    """When a run that completed began to load, began its real call, and had its answer; monotonic seconds."""

    load: float = 0.0
    chat: float = 0.0
    end: float = 0.0

    def spent(self, completion: Completion, *, warm: bool) -> Spent | None:
        """What the run took; ``None`` if nothing was asked of the model, which says nothing of others."""
        if completion.stats.get("done_reason") in _NOTHING_ASKED:
            return None
        return Spent(None if warm else (self.chat - self.load) * 1000, (self.end - self.chat) * 1000)


@dataclass(frozen=True, slots=True)
class Ran:
    """A run's outcome, the text there was until then, and its laps."""

    outcome: Outcome
    text: str
    laps: Laps


@dataclass(frozen=True, slots=True)
class Runner:
    """What the actor ``run`` does."""

    claims: Claims
    #: By the name under which a claim speaks of it.
    upstreams: Mapping[str, Upstream]
    leases: LeaseKeeper
    announcer: Announcer
    policy: RetryPolicy
    #: Completions up to so many bytes stay in their row.
    inline_limit_b: int
    tally: Tally
    tracer: Tracer
    #: Set when this process is to begin nothing more.
    stopping: threading.Event

    def run(self) -> float | None:
        """Use a permit: claim the best job, run it, record the outcome; then the next, until no job can be claimed.

        Returns the seconds after which the permit should come back because a job must be tried again; None if it is
        used up. When no slot is free it is used up too: whoever frees one looks once more.
        """
        while True:
            asked_at, began = clock.monotonic(), clock.now()
            claim = self.claims.claim(began)
            if isinstance(claim, NoClaim):
                self._fail_unplaceable()
                return None
            delay_s = self._run(claim, asked_at, began)
            if delay_s is not None or self.stopping.is_set():
                self._look_once_more()
                return delay_s

    def _run(self, claim: Claim, asked_at: float, began: Moment) -> float | None:
        logs.bind(job_id=claim.job.id, request_id=claim.job.came_with.request_id)
        with self._traced(claim, began) as span:
            try:
                # The claim is kept alive until the outcome is recorded, however long the database takes.
                with self.leases.keep(claim, asked_at) as held:
                    return self._record(claim, self._execute(claim, held, span), held)
            except StaleLease:
                log.warning("run given up: the claim is somebody else's", attempt=claim.job.attempt)
                return None

    @contextmanager
    def _traced(self, claim: Claim, began: Moment) -> Iterator[Span]:
        job = claim.job
        facts: Facts = {"job_id": job.id, "model": job.model, "attempt": job.attempt, "upstream": claim.upstream}
        with self.tracer.step("run", job.came_with.traceparent, facts, began=began) as span:
            self.tracer.past("claim", span.traceparent, began, {"warm": claim.warm})
            yield span

    def _execute(self, claim: Claim, held: Held, span: Span) -> Ran:
        laps = Laps()
        with self.upstreams[claim.upstream].call() as call:
            held.cut = call.abort
            try:
                outcome = self._converse(claim, call, laps, span)
            except (StaleLease, StoreUnavailable):
                raise
            except Exception:
                # The edge of a run: a fault of ours must end this job, some day, and not the worker.
                log.exception("fault in foreman", job_id=claim.job.id, attempt=claim.job.attempt)
                outcome = Fault(Cause.INTERNAL, "A fault in foreman itself; its log says more.", retry=True)
            self._tell(claim, outcome, laps, span)
            return Ran(outcome, call.text, laps)

    def _tell(self, claim: Claim, outcome: Outcome, laps: Laps, span: Span) -> None:
        """What came of a run, for those who watch: numbers, a line, and the end of its step."""
        model = claim.job.model
        if isinstance(outcome, Completion):
            self.tally.observe(metric.RAN, laps.end - laps.chat, model)
            for kind, count in tokens(outcome.stats).items():
                self.tally.count(metric.TOKENS, model, kind, by=count)
        word = str(outcome.cause) if isinstance(outcome, Fault) else type(outcome).__name__.lower()
        self.tally.count(metric.RUNS, claim.upstream, word)
        span.tell(outcome=word)
        _blame(span, outcome)
        log.info("run ended", upstream=claim.upstream, attempt=claim.job.attempt, outcome=word)

    def _converse(self, claim: Claim, call: Call, laps: Laps, run: Span) -> Outcome:
        limits = claim.job.limits
        ended = call.connect()
        if ended is not None:
            return ended
        laps.load = clock.monotonic()
        ended = self._load(claim, call, run)
        if ended is not None:
            return ended
        call.on_sent, call.grace_s = partial(self._begin, claim, State.WORKING), 0.0
        live = self.announcer.live
        if State.WORKING in dict(claim.job.reached):
            live.restart(claim.job.id, claim.job.attempt)
        laps.chat = clock.monotonic()
        if not claim.warm:
            self.tally.count(metric.LOADS, claim.upstream)
            self.tally.observe(metric.LOADED, laps.chat - laps.load, claim.job.model)
        with self.tracer.step("work", run.traceparent, {}, calls=True) as span:
            call.traceparent = span.traceparent
            outcome = call.chat(
                claim.payload,
                exec_timeout_s=limits.exec_timeout_s,
                stall_timeout_s=limits.stall_timeout_s,
                on_text=lambda line: live.text(claim.job.id, line),
            )
            laps.end = clock.monotonic()
            _blame(span, outcome)
        return outcome

    def _load(self, claim: Claim, call: Call, run: Span) -> Fault | Aborted | None:
        """Get the model into memory; where it is there already, ``loading`` is committed together with ``working``."""
        begin = partial(self._begin, claim, State.LOADING)
        call.on_sent, call.grace_s = begin, WARM_GRACE_S if claim.warm else 0.0
        with self.tracer.step("load", run.traceparent, {"warm": claim.warm}, calls=True) as span:
            call.traceparent = span.traceparent
            ended = call.load(claim.payload, timeout_s=claim.job.limits.load_timeout_s)
            _blame(span, ended)
        if isinstance(ended, Fault) and ended.began:
            begin()
        return ended

    def _begin(self, claim: Claim, state: State) -> None:
        """The request is on its way, and the upstream works while this is committed: a commit off every job's path."""
        moved = _insist(lambda: self.claims.begin(claim, state, clock.now()))
        if moved:
            self.announcer.announce(moved[-1], steps=len(moved))

    def _record(self, claim: Claim, ran: Ran, held: Held) -> float | None:
        outcome = ran.outcome
        answered = isinstance(outcome, Completion) or (isinstance(outcome, Fault) and outcome.began)
        if claim.upstream_failures and answered:
            _insist(lambda: self.claims.release(claim.upstream))
        cause, delay_s = _insist(lambda: self._settle(claim, ran, held))
        if cause is None:
            return delay_s
        _insist(lambda: self._fail(claim, ended_on_request(cause), ran.text))
        return None

    def _settle(self, claim: Claim, ran: Ran, held: Held) -> tuple[Cause | None, float | None]:
        """Record an outcome: why the job is to end instead, if somebody wants that, and when to run it again."""
        match ran.outcome:
            case Completion() as completion:
                return self._complete(claim, completion, ran.laps.spent(completion, warm=claim.warm)), None
            case Aborted():
                return self._hand_back(claim, held), None
            case Fault() as fault:
                return self._after_fault(claim, fault, ran.text)

    def _complete(self, claim: Claim, completion: Completion, spent: Spent | None) -> Cause | None:
        artifact = artifact_of(claim.job.id, "completion", "application/json", completion.body)
        if artifact.size_b <= self.inline_limit_b:
            return self._finish(claim, artifact, completion, spent)
        cause = self.claims.complete(claim, artifact, completion.stats, clock.now(), spent)
        if cause is None:
            # The end will be published by whoever stores the completion, and must come after all of the text.
            self.announcer.live.flush()
            self.announcer.messenger.send(messages.persist(claim.job.id))
        return cause

    def _finish(self, claim: Claim, artifact: Artifact, completion: Completion, spent: Spent | None) -> Cause | None:
        """Where the completion stays in its row there is nothing for ``persist`` to do."""
        began = clock.now()
        ended = self.claims.finish(claim, artifact, completion.stats, began, spent)
        if isinstance(ended, Cause):
            return ended
        log.info("job done", size_b=artifact.size_b, attempt=claim.job.attempt)
        facts: Facts = {"job_id": claim.job.id, "size_b": artifact.size_b, "elsewhere": False}
        self.tracer.past("persist", claim.job.came_with.traceparent, began, facts)
        self.announcer.announce(ended)
        return None

    def _hand_back(self, claim: Claim, held: Held) -> Cause | None:
        if held.lost:
            raise StaleLease(claim.job.id)
        cause = self.claims.retry(claim, clock.now(), counted=False)
        if cause is None:
            log.info("run handed back: this process is stopping", job_id=claim.job.id)
        return cause

    def _after_fault(self, claim: Claim, fault: Fault, text: str) -> tuple[Cause | None, float | None]:
        runs = claim.job.attempt - claim.losses
        limit = claim.job.limits.max_attempts
        step = attempts.after_fault(fault, runs=runs, max_attempts=limit, default_max_attempts=self.policy.max_attempts)
        if isinstance(step, JobFailure):
            self._fail(claim, step, text)
            return None, None
        ready_at = self._ready_at(claim, fault, runs)
        delay_s = max(0, ready_at - clock.now()) / 1000
        log.info(
            "run failed, the job will be tried again",
            job_id=claim.job.id,
            upstream=claim.upstream,
            attempt=claim.job.attempt,
            code=str(fault.cause),
            delay_s=delay_s,
        )
        cause = self.claims.retry(claim, ready_at, counted=step.counted, avoid=True)
        if cause is None and fault.began:
            # Now, not when the next run begins: whoever was sent this one's text must not wait for that to hear of it.
            self.announcer.live.restart(claim.job.id, claim.job.attempt + step.counted, fault.failure())
        return cause, delay_s or None

    def _ready_at(self, claim: Claim, fault: Fault, runs: int) -> Moment:
        """When the job may be tried again."""
        delay_s = max(self._delay_s(runs if fault.began else claim.upstream_failures + 1), fault.retry_after_s or 0.0)
        ready_at = clock.now() + round(delay_s * 1000)
        if fault.began:
            return ready_at
        # The wait is the upstream's, for any job: another that can run this one may have it at once.
        self.claims.hold(claim.upstream, ready_at, fault.cause)
        return self.claims.next_try(claim, clock.now())

    def _fail(self, claim: Claim, failure: JobFailure, text: str) -> None:
        partial = partial_of(claim.job.id, text)
        self.announcer.announce(self.claims.fail(claim, failure, clock.now(), partial))

    def _delay_s(self, n: int) -> float:
        policy = self.policy
        return retry_delay_s(n, first_s=policy.first_s, max_s=policy.max_s, jitter=clock.jitter(policy.spread))

    def _fail_unplaceable(self) -> None:
        """End what no permit can run, at once and not at the next sweep: somebody may be waiting for it."""
        for job in self.claims.unplaceable(clock.now()):
            self.announcer.announce(job)

    def _look_once_more(self) -> None:
        """The slot is free again, and its permit may have been used up while it was not."""
        for job_id in self.claims.ready(clock.now(), 1):
            self.announcer.messenger.send(messages.run(job_id))


def _blame(span: Span, outcome: Outcome | None) -> None:
    if isinstance(outcome, Fault):
        span.failed(str(outcome.cause))


def _insist(record: Callable[[], T]) -> T:
    """``record()``, again and again while the database is away."""
    deadline = clock.monotonic() + RECORD_PATIENCE_S
    while True:
        try:
            return record()
        except StoreUnavailable:
            if clock.monotonic() > deadline:
                raise
            time.sleep(RECORD_PAUSE_S)

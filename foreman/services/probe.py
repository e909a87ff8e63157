"""Looks at every upstream, all at once, and keeps what it found: what is well, what it has, what it has in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreman import clock, logs
from foreman.domain.fault import Fault
from foreman.domain.job import JobFailure
from foreman.queue import messages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from foreman.domain.upstream import Standing, Survey
    from foreman.net.upstream import Upstream
    from foreman.queue.announcer import Announcer
    from foreman.store.claims import Claims
    from foreman.store.upstreams import Upstreams

log = logs.get_logger(__name__)

#: Seconds one upstream has to answer: the same as for ``/readyz``. A list of models takes milliseconds.
PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Prober:
    """What the periodic actor ``probe`` does."""

    upstreams: Upstreams
    #: By the names that the table has them under.
    servers: Mapping[str, Upstream]
    claims: Claims
    announcer: Announcer

    def probe(self) -> None:
        """Ask each upstream how it is, and wake the jobs of those that are back.

        Raises:
            StoreUnavailable: nothing was kept; the next probe is seconds away.
        """
        found = self._ask_all()
        before = self.upstreams.record(found, clock.now())
        for each in before:
            _tell(each, found[each.name])
        if any(each.is_back(found[each.name]) for each in before):
            ready = self.claims.ready(clock.now(), self.claims.slots)
            self.announcer.messenger.send_all(messages.run(job_id) for job_id in ready)

    def _ask_all(self) -> dict[str, Survey | JobFailure]:
        """At once, so that one that does not answer holds up none of the others."""
        with ThreadPoolExecutor(len(self.servers), thread_name_prefix="probe") as pool:
            asked = {name: pool.submit(_ask, server) for name, server in self.servers.items()}
            return {name: each.result() for name, each in asked.items()}


def _ask(server: Upstream) -> Survey | JobFailure:
    found = server.survey(PATIENCE_S)
    return found.failure() if isinstance(found, Fault) else found


def _tell(before: Standing, found: Survey | JobFailure) -> None:
    if isinstance(found, JobFailure):
        if before.error is None:
            log.warning("upstream is down", upstream=before.name, code=str(found.code), reason=found.message)
    elif before.error is not None or before.is_back(found):
        log.info("upstream is back", upstream=before.name)

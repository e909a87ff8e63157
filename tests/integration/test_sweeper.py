from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from foreman import clock
from foreman.domain.address import origin_of
from foreman.queue import messages
from foreman.queue.announcer import Announcer
from foreman.services.sweep import BACKLOG, Sweeper
from foreman.store import database
from foreman.store.endings import Endings
from foreman.store.models import OriginRow
from foreman.tally import Tally
from tests.integration.api import Api, Unwatched, running_api
from tests.stores import request

#: Milliseconds by which everything here is overdue: longer than the sweep waits for a message to arrive by itself.
OVERDUE_MS = 60_000


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """A database, and a messenger that keeps what is sent: no worker takes anything."""
    with running_api(tmp_path) as api:
        yield api


def sweeper(api: Api) -> Sweeper:
    """A sweeper that gives nothing up."""
    parts = api.parts
    announcer = Announcer(api.messenger, Unwatched(), Tally())
    endings = Endings(parts.jobs.outbox)
    return Sweeper(
        api.claims, parts.artifacts, parts.events, endings, parts.origins, announcer, 3, give_up_ms=86_400_000
    )


def overdue(api: Api, url: str) -> str:
    """A job whose first event is due for ``url`` and whose message was lost."""
    then = clock.now() - OVERDUE_MS
    return api.parts.jobs.submit(request(url=url), job_id=clock.new_id(then), key=None, now=then).job.id


def half_open(url: str) -> None:
    """The circuit of the URL's origin waits for a single try."""
    then = clock.now() - OVERDUE_MS
    row = {"origin": origin_of(url), "failures": 9, "openings": 1, "opened_at": then, "open_until": then + 1}
    OriginRow.insert(row, changed_at=then).execute()


def test_a_crowd_of_half_open_circuits_does_not_hide_who_is_well(api: Api) -> None:
    """However many receivers are away, a lost message of one that is there is sent again by the next sweep."""
    with database.write():
        for number in range(BACKLOG + 50):
            url = f"https://away{number}.example.com/"
            overdue(api, url)
            half_open(url)
        well = overdue(api, "https://well.example.com/")
    sweeper(api).sweep()
    woken = [message.args[0] for message in api.messenger.sent if message.address == messages.DELIVER]
    assert well in woken
    assert len(woken) > BACKLOG // 2

"""What may stand in a path or behind a question mark, and how it becomes ids, filters and waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import falcon

from foreman.api.parameter import Parameter, parameters_of
from foreman.api.problems import BAD_PARAMETER, HTTPProblem
from foreman.api.waiting import MAX_WAIT_S
from foreman.domain.lifecycle import State
from foreman.domain.moment import parse_rfc3339
from foreman.domain.shape import Number, Text, Time
from foreman.domain.submission import STATES
from foreman.errors import JobNotFound
from foreman.store.jobs import Filter

#: Entries on one page: as many as are read without paging, and no more than make an answer within milliseconds.
DEFAULT_LIMIT, MAX_LIMIT = 50, 200

#: A ULID: 26 letters of Crockford's base32, the first up to 7 since it has 128 bits. github.com/ulid/spec
ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"

_ID = Text("must be the id of a job", pattern="[0-7][0-9A-HJKMNP-TV-Za-hjkmnp-tv-z]{25}")
_STORED = Text("must not contain NUL", pattern=r"[^\x00]*")

_EXAMPLE_ID = "01M85VW3NCMASR2TMX7H7DCM6B"

JOB_ID = Parameter("job_id", "path", _ID, "The id of a job, in either case.", _EXAMPLE_ID)
OF_JOB = Parameter("job_id", "query", _ID, "Those of one job.", _EXAMPLE_ID)
WAIT = Parameter(
    "wait",
    "query",
    Number(0, None, f"must be a number of seconds from 0 to {MAX_WAIT_S}"),
    f"Seconds to wait for the job's end; more than {MAX_WAIT_S} count as {MAX_WAIT_S}.",
    10,
)
STATE = Parameter("state", "query", STATES, "Jobs in this state.", "done")
MODEL = Parameter("model", "query", _STORED, "Jobs of this model.", "smollm2")
METADATA = Parameter(
    "metadata.<key>",
    "query",
    _STORED,
    "Jobs whose `metadata` has this at `<key>`, for which you write the key: a string as it is, anything else as JSON. "
    "Several must all hold.",
)
CREATED_AFTER = Parameter(
    "created_after",
    "query",
    # In a URL a plus is a blank, which is the usual mistake here.
    Time("must be an RFC 3339 time such as 2026-11-24T03:39:53Z (in a URL, + is written %2B)"),
    "Jobs submitted later than this.",
    "2026-11-24T03:39:53Z",
)


def limit(default: int) -> Parameter:
    """How many entries a page may have; ``default`` without one."""
    shape = Number(1, MAX_LIMIT, f"must be a whole number from 1 to {MAX_LIMIT}", whole=True)
    return Parameter("limit", "query", shape, f"Entries on a page; {default} without it.", default)


def cursor(place: str) -> Parameter:
    """Where a page begins; ``place`` is the pattern of what a listing gives for it, of parts joined by a dot."""
    shape = Text("must be the next_cursor of an earlier page", pattern=place)
    return Parameter("cursor", "query", shape, "The `next_cursor` of the page before.")


def cursor_of(*place: str | int) -> str:
    """The cursor of the page that begins after ``place``."""
    return ".".join(map(str, place))


LIMIT = limit(DEFAULT_LIMIT)
JOBS = (STATE, MODEL, METADATA, CREATED_AFTER, LIMIT, cursor(ULID))


def job_id_of(text: str) -> str:
    """The id in a path, in upper case: ULIDs do not tell cases apart.

    Raises:
        JobNotFound: no job ever had such an id.
    """
    if not _ID.fits(text):
        raise JobNotFound(text)
    return text.upper()


def wait_s_of(req: falcon.Request) -> float:
    """Seconds of ``?wait=``, no more than ``MAX_WAIT_S``; 0 without one.

    Raises:
        HTTPProblem: 400 if it is not a number of seconds.
    """
    text = req.params.get("wait", "0")
    if not isinstance(text, str):
        raise HTTPProblem(BAD_PARAMETER, "wait may be given only once.")
    wait_s: float = WAIT.read(text)
    return min(wait_s, MAX_WAIT_S)


def filter_of(req: falcon.Request) -> Filter:
    """The filter that the query of a listing describes.

    Raises:
        HTTPProblem: 400 naming a parameter that is unknown, repeated or wrong.
    """
    return filter_from(parameters_of(req, JOBS))


def filter_from(given: Mapping[str, Any]) -> Filter:
    """The filter that parameters of ``JOBS``, already read, describe."""
    prefix = str(METADATA.prefix)
    return Filter(
        state=State(given["state"]) if "state" in given else None,
        model=given.get("model"),
        metadata=tuple((name.removeprefix(prefix), text) for name, text in given.items() if name.startswith(prefix)),
        created_after=parse_rfc3339(given["created_after"]) if "created_after" in given else None,
        before=given.get("cursor"),
        limit=limit_of(given, DEFAULT_LIMIT),
    )


def limit_of(given: Mapping[str, Any], default: int) -> int:
    """How many entries a page may have."""
    return int(given.get("limit", default))

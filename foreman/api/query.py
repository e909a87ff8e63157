"""What may stand in a path or behind a question mark, and how it becomes ids, filters and waits."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet

import falcon

from foreman.api.cursor import place_of
from foreman.api.problems import BAD_PARAMETER, HTTPProblem
from foreman.api.waiting import MAX_WAIT_S
from foreman.domain.lifecycle import State
from foreman.domain.moment import parse_rfc3339
from foreman.errors import JobNotFound
from foreman.store.jobs import Filter

#: Entries on one page: as many as are read without paging, and no more than make an answer within milliseconds.
DEFAULT_LIMIT, MAX_LIMIT = 50, 200

#: A ULID: 26 letters of Crockford's base32, the first up to 7 since it has 128 bits. github.com/ulid/spec
ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")

_WAIT = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_LIMIT = re.compile(r"\d{1,3}", re.ASCII)

_METADATA = "metadata."


def job_id_of(text: str) -> str:
    """The id in a path, in upper case: ULIDs do not tell cases apart.

    Raises:
        JobNotFound: no job ever had such an id.
    """
    job_id = text.upper()
    if not text.isascii() or not ULID.fullmatch(job_id):
        raise JobNotFound(text)
    return job_id


def wait_s_of(req: falcon.Request) -> float:
    """Seconds of ``?wait=``, no more than ``MAX_WAIT_S``; 0 without one.

    Raises:
        HTTPProblem: 400 if it is not a number of seconds.
    """
    text = req.params.get("wait", "0")
    if not isinstance(text, str) or not _WAIT.fullmatch(text):
        raise HTTPProblem(BAD_PARAMETER, f"wait must be a number of seconds from 0 to {MAX_WAIT_S}.")
    return min(float(text), MAX_WAIT_S)


def filter_of(req: falcon.Request) -> Filter:
    """The filter that the query of a listing describes.

    Raises:
        HTTPProblem: 400 naming a parameter that is unknown, repeated or wrong.
    """
    given = parameters_of(req, {"state", "model", "created_after", "limit", "cursor"}, prefix=_METADATA)
    created_after = given.get("created_after")
    cursor = given.get("cursor")
    return Filter(
        state=_state(given["state"]) if "state" in given else None,
        model=given.get("model"),
        metadata=tuple(
            (name.removeprefix(_METADATA), text) for name, text in given.items() if name.startswith(_METADATA)
        ),
        created_after=None if created_after is None else _moment(created_after),
        before=None if cursor is None else place_of(cursor, ULID)[0],
        limit=limit_of(given.get("limit", str(DEFAULT_LIMIT))),
    )


def parameters_of(req: falcon.Request, known: AbstractSet[str], *, prefix: str | None = None) -> dict[str, str]:
    """The parameters behind the question mark: ``known`` ones and those that begin with ``prefix``, each given once.

    Raises:
        HTTPProblem: 400 naming one that is not so.
    """
    given: dict[str, str] = {}
    for name, text in req.params.items():
        if name not in known and not (prefix and name.startswith(prefix)):
            raise HTTPProblem(BAD_PARAMETER, f"There is no parameter {_shown(name)}.")
        if not isinstance(text, str):
            raise HTTPProblem(BAD_PARAMETER, f"{_shown(name)} may be given only once.")
        if "\0" in name or "\0" in text:
            # PostgreSQL takes no NUL, and no job has one.
            raise HTTPProblem(BAD_PARAMETER, f"{_shown(name)} must not contain NUL.")
        given[name] = text
    return given


def limit_of(text: str) -> int:
    """How many entries a page may have.

    Raises:
        HTTPProblem: 400 if it is not a number from 1 to ``MAX_LIMIT``.
    """
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= MAX_LIMIT:
        raise HTTPProblem(BAD_PARAMETER, f"limit must be a whole number from 1 to {MAX_LIMIT}.")
    return int(text)


def _shown(name: str) -> str:
    """A parameter's name in a detail: printable, and not longer than a line."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name[:80])


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise HTTPProblem(BAD_PARAMETER, f"state must be one of {', '.join(State)}.") from None


def _moment(text: str) -> int:
    moment = parse_rfc3339(text)
    if moment is None:
        wanted = "an RFC 3339 time such as 2026-11-24T03:39:53Z (in a URL, + is written %2B)"
        raise HTTPProblem(BAD_PARAMETER, f"created_after must be {wanted}.")
    return moment

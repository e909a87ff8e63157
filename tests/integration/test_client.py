from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from foreman import client as api
from foreman.api import problems
from foreman.client import Client, Gap, Restarted, StateReached, Text
from foreman.domain.submission import OWN_KEYS
from tests.hostile import Behaviour, HostilePeer, drips, is_silent
from tests.scripted import HANGS_UP, Asked, Said, Scripted, as_json, problem

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ID = "01M85VW3NCMASR2TMX7H7DCM6B"
ACCEPTED = as_json({"job_id": ID, "state": "queued", "queue_position": 1, "links": {}, "news": True}, 202)
BYTES = b"0123456789" * 1000


def job(state: str = "done", **more: Any) -> dict[str, Any]:
    """A job as foreman shows it."""
    at = "2026-11-24T04:08:54.847Z"
    told = {"job_id": ID, "state": state, "model": "m", "priority": "normal", "metadata": {}, "attempt": 1}
    return (
        told | {"created_at": at, "timestamps": {"queued": at}, "error": None, "artifacts": [], "webhook": None} | more
    )


def stored(sha256: str = hashlib.sha256(BYTES).hexdigest()) -> Said:
    """A job that left ``BYTES``."""
    artifact = {"name": "completion", "content_type": "text/plain", "size_b": len(BYTES), "sha256": sha256}
    return as_json(job(artifacts=[artifact]))


def sse(*events: tuple[str | None, str, Any], whole: bool = False) -> Said:
    """A stream of events, id, type and data; unless it is ``whole`` it breaks off."""
    lines = [
        ("" if place is None else f"id: {place}\r\n") + f"event: {kind}\r\ndata: {json.dumps(data)}\r\n\r\n"
        for place, kind, data in events
    ]
    body = ("retry: 1000\r\n\r\n:\r\n\r\n" + "".join(lines)).encode()
    return Said(200, body, length_b=None if whole else len(body) + 1)


def state(name: str, sequence: int) -> dict[str, Any]:
    """The data of a state's event."""
    return {"state": name, "at": "2026-11-24T04:08:54.847Z", "sequence": sequence, "attempt": 1}


def keys(asked: list[Asked]) -> list[str | None]:
    """The idempotency keys that were sent."""
    return [each.headers["Idempotency-Key"] for each in asked]


def test_a_submission_keeps_its_idempotency_key_until_it_is_answered() -> None:
    """Three tries, a broken connection and a full queue among them, are one submission: one key, one body."""
    with Scripted([HANGS_UP, problem(503, "queue-full"), ACCEPTED]) as server, Client(server.url) as client:
        accepted = client.submit(CHAT, priority="batch", metadata={"order": 17})
        client.submit(CHAT)
        client.submit(CHAT, idempotency_key="mine")
    assert (accepted.job_id, accepted.state, accepted.queue_position) == (ID, "queued", 1)
    first, second, third, another, mine = keys(server.asked)
    assert first == second == third
    assert first not in {None, another}
    assert mine == "mine"
    assert {each.body for each in server.asked[:3]} == {
        json.dumps(CHAT | {"priority": "batch", "metadata": {"order": 17}}, separators=(",", ":")).encode()
    }


def test_another_try_comes_no_sooner_than_the_server_asks() -> None:
    """``Retry-After: 1`` is waited for, where a first wait of its own would be a quarter of that."""
    full = problem(429, "key-rate-exceeded")
    with Scripted([Said(429, full.body, {"Retry-After": "1"}), ACCEPTED]) as server, Client(server.url) as client:
        client.submit(CHAT)
    assert server.asked[1].at_s - server.asked[0].at_s >= 1


def test_a_server_that_asks_for_more_time_than_there_is_has_the_last_word_at_once() -> None:
    """Nobody waits for a try that would come too late; the error has all of what was answered."""
    full = Said(503, problem(503, "queue-full").body, {"Retry-After": "60"})
    with (
        Scripted([full]) as server,
        Client(server.url, deadline_s=5) as client,
        pytest.raises(api.Unavailable) as found,
    ):
        client.submit(CHAT)
    assert (found.value.kind, found.value.status, found.value.retry_after_s) == ("queue-full", 503, 60.0)
    assert len(server.asked) == 1


def test_trouble_is_put_up_with_for_the_deadline_and_no_longer() -> None:
    """What never answers is told of as what happened last, within the time that was given."""
    with (
        Scripted([HANGS_UP]) as server,
        Client(server.url, deadline_s=6) as client,
        pytest.raises(api.Unreachable) as found,
    ):
        client.get(ID)
    assert found.value.reason == "broke the connection off"
    assert len(server.asked) > 1
    assert server.asked[-1].at_s - server.asked[0].at_s < 30
    with Client(server.url, deadline_s=2) as client, pytest.raises(api.Unreachable, match="cannot be connected to"):
        client.get(ID)


@pytest.mark.parametrize("behave", [is_silent, drips(b"HTTP/1.1 200 OK\r\n\r\n", b" ")])
def test_an_answer_that_never_ends_is_none(behave: Behaviour) -> None:
    """A server that says nothing, and one that goes on saying something, cost no more than the deadline."""
    with (
        HostilePeer(behave) as peer,
        Client(peer.url, deadline_s=2) as client,
        pytest.raises(api.Unreachable, match="did not answer in time"),
    ):
        client.health()


def test_each_problem_of_foremans_is_the_error_that_is_named_for_it() -> None:
    """What a program can act on has a class; every other problem is still ``Refused``, with all its fields."""
    kinds = [each for each in problems.TABLE.values() if each.status not in {429, 503}]
    raised = {}
    for kind in kinds:
        with (
            Scripted([problem(kind.status, kind.name)]) as server,
            Client(server.url) as client,
            pytest.raises(api.Refused) as found,
        ):
            client.get(ID)
        assert (found.value.status, found.value.kind, found.value.detail) == (kind.status, kind.name, "A detail.")
        raised[kind.name] = type(found.value)
    assert raised == {
        "invalid-body": api.Refused,
        "invalid-job": api.SubmissionInvalid,
        "idempotency-conflict": api.IdempotencyConflict,
        "job-not-found": api.JobNotFound,
        "job-gone": api.JobGone,
        "job-not-ended": api.JobLives,
        "job-ended": api.JobEnded,
        "event-not-found": api.EventNotFound,
        "event-skipped": api.EventSkipped,
        "artifact-not-found": api.ArtifactNotFound,
    }


def test_what_is_wrong_with_a_body_is_told_place_by_place() -> None:
    """``problems`` has all of it, and the text as well."""
    wrong = [{"pointer": "/messages/0/role", "detail": "must be a string"}]
    with (
        Scripted([problem(422, "invalid-job", errors=wrong)]) as server,
        Client(server.url) as client,
        pytest.raises(api.SubmissionInvalid) as found,
    ):
        client.submit({})
    assert [(each.pointer, each.detail) for each in found.value.problems] == [("/messages/0/role", "must be a string")]
    assert str(found.value) == "422 A title: A detail. /messages/0/role: must be a string"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said(200, b"<html>"), api.AnswerUnreadable),
        (as_json({"job_id": ID}), api.AnswerUnreadable),
        (Said(404, b"<html>"), api.Refused),
        (Said(301, b"", {"Location": "http://127.0.0.1:9/"}), api.Refused),
    ],
)
def test_what_is_not_foreman_is_told_from_it(said: Said, error: type[Exception]) -> None:
    """Another server's answer is an error of this client's, whatever it is; a redirection is not followed."""
    with (
        Scripted([said]) as server,
        Client(server.url) as client,
        pytest.raises(error) as found,
    ):
        client.get(ID)
    assert type(found.value) is error


def test_the_key_goes_with_every_request_and_is_not_shown() -> None:
    """A bearer token in the header, and nowhere else; a path before foreman's stays before it."""
    with Scripted([as_json(job())]) as server, Client(f"{server.url}/queue/", "fm_secret") as client:
        client.get("a/../b?c")
        assert "fm_secret" not in repr(client)
    assert server.asked[0].headers["Authorization"] == "Bearer fm_secret"
    assert server.asked[0].path == "/queue/jobs/a%2F..%2Fb%3Fc"


def test_a_url_that_is_none_is_refused_before_anything_is_sent() -> None:
    """A mistake in the configuration shows where it is made."""
    for url in ("127.0.0.1:8420", "ftp://host", "http://", "http://host/?q=1"):
        with pytest.raises(ValueError, match="must look like"):
            Client(url)


def test_waiting_asks_again_until_the_job_has_ended() -> None:
    """An answer before the time is no end, and neither is an outage in between."""
    script = [as_json(job("queued")), HANGS_UP, as_json(job("working")), as_json(job())]
    with Scripted(script) as server, Client(server.url) as client:
        assert client.wait(ID).ended
    assert {each.path for each in server.asked} == {f"/jobs/{ID}?wait=60.000"}


def test_waiting_ends_in_time_with_the_job_as_it_is() -> None:
    """The deadline is no error for ``wait``, and one with the job in it for ``result``."""
    with Scripted([as_json(job("working"))]) as server, Client(server.url) as client:
        assert client.wait(ID, deadline_s=1.5).state == "working"
        # A server that has no place for one more who waits answers at once, and is not asked all the time.
        assert len(server.asked) <= 3
        with pytest.raises(api.JobNotEnded) as found:
            client.result(ID, deadline_s=0)
    assert found.value.job.state == "working"


def test_the_result_of_a_failed_job_is_an_error_with_its_code() -> None:
    """``code``, ``message`` and ``retryable`` are the job's own."""
    failure = {"code": "upstream_error", "message": "It failed.", "retryable": True, "upstream_status": 500}
    with (
        Scripted([as_json(job("failed", error=failure))]) as server,
        Client(server.url) as client,
        pytest.raises(api.JobFailed) as found,
    ):
        client.result(ID)
    error = found.value
    assert (error.code, error.message, error.retryable, error.upstream_status) == tuple(failure.values())


def test_following_goes_on_where_the_connection_broke() -> None:
    """Each event once, in order, across three connections; the last id that came is what is asked from."""
    script = [
        sse(("1", "state", state("queued", 1)), ("2", "text", {"message": {"content": "Hel"}})),
        HANGS_UP,
        sse(
            ("3", "text", {"message": {"thinking": "so", "tool_calls": [{"function": {"name": "f"}}]}}),
            ("4", "gap", {}),
            (None, "restart", {"attempt": 1}),
            (None, "news", {}),
            (None, "text", {"message": {"content": "Hello"}, "done": True}),
            whole=True,
        ),
        sse(("9", "state", state("done", 4)), whole=True),
    ]
    with Scripted(script) as server, Client(server.url) as client:
        events = list(client.follow(ID))
    assert [each.headers["Last-Event-ID"] for each in server.asked] == [None, "2", "2", "4"]
    queued, hel, tools, gap, again, hello, done = events
    assert isinstance(queued, StateReached)
    assert not queued.terminal
    assert isinstance(hel, Text)
    assert (hel.id, hel.content) == ("2", "Hel")
    assert isinstance(tools, Text)
    assert (tools.thinking, tools.tool_calls[0]["function"]["name"]) == ("so", "f")
    assert isinstance(gap, Gap)
    assert isinstance(again, Restarted)
    assert isinstance(hello, Text)
    assert hello.line["done"] is True
    assert isinstance(done, StateReached)
    assert done.terminal


def test_who_has_seen_the_end_follows_nothing() -> None:
    """``204`` after the last id is the end, not an empty stream to be asked for again."""
    with Scripted([Said(204)]) as server, Client(server.url) as client:
        assert list(client.follow(ID, after="9")) == []
    assert server.asked[0].headers["Last-Event-ID"] == "9"


def test_following_gives_up_on_a_server_that_says_nothing() -> None:
    """Streams that end at once are trouble like any other."""
    with (
        Scripted([sse(whole=True)]) as server,
        Client(server.url, deadline_s=6) as client,
        pytest.raises(api.Unreachable, match="ended the stream"),
    ):
        list(client.follow(ID))
    assert len(server.asked) > 1


def test_following_ends_in_time() -> None:
    """A stream that goes on is left at the deadline, which is no error."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    with HostilePeer(drips(head, b":\n\n")) as peer, Client(peer.url) as client:
        assert list(client.follow(ID, deadline_s=0.5)) == []


def test_an_artifact_is_gone_on_with_and_checked() -> None:
    """The second connection asks for the rest of the same bytes; the whole has the SHA-256 that was stored."""
    rest = Said(206, BYTES[4000:])
    with (
        Scripted([stored(), Said(200, BYTES[:4000], length_b=len(BYTES)), rest]) as server,
        Client(server.url) as client,
    ):
        assert client.artifact(ID) == BYTES
    asked = server.asked[2].headers
    assert asked["Range"] == "bytes=4000-"
    assert asked["If-Range"] == f'"{hashlib.sha256(BYTES).hexdigest()}"'


def test_an_artifact_that_begins_anew_is_not_put_behind_what_was_there() -> None:
    """A server that answers 200 to a range sends the whole: what came before it is dropped."""
    script = [stored(), Said(200, BYTES[:4000], length_b=len(BYTES)), Said(200, BYTES)]
    with Scripted(script) as server, Client(server.url) as client:
        assert client.artifact(ID) == BYTES


def test_damaged_bytes_are_no_file(tmp_path: Path) -> None:
    """A file is whole and right or not there, and what was there before stays."""
    target = tmp_path / "completion.json"
    target.write_text("before")
    with Scripted([stored("00"), Said(200, BYTES), stored(), Said(200, BYTES)]) as server, Client(server.url) as client:
        with pytest.raises(api.ArtifactDamaged):
            client.download(ID, target)
        assert (target.read_text(), list(tmp_path.iterdir())) == ("before", [target])
        assert client.download(ID, target).size_b == len(BYTES)
    assert (target.read_bytes(), list(tmp_path.iterdir())) == (BYTES, [target])


def test_listings_go_on_to_the_last_page_and_no_further_than_wanted() -> None:
    """Filters are asked for as foreman writes them; the next page is asked for when it is needed."""
    first = as_json({"jobs": [job(), job()], "next_cursor": "c1"})
    with Scripted([first, as_json({"jobs": [job()], "next_cursor": None})]) as server, Client(server.url) as client:
        since = datetime(2026, 11, 24, 5, tzinfo=UTC)
        listed = client.jobs(
            state="done", metadata={"order": 17, "who": "me", "of": None}, created_after=since, page_size=2
        )
        assert server.asked == []
        assert len([next(listed), next(listed)]) == 2
        assert len(server.asked) == 1
        assert len(list(listed)) == 1
    labels = "metadata.order=17&metadata.who=me&metadata.of=null"
    wanted = f"/jobs?state=done&created_after=2026-11-24T05%3A00%3A00Z&limit=2&{labels}"
    assert [each.path for each in server.asked] == [wanted, f"{wanted}&cursor=c1"]


def test_deleting_what_is_gone_is_no_error() -> None:
    """A second try, after an answer that was lost, finds the work done."""
    with Scripted([HANGS_UP, problem(410, "job-gone")]) as server, Client(server.url) as client:
        client.delete(ID)
    assert [each.method for each in server.asked] == ["DELETE", "DELETE"]


def test_foremans_own_keys_are_all_known_by_name() -> None:
    """What a submission may have beside the chat is what foreman reads out of it."""
    assert set(get_type_hints(api.JobKeys)) == OWN_KEYS

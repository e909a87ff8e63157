from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from falcon import testing
from standardwebhooks import Webhook

from foreman import clock
from foreman.api.webhooks import MAX_PINGS
from foreman.domain.address import Policy
from foreman.domain.delivery import Attempt, Dead, Delivered, Schedule
from foreman.domain.lifecycle import State
from foreman.domain.moment import rfc3339
from foreman.domain.signature import parse_secrets
from foreman.net.webhooks import WebhookSender
from foreman.queue import messages
from foreman.services.deliver import Deliverer
from foreman.services.ping import Pinger
from foreman.services.senders import Senders
from foreman.store.events import Sending
from foreman.tally import Tally
from foreman.traces import Tracer
from tests.integration.api import Api, in_threads, running_api
from tests.receiver import Received, Receiver, always

HOOK = "https://hooks.example.com/x?token=t0ken"
NOBODY = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
LOOPBACK = Policy(allow_http=True, allowed_nets=(ip_network("127.0.0.0/8"),))
OK = Attempt(200, None, None, "thanks", 5)
BUSY = Attempt(503, None, None, "busy", 5)
SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """An API with an empty database."""
    with running_api(tmp_path) as running:
        yield running


def _sent(api: Api, job_id: str, attempt: Attempt = OK) -> Sending:
    """Try the job's next event; what is not accepted is dead."""
    sending = api.parts.events.claim(job_id, clock.now())
    assert sending is not None
    api.parts.events.record(sending, attempt, Delivered() if attempt is OK else Dead(), clock.now())
    return sending


def _dead(api: Api, *, url: str = HOOK) -> str:
    """A job that has ended and whose four events all died."""
    job_id = api.submit(state_webhook_url=url)
    api.finish()
    for _ in range(4):
        _sent(api, job_id, BUSY)
    return job_id


def _post(api: Api, path: str, body: Any = None) -> testing.Result:
    data = b"" if body is None else json.dumps(body).encode()
    return api.client.simulate_post(path, body=data, headers={"Content-Type": "application/json"})


def _statuses(api: Api, job_id: str) -> list[str]:
    return [event["status"] for event in api.job(job_id)["webhook"]["events"]]


def test_every_try_is_listed_oldest_first(api: Api) -> None:
    """Whatever came of it; one that is under way has no outcome yet."""
    job_id = api.submit(state_webhook_url=HOOK)
    api.start(State.LOADING)
    _sent(api, job_id, BUSY)
    assert api.parts.events.claim(job_id, clock.now()) is not None
    answer = api.get(f"/jobs/{job_id}/deliveries")
    assert (answer.status_code, answer.json["next_cursor"]) == (200, None)
    first, second = answer.json["deliveries"]
    assert first == {
        "event_id": f"{job_id}-queued",
        "state": "queued",
        "sequence": 1,
        "attempt": 1,
        "at": first["at"],
        "duration_ms": 5,
        "outcome": "failed",
        "status": 503,
        "error": None,
        "response_excerpt": "busy",
    }
    assert (second["state"], second["outcome"], second["status"], second["response_excerpt"]) == (
        "loading",
        "in_flight",
        None,
        None,
    )


def test_tries_come_in_pages(api: Api) -> None:
    """Each once, in the same order as on one page."""
    job_id = _dead(api)
    every = api.get(f"/jobs/{job_id}/deliveries").json["deliveries"]
    assert [each["state"] for each in every] == ["queued", "loading", "working", "done"]
    paged: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.get(f"/jobs/{job_id}/deliveries?limit=3{cursor and f'&cursor={cursor}'}").json
        paged += page["deliveries"]
        cursor = page["next_cursor"]
    assert paged == every


def test_a_job_without_a_webhook_has_no_deliveries(api: Api) -> None:
    """An empty list, since there is such a job."""
    assert api.get(f"/jobs/{api.submit()}/deliveries").json == {"deliveries": [], "next_cursor": None}


@pytest.mark.parametrize(("method", "path"), [("GET", "deliveries"), ("POST", "deliveries/done/redeliver")])
def test_deliveries_of_no_job_are_not_found(api: Api, method: str, path: str) -> None:
    """404 for an id that never was, 410 for one that was."""
    gone = _dead(api)
    api.client.simulate_delete(f"/jobs/{gone}")
    for job_id, status in ((NOBODY, 404), ("x", 404), (gone, 410)):
        assert api.client.simulate_request(method, f"/jobs/{job_id}/{path}").status_code == status


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "cursor=MToyOjM6NA", "wait=1", "limit=1&limit=2"])
def test_a_wrong_parameter_is_refused(api: Api, query: str) -> None:
    """400, as in every listing."""
    for path in (f"/jobs/{api.submit()}/deliveries", "/webhooks/events"):
        answer = api.get(f"{path}?{query}")
        assert (answer.status_code, answer.json["type"]) == (400, "urn:foreman:problem:bad-parameter")


@pytest.mark.parametrize("attempt", [OK, BUSY])
def test_an_event_is_sent_again(api: Api, attempt: Attempt) -> None:
    """Accepted or dead: it is pending, a sender is woken, and ``Location`` says where to look."""
    job_id = api.submit(state_webhook_url=HOOK)
    _sent(api, job_id, attempt)
    api.messenger.sent.clear()
    answer = _post(api, f"/jobs/{job_id.lower()}/deliveries/queued/redeliver")
    assert answer.status_code == 202
    assert answer.json == {"event_id": f"{job_id}-queued", "state": "queued", "status": "pending"}
    assert answer.headers["Location"] == f"/jobs/{job_id}/deliveries"
    assert api.messenger.sent == [messages.deliver(job_id)]
    assert _statuses(api, job_id) == ["pending"]


def test_an_event_that_is_not_there_cannot_be_sent_again(api: Api) -> None:
    """404: a state that the job has not reached, that is none, or of a job without a webhook."""
    job_id = api.submit(state_webhook_url=HOOK)
    for path in (f"{job_id}/deliveries/done", f"{job_id}/deliveries/DONE", f"{api.submit()}/deliveries/queued"):
        answer = _post(api, f"/jobs/{path}/redeliver")
        assert (answer.status_code, answer.json["type"]) == (404, "urn:foreman:problem:event-not-found")


def test_an_event_that_was_never_built_cannot_be_sent_again(api: Api) -> None:
    """409, and the problem says why."""
    job_id = api.submit(state_webhook_url=HOOK, state_webhook_events=["done"])
    answer = _post(api, f"/jobs/{job_id}/deliveries/queued/redeliver")
    assert (answer.status_code, answer.json["type"]) == (409, "urn:foreman:problem:event-skipped")
    assert "submission" in answer.json["detail"]


def test_what_is_sent_again_has_the_same_id_and_bytes_and_a_new_signature(api: Api) -> None:
    """As the receiver gets it: deduplication still works, and a check of the time does not refuse it."""
    with Receiver(always(500)) as receiver:
        api.rebuild(policy=LOOPBACK)
        job_id = api.submit(state_webhook_url=receiver.url)
        deliverer = _deliverer(api, "one")
        assert deliverer.deliver(job_id) is None
        assert _statuses(api, job_id) == ["dead"]
        _post(api, f"/jobs/{job_id}/deliveries/queued/redeliver")
        receiver.answer = always(204)
        # The signature is of the second in which the try is made.
        before = receiver.requests[0].headers["webhook-timestamp"]
        while str(clock.now() // 1000) == before:
            threading.Event().wait(0.05)
        assert deliverer.deliver(job_id) is None
    first, second = receiver.requests
    assert _statuses(api, job_id) == ["delivered"]
    assert second.body == first.body
    for name in ("webhook-id", "Idempotency-Key", "X-Foreman-Signature", "X-Foreman-Sequence"):
        assert second.headers[name] == first.headers[name]
    for name in ("webhook-timestamp", "webhook-signature"):
        assert second.headers[name] != first.headers[name]
    assert (first.headers["X-Foreman-Attempt"], second.headers["X-Foreman-Attempt"]) == ("1", "2")


def test_a_redelivered_event_goes_through_the_whole_schedule_again(api: Api) -> None:
    """The tries of the first schedule do not count against the second."""
    with Receiver(always(500)) as receiver:
        api.rebuild(policy=LOOPBACK)
        job_id = api.submit(state_webhook_url=receiver.url)
        deliverer = _deliverer(api, "one", delays_s=(0.0, 0.0))
        for tries in (3, 6):
            while deliverer.deliver(job_id) is not None:
                pass
            assert (_statuses(api, job_id), len(receiver.requests)) == (["dead"], tries)
            _post(api, f"/jobs/{job_id}/deliveries/queued/redeliver")


def test_events_are_listed_by_status(api: Api) -> None:
    """Newest job first, in pages, without the URL, which may hold a token."""
    dead, pending = _dead(api), api.submit(state_webhook_url=HOOK)
    answer = api.get("/webhooks/events?status=dead&limit=3")
    assert [(each["job_id"], each["state"]) for each in answer.json["events"]] == [
        (dead, "done"),
        (dead, "working"),
        (dead, "loading"),
    ]
    rest = api.get(f"/webhooks/events?status=dead&cursor={answer.json['next_cursor']}")
    assert [each["state"] for each in rest.json["events"]] == ["queued"]
    assert rest.json["next_cursor"] is None
    [entry] = api.get("/webhooks/events?status=pending").json["events"]
    assert entry == {
        "event_id": f"{pending}-queued",
        "job_id": pending,
        "state": "queued",
        "sequence": 1,
        "status": "pending",
        "attempts": 0,
        "last_status": None,
        "last_error": None,
        "created_at": entry["created_at"],
        "next_attempt_at": entry["created_at"],
        "delivered_at": None,
        "origin": "https://hooks.example.com",
    }
    assert "t0ken" not in api.get("/webhooks/events").text
    assert len(api.get("/webhooks/events").json["events"]) == 5
    assert len(api.get(f"/webhooks/events?job_id={dead.lower()}").json["events"]) == 4
    assert api.get("/webhooks/events?status=delivered").json == {"events": [], "next_cursor": None}


@pytest.mark.parametrize("query", ["status=gone", "status=", "status=DEAD", "job_id=x", "origin=x"])
def test_a_wrong_filter_of_events_is_refused(api: Api, query: str) -> None:
    """400, and the problem names it."""
    answer = api.get(f"/webhooks/events?{query}")
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json["detail"]


def test_what_died_since_a_moment_is_recovered(api: Api) -> None:
    """However many events and batches: each is pending again, and senders are woken."""
    with_message = [_dead(api) for _ in range(3)]
    since = rfc3339(clock.now() - 60_000)
    api.messenger.sent.clear()
    answer = _post(api, "/webhooks/recover", {"since": since})
    assert (answer.status_code, answer.json) == (202, {"recovered": 12})
    assert {message.args[0] for message in api.messenger.sent} == set(with_message)
    assert _statuses(api, with_message[0]) == ["pending"] * 4
    assert _post(api, "/webhooks/recover", {"since": since}).json == {"recovered": 0}


def test_more_than_one_batch_is_recovered(api: Api) -> None:
    """Each batch is a short transaction of its own; together they are all there is."""
    for _ in range(30):
        _dead(api)
    assert _post(api, "/webhooks/recover", {"since": "2020-01-01T00:00:00Z"}).json == {"recovered": 120}


def test_a_recovery_may_be_of_one_origin_and_of_a_time(api: Api) -> None:
    """An origin in any spelling; what was before the moment stays dead."""
    here, there = _dead(api), _dead(api, url="https://other.example.com/y")
    assert _post(api, "/webhooks/recover", {"since": rfc3339(clock.now() + 60_000)}).json == {"recovered": 0}
    body = {"since": "2020-01-01T00:00:00+01:00", "origin": "https://HOOKS.example.com:443/"}
    assert _post(api, "/webhooks/recover", body).json == {"recovered": 4}
    assert (_statuses(api, here)[0], _statuses(api, there)[0]) == ("pending", "dead")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/since"]),
        ({"since": "yesterday"}, ["/since"]),
        ({"since": 5, "origin": 5}, ["/since", "/origin"]),
        ({"since": "2020-01-01T00:00:00Z", "origin": "hooks.example.com"}, ["/origin"]),
        ({"since": "2020-01-01T00:00:00Z", "orgin": "https://x"}, ["/orgin"]),
        ([], [""]),
        (None, [""]),
    ],
)
def test_a_body_that_is_no_recovery_is_refused(api: Api, body: Any, pointers: list[str]) -> None:
    """422 with all that is wrong; a misspelt key would recover more than was meant."""
    dead = _dead(api)
    answer = api.client.simulate_post(
        "/webhooks/recover", body=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json["type"]) == (422, "urn:foreman:problem:invalid-body")
    assert [each["pointer"] for each in answer.json["errors"]] == pointers
    assert set(_statuses(api, dead)) == {"dead"}


def test_a_ping_is_an_event_like_any_other(api: Api) -> None:
    """Signed in both ways, with an id of its own; the answer says how it went."""
    with Receiver() as receiver:
        _pinging(api, SECRET)
        answer = _post(api, "/webhooks/ping", {"url": receiver.url})
    assert answer.status_code == 200
    assert {**answer.json, "duration_ms": 0} == {
        "outcome": "delivered",
        "status": 200,
        "error": None,
        "duration_ms": 0,
    }
    [request] = receiver.requests
    assert set(request.json) == {"id", "type", "timestamp"}
    assert request.json["type"] == "ping"
    assert request.json["id"].startswith("ping-")
    assert request.headers["webhook-id"] == request.headers["Idempotency-Key"] == request.json["id"]
    Webhook(SECRET).verify(request.body, dict(request.headers.items()))
    assert request.headers["X-Foreman-Signature"].startswith("sha256=")


def test_a_ping_that_fails_is_an_answer(api: Api) -> None:
    """The status or the code of the error, and not a word of what the receiver said."""
    _pinging(api)
    with Receiver(always(500, {}, b"the inside of a network")) as receiver:
        answer = _post(api, "/webhooks/ping", {"url": receiver.url})
        port = receiver.port
    assert (answer.status_code, answer.json["outcome"], answer.json["status"]) == (200, "failed", 500)
    assert "inside" not in answer.text
    refused = _post(api, "/webhooks/ping", {"url": f"http://127.0.0.1:{port}/"}).json
    assert (refused["outcome"], refused["status"], refused["error"]) == ("failed", None, "refused")


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["/url"]),
        ({"url": 5}, ["/url"]),
        ({"url": "http://hooks.example.com"}, ["/url"]),
        ({"url": "https://127.0.0.1/"}, ["/url"]),
        ({"url": "https://169.254.169.254/"}, ["/url"]),
        ({"url": "https://x.example.com/", "uri": 1}, ["/uri"]),
        ("https://x.example.com/", [""]),
    ],
)
def test_a_url_that_may_not_be_called_is_not_pinged(api: Api, body: Any, pointers: list[str]) -> None:
    """422 as at submit, and no address is told."""
    answer = _post(api, "/webhooks/ping", body)
    assert (answer.status_code, answer.json["type"]) == (422, "urn:foreman:problem:invalid-body")
    assert [each["pointer"] for each in answer.json["errors"]] == pointers


def test_a_name_that_leads_to_a_bad_address_shows_as_a_code(api: Api) -> None:
    """Whoever asks learns that it is refused, and not what the name resolves to."""

    def resolver(_host: str, port: int, **_: Any) -> Any:
        return [(2, 1, 6, "", ("10.9.8.7", port))]

    api.rebuild(pinger=Pinger(WebhookSender(Policy(), 1.0, getaddrinfo=resolver), (), "foreman/test"))
    answer = _post(api, "/webhooks/ping", {"url": "https://hooks.example.com/"})
    assert (answer.json["outcome"], answer.json["error"]) == ("failed", "address_refused")
    assert "10.9" not in answer.text


@pytest.mark.parametrize(
    ("places", "count", "problem"), [(9, MAX_PINGS, "too-many-pings"), (2, 2, "too-many-connected")]
)
def test_no_more_pings_than_allowed_are_under_way(api: Api, places: int, count: int, problem: str) -> None:
    """503 and when to ask again, of pings as of all that hold a thread for long; one that is over makes room."""
    all_here, go = threading.Barrier(count + 1), threading.Event()

    def hold(_request: Received) -> tuple[int, dict[str, str], bytes]:
        all_here.wait(30)
        go.wait(30)
        return 200, {}, b""

    with Receiver(hold) as receiver:
        _pinging(api, timeout_s=60.0)
        api.rebuild(max_followers=places)
        body = {"url": receiver.url}

        def one_more() -> testing.Result:
            all_here.wait(30)
            answer = _post(api, "/webhooks/ping", body)
            go.set()
            return answer

        *held, refused = in_threads(*[lambda: _post(api, "/webhooks/ping", body)] * count, one_more)
        assert [answer.json["outcome"] for answer in held] == ["delivered"] * count
        assert refused.json["type"] == f"urn:foreman:problem:{problem}"
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
        receiver.answer = always(204)
        assert _post(api, "/webhooks/ping", body).json["outcome"] == "delivered"


def _pinging(api: Api, secret: str = "", timeout_s: float = 5.0) -> None:
    """Let the API ping loopback."""
    pinger = Pinger(WebhookSender(LOOPBACK, timeout_s), parse_secrets(secret), "foreman/test")
    api.rebuild(policy=LOOPBACK, pinger=pinger)


def _deliverer(api: Api, secret: str, delays_s: tuple[float, ...] = ()) -> Deliverer:
    return Deliverer(
        events=api.parts.events,
        origins=api.parts.origins,
        senders=Senders(8, 0.5),
        sender=WebhookSender(LOOPBACK, 5.0),
        messenger=api.messenger,
        schedule=Schedule(delays_s, nonterminal_retries=99),
        secrets=parse_secrets(secret),
        user_agent="foreman/test",
        spread=0.0,
        stopping=threading.Event(),
        tally=Tally(),
        tracer=Tracer(),
    )

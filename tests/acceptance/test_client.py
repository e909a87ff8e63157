"""The client for programs, on real processes."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from foreman.client import Client, EventSkipped, JobEnded, JobFailed, JobGone, JobNotFound, StateReached, Text
from foreman.client import SubmissionInvalid as Invalid
from tests.acceptance.stack import ROOT, Stack, eventually
from tests.databases import SESSION
from tests.receiver import Receiver, always
from tests.upstream import reply
from tests.upstream_faults import held, status

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


#: Once is enough: a client does not see which database there is.
on_one = pytest.mark.parametrize("running", [SESSION.engine], indirect=True)


@pytest.fixture
def client(stack: Stack) -> Iterator[Client]:
    """A client of the shared stack."""
    with Client(stack.url) as made:
        yield made


@on_one
def test_a_job_is_submitted_followed_and_read(stack: Stack, client: Client, tmp_path: Path) -> None:
    """States and text as they come, the result, its artifact with the right SHA-256, and the job in the listing."""
    accepted = client.submit(CHAT, metadata={"test": "followed"}, priority="interactive")
    events = list(client.follow(accepted.job_id))
    assert [each.state for each in events if isinstance(each, StateReached)] == ["queued", "loading", "working", "done"]
    assert "".join(each.content for each in events if isinstance(each, Text)) == "Hello, world!"
    assert list(client.follow(accepted.job_id, after=events[-1].id)) == []
    job = client.get(accepted.job_id)
    assert job.ended
    assert client.result(job.job_id) == job.result
    [artifact] = client.artifacts(job.job_id)
    assert client.download(job.job_id, tmp_path / "completion") == artifact
    kept = (tmp_path / "completion").read_bytes()
    assert kept == client.artifact(job.job_id)
    assert hashlib.sha256(kept).hexdigest() == artifact.sha256
    since = datetime.now(UTC) - timedelta(minutes=10)
    listed = client.jobs(state="done", metadata={"test": "followed"}, created_after=since, page_size=1)
    assert next(listed).job_id == job.job_id


@on_one
def test_a_long_result_comes_out_of_its_artifact(stack: Stack, client: Client) -> None:
    """Over the inline limit the job has no message; the result is whole all the same."""
    stack.upstream.next(reply("long ", "x" * 5000))
    job_id = client.submit(CHAT).job_id
    assert client.result(job_id)["message"]["content"] == "long " + "x" * 5000
    assert "message" not in (client.get(job_id).result or {})


@on_one
def test_a_job_is_cancelled_and_deleted(stack: Stack, client: Client) -> None:
    """Cancelling is idempotent, its result is an error with the code, and what is deleted is gone."""
    stack.upstream.next(held(threading.Event()))
    job_id = client.submit(CHAT).job_id
    stack.until(job_id, "working")
    assert client.wait(job_id, deadline_s=0).state == "working"
    client.cancel(job_id)
    assert client.wait(job_id).error == client.cancel(job_id).error
    with pytest.raises(JobFailed) as found:
        client.result(job_id)
    assert (found.value.code, found.value.retryable) == ("cancelled", False)
    client.delete(job_id)
    client.delete(job_id)
    with pytest.raises(JobGone):
        client.get(job_id)


@on_one
def test_what_foreman_refuses_is_an_error_that_says_why(stack: Stack, client: Client) -> None:
    """An id that never was, a body that is no job, and a job that is too far to be cancelled."""
    with pytest.raises(JobNotFound):
        client.get("01M85VW3NCMASR2TMX7H7DCM6B")
    with pytest.raises(Invalid) as found:
        client.submit({"model": 1})
    assert "/model" in {each.pointer for each in found.value.problems}
    job_id = client.submit(CHAT).job_id
    client.result(job_id)
    with pytest.raises(JobEnded):
        client.cancel(job_id)


@on_one
def test_a_failure_of_the_upstream_has_its_status(stack: Stack, client: Client) -> None:
    """What the upstream answered is in the error of the job."""
    stack.upstream.next(status(400, "no such option"))
    with pytest.raises(JobFailed) as found:
        client.result(client.submit(CHAT).job_id)
    assert (found.value.code, found.value.upstream_status) == ("upstream_rejected", 400)


@on_one
def test_deliveries_are_seen_and_sent_again(stack: Stack, client: Client) -> None:
    """Every try with its outcome; a redelivery is one more; what nobody asked for is not to be had."""
    stack.receiver.answer = always(500)
    began = datetime.now(UTC)
    job_id = client.submit(CHAT, state_webhook_url=stack.receiver.url, state_webhook_events=["done"]).job_id
    stack.settled(job_id)
    webhook = client.get(job_id).webhook
    assert webhook is not None
    assert [each.status for each in webhook.events] == ["skipped", "skipped", "skipped", "dead"]
    tries = list(client.deliveries(job_id, page_size=2))
    assert [each.outcome for each in tries] == ["failed"] * 7
    with pytest.raises(EventSkipped):
        client.redeliver(job_id, "queued")
    [dead] = client.webhooks.events(status="dead", job_id=job_id)
    assert (dead.event_id, dead.last_status) == (f"{job_id}-done", 500)
    stack.receiver.answer = always(204)
    assert client.webhooks.recover(began, dead.origin) >= 1
    stack.settled(job_id)
    assert client.redeliver(job_id, "done").status == "pending"
    eventually(lambda: len(list(client.deliveries(job_id))) >= 9, "both were tried")


@on_one
@pytest.mark.parametrize("name", ["client.md", "quickstart.md"])
def test_the_snippets_do_what_they_show(
    stack: Stack, client: Client, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted, with nothing but the URL changed."""
    text = (ROOT / "docs" / name).read_text()
    first, *rest = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    exec(first.replace("http://127.0.0.1:8420", stack.url), {})  # noqa: S102  the document is what is tested
    assert capsys.readouterr().out == "Hello, world!\n"
    for code in rest:
        names: dict[str, Any] = {}
        exec(code, names)  # noqa: S102
        names["show"](client, client.submit(CHAT).job_id)
        assert capsys.readouterr().out == "[queued]\n[loading]\n[working]\nHello, world![done]\n"


@on_one
def test_an_operator_sees_the_installation(stack: Stack, client: Client) -> None:
    """Upstreams, origins, health and a ping, as values."""
    [upstream] = client.upstreams()
    assert (upstream.kind, upstream.error) == ("ollama", None)
    assert client.health().status == "ok"
    eventually(lambda: client.readiness().status == "ready", "everything answers")
    assert set(client.readiness().checks) == {"database", "redis", "upstream", "artifacts"}
    with Receiver() as receiver:  # the stack's own is for events of jobs
        assert client.webhooks.ping(receiver.url).status == 200
    assert {each.circuit for each in client.webhooks.origins()} <= {"closed", "open", "half_open"}


def test_a_restart_of_the_api_is_waited_out(own_directory: Path) -> None:
    """Whoever follows or waits while ``web`` is killed and started again gets all of it, once, and no error."""
    with Stack(own_directory) as stack, Client(stack.url, deadline_s=90) as client:
        gate = threading.Event()
        stack.upstream.next(held(gate, reply("late")))
        job_id = client.submit(CHAT).job_id
        events = client.follow(job_id)
        seen = [next(events)]
        stack.until(job_id, "working")
        stack.kill("web")
        late = threading.Timer(0.5, stack.start, ["web"])
        late.start()
        accepted = client.submit(CHAT)
        gate.set()
        seen += events
        late.join()
        assert [each.state for each in seen if isinstance(each, StateReached)] == [
            "queued",
            "loading",
            "working",
            "done",
        ]
        assert client.result(accepted.job_id)["message"]["content"] == "Hello, world!"

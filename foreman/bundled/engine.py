"""The bundled model in memory: loaded by llama.cpp when asked for, let go when idle, a bounded number of calls at once.

Calls enter in the order they came. One that wants another context size than is loaded waits until the others have left,
and the model is loaded anew, as Ollama does it.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import tempfile
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foreman import clock
from foreman.bundled.request import DEFAULT_CONTEXT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from foreman.domain.job import Moment

#: Calls that may wait for a slot: Ollama's default ``OLLAMA_MAX_QUEUE``.
MAX_WAITING = 512
#: Seconds between looks at whether a waiting call's client is still there: a person does not notice a quarter second.
_HANG_UP_POLL_S = 0.25
#: Tokens of prompt taken at a time. A client that hangs up during a long prompt is noticed between two batches: on two
#: cores 256 take 0.6 s, and smaller ones make the prompt slower.
_BATCH = 256
#: Threads llama.cpp computes with, by default: measured to be what two cores carry; more of them slow each other down.
DEFAULT_THREADS = 2
#: How far off "never" is, in ms: Ollama shows a ``keep_alive`` below zero as Go's longest duration, 292 years.
_NEVER_MS = 292 * 365 * 86_400_000
#: llama.cpp's log level at which it says nothing, and the one at which it says what it does.
_SILENT, _TALKATIVE = -1, 3


class EngineBusy(Exception):
    """``MAX_WAITING`` calls wait already."""


class ClientGone(Exception):
    """The client hung up while its call waited for a slot."""


class LoadFailed(Exception):
    """llama.cpp could not load the file."""


@dataclass(frozen=True, slots=True)
class Held:
    """The model, in memory for as long as the call that holds it; ``load_ns`` is what loading took, 0 if it was."""

    server: Any
    load_ns: int

    def generate(self, request: dict[str, Any], on_chunk: Callable[[dict[str, Any]], bool]) -> None:
        """Run one completion; ``on_chunk`` is called with each chunk and ends it by answering true.

        Raises:
            ValueError: llama.cpp does not take the request.
        """
        self.server.handle_chat_completions(request, on_chunk)


class Engine:
    """One model file, in memory at most once."""

    def __init__(self, path: Path, *, slots: int, threads: int = DEFAULT_THREADS, verbose: bool = False) -> None:
        self._path = path
        self._slots = slots
        self._threads = threads
        self._verbose = verbose
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._active = 0
        self._server: Any = None
        self._context = DEFAULT_CONTEXT
        self._keep_alive_s = 0.0
        #: The monotonic second at which an idle model goes; kept up to date by ``_leave``.
        self._goes_at = math.inf
        self._leaves_next = False
        threading.Thread(target=self._let_go_when_idle, name="model-expiry", daemon=True).start()

    @contextlib.contextmanager
    def hold(self, context: int, keep_alive_s: float, gone: Callable[[], bool]) -> Iterator[Held]:
        """The model, loaded with ``context`` tokens per slot, once it is this call's turn.

        ``gone`` says whether the call's client has hung up; it is asked while the call waits.

        Raises:
            EngineBusy: too many wait.
            ClientGone: it hung up meanwhile.
            LoadFailed: the file cannot be loaded.
        """
        held = self._enter(context, keep_alive_s, gone)
        try:
            yield held
        finally:
            self._leave(keep_alive_s)

    def unload(self) -> None:
        """Let go of the model now, or as soon as the calls that hold it are over."""
        with self._changed:
            self._leaves_next = True
            if not self._active:
                self._drop()

    def loaded(self) -> tuple[Moment, int] | None:
        """When the model will go if nobody calls, and its context per slot; ``None``: it is not in memory."""
        with self._changed:
            if self._server is None:
                return None
            left_s = self._keep_alive_s if self._active else self._goes_at - clock.monotonic()
            left_ms = _NEVER_MS if math.isinf(left_s) else min(int(left_s * 1000), _NEVER_MS)
            return clock.now() + left_ms, self._context

    def _enter(self, context: int, keep_alive_s: float, gone: Callable[[], bool]) -> Held:
        ticket = object()
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                raise EngineBusy
            self._waiting.append(ticket)
            try:
                while not self._may_enter(ticket, context):
                    self._changed.wait(_HANG_UP_POLL_S)
                    if gone():
                        raise ClientGone
                load_ns = self._ensure(context)
                self._active += 1
                self._keep_alive_s = keep_alive_s
                self._leaves_next = False
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
            return Held(self._server, load_ns)

    def _may_enter(self, ticket: object, context: int) -> bool:
        if self._waiting[0] is not ticket:
            return False
        if self._server is not None and self._context == context:
            return self._active < self._slots
        return self._active == 0

    def _leave(self, keep_alive_s: float) -> None:
        with self._changed:
            self._active -= 1
            self._goes_at = clock.monotonic() + keep_alive_s
            if not self._active and not self._waiting and (self._leaves_next or keep_alive_s == 0):
                self._drop()
            self._changed.notify_all()

    def _let_go_when_idle(self) -> None:
        with self._changed:
            while True:
                idle = self._server is not None and not self._active and not self._waiting
                left_s = self._goes_at - clock.monotonic() if idle else math.inf
                if left_s <= 0:
                    self._drop()
                else:
                    self._changed.wait(min(left_s, threading.TIMEOUT_MAX))

    def _drop(self) -> None:
        # The binding has no close: the model goes with the last reference, in about 30 ms.
        self._server = None

    def _ensure(self, context: int) -> int:
        """Have the model in memory with ``context`` tokens per slot; the nanoseconds it took.

        The lock is held meanwhile: the binding keeps Python's own lock anyway while it loads (0.3 to 0.6 s).
        """
        if self._server is not None and self._context == context:
            return 0
        started = clock.monotonic()
        self._drop()
        self._server = self._load(context)
        self._context = context
        return int((clock.monotonic() - started) * 1e9)

    def _load(self, context: int) -> Any:  # noqa: ANN401 -- the binding has no types
        # Here, since it needs a library that only a process started for it is sure to find (openmp.py).
        import xllamacpp  # type: ignore[import-untyped]  # noqa: PLC0415 -- it ships no types; see above

        params = xllamacpp.CommonParams()
        params.model.path = str(self._path)
        params.n_parallel = self._slots
        params.n_ctx = context * self._slots
        params.n_batch = _BATCH
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = self._threads
        params.warmup = False
        # Old prompts of other calls are not kept in RAM (8 GiB by default): slots keep their last one, which is enough.
        params.cache_ram_mib = 0
        params.verbosity = _TALKATIVE if self._verbose else _SILENT
        with self._no_door(params):
            try:
                return xllamacpp.Server(params)
            except RuntimeError as error:
                raise LoadFailed(str(error)) from error

    @contextlib.contextmanager
    def _no_door(self, params: Any) -> Iterator[None]:  # noqa: ANN401 -- the binding has no types
        """Shut llama.cpp's own HTTP server, which the binding always starts, on a TCP port and without a key.

        It is given a Unix socket in a private directory, deleted as soon as it is bound: nothing can connect any more.
        The key is for the moment in between.
        """
        with tempfile.TemporaryDirectory(prefix="foreman-") as folder:
            # A name that ends in .sock is how llama.cpp is told to bind a Unix socket (tools/server/server-http.cpp).
            params.hostnames = [str(Path(folder) / "llama.sock")]
            params.api_keys = [secrets.token_hex()]
            params.n_threads_http = 1
            params.ui = params.endpoint_slots = False
            yield

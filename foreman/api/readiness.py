"""Whether the things foreman depends on answer: looked at in threads of their own, so that none can hold a request."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from foreman import logs
from foreman.clock import monotonic

log = logs.get_logger(__name__)

#: What is wrong with a dependency, for people, without addresses or secrets; ``None``: nothing.
Check = Callable[[], str | None]

#: Seconds a check may take before it counts as failed: a healthy dependency takes milliseconds.
CHECK_TIMEOUT_S = 2.0

#: Seconds for which what a check found is so; many probes a second cost one check.
FRESH_S = 2.0

_NO_ANSWER = f"no answer within {CHECK_TIMEOUT_S:.0f} s"


@dataclass(slots=True)
class _Watched:
    """One dependency, and what its last check found. Guarded by ``changed``."""

    name: str
    check: Check
    changed: threading.Condition = field(default_factory=threading.Condition)
    found: str | None = None
    ended_at: float = float("-inf")
    #: When the check that runs now began; ``None`` if none does.
    began_at: float | None = None

    def begin(self) -> None:
        """Start a check, unless one runs or the last one is still fresh."""
        with self.changed:
            if self.began_at is not None or monotonic() - self.ended_at <= FRESH_S:
                return
            self.began_at = monotonic()
        # A daemon: a check that hangs must not keep the process from ending.
        threading.Thread(target=self._run, name=f"check-{self.name}", daemon=True).start()

    def look(self, deadline: float) -> str | None:
        """What is wrong, once the running check ends, or at ``deadline`` as far as is known by then."""
        with self.changed:
            self.changed.wait_for(lambda: self.began_at is None, timeout=max(0.0, deadline - monotonic()))
            if self.began_at is not None and monotonic() - self.began_at >= CHECK_TIMEOUT_S:
                return _NO_ANSWER
            return self.found

    def _run(self) -> None:
        try:
            found = self.check()
        except Exception:  # the top of a thread: a check that breaks is a dependency that cannot be relied on
            log.exception("check broke", dependency=self.name)
            found = "the check itself failed"
        with self.changed:
            self.found, self.ended_at, self.began_at = found, monotonic(), None
            self.changed.notify_all()


class Readiness:
    """The dependencies of this process, by name."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._watched = [_Watched(name, check) for name, check in checks.items()]

    def look(self, patience_s: float) -> dict[str, str | None]:
        """What is wrong with each dependency, ``None`` for nothing; at most ``FRESH_S`` old.

        It takes no longer than ``patience_s``: of a check that runs on then, what the one before found, unless it has
        run for ``CHECK_TIMEOUT_S``, which is a failure.
        """
        for each in self._watched:
            each.begin()
        deadline = monotonic() + patience_s
        return {each.name: each.look(deadline) for each in self._watched}

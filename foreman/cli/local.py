"""The foreman of this machine, as the setting ``web.bind`` says where it listens."""

from __future__ import annotations

#: An address that stands for all of a machine's, and one of them that it can be called by from itself.
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- compared, not bound


def reachable(host: str) -> str:
    """What to call on this machine to reach what listens on ``host``, an address without brackets or a name."""
    return _WILDCARDS.get(host, host)


def place(bind: str) -> tuple[str, int]:
    """Host, without brackets, and port of ``web.bind``."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]"), int(port)


def url(bind: str) -> str:
    """The URL by which this machine reaches a foreman that listens on ``bind``."""
    host, port = place(bind)
    found = reachable(host)
    return f"http://[{found}]:{port}" if ":" in found else f"http://{found}:{port}"

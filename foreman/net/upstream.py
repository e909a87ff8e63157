"""The model server: its URL and credentials, which kind it is, and a call to it for whoever wants to use it."""

from __future__ import annotations

import re
import ssl
from dataclasses import replace
from typing import Literal

from foreman.domain.fault import Fault
from foreman.domain.upstream import Survey
from foreman.errors import SettingInvalid
from foreman.net.call import Call
from foreman.net.ollama import OllamaCall
from foreman.net.openai import OpenAICall
from foreman.net.origin import Origin, parse
from foreman.net.watchdog import Watchdog

__all__ = ["Call", "Kind", "Upstream", "make_upstream"]

#: What a server speaks: Ollama's own API, or the part of OpenAI's that llama.cpp, vLLM and LM Studio have in common.
Kind = Literal["ollama", "openai"]
_CALLS: dict[Kind, type[Call]] = {"ollama": OllamaCall, "openai": OpenAICall}

#: What a bearer token is written in, RFC 6750 section 2.1, and then some; a line break would end the header.
_API_KEY = re.compile(r"[!-~]+", re.ASCII)


class Upstream:
    """One model server, ``url`` as in the setting ``upstream.url``. Any number of threads may call it.

    No proxy of the environment is used and no redirect followed: the operator named this server and no other.
    ``api_key`` goes with every request as a bearer token. ``tls`` replaces the system's certificate authorities.

    Raises:
        SettingInvalid: ``url`` or ``api_key`` cannot be used. No message repeats either.
    """

    def __init__(
        self,
        url: str,
        connect_timeout_s: float,
        *,
        kind: Kind = "ollama",
        api_key: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._call = _CALLS[kind]
        self._origin = _keyed(parse(url), api_key) if api_key else parse(url)
        self._connect_timeout_s = connect_timeout_s
        self._tls = tls or ssl.create_default_context()
        self._watchdog = Watchdog()

    @property
    def origin(self) -> Origin:
        """Where it is, with its credentials, for requests that are no calls of a job."""
        return self._origin

    def call(self) -> Call:
        """A call that is not connected yet, for a caller that wants to be able to abort the connecting too."""
        return self._call(self._origin, self._tls, self._watchdog, self._connect_timeout_s)

    def connect(self) -> Call | Fault:
        """Open a connection and send nothing; the caller closes the ``Call``. The fault of a refusal has not begun."""
        call = self.call()
        outcome = call.connect()
        if isinstance(outcome, Fault):
            return outcome
        return call

    def probe(self, timeout_s: float) -> Fault | None:
        """Whether the server answers a request that costs nothing within ``timeout_s``; ``None`` when it does."""
        with self._call(self._origin, self._tls, self._watchdog, min(timeout_s, self._connect_timeout_s)) as call:
            return call.probe(timeout_s)

    def survey(self, timeout_s: float) -> Survey | Fault:
        """Which models the server has and has in memory, if it answers within ``timeout_s`` after it was connected."""
        with self._call(self._origin, self._tls, self._watchdog, min(timeout_s, self._connect_timeout_s)) as call:
            return call.survey(timeout_s)


def make_upstream(kind: Kind, url: str, connect_timeout_s: float, api_key: str | None = None) -> Upstream:
    """The model server of this ``kind`` at ``url``; ``None`` and ``""`` are no ``api_key``.

    Raises:
        SettingInvalid: ``url`` or ``api_key`` cannot be used.
    """
    return Upstream(url, connect_timeout_s, kind=kind, api_key=api_key)


def _keyed(origin: Origin, api_key: str) -> Origin:
    if not _API_KEY.fullmatch(api_key):
        raise SettingInvalid("upstream.api_key", "must be printable ASCII without spaces")
    if "Authorization" in origin.headers:
        raise SettingInvalid("upstream.api_key", "cannot be used along with a password in the URL")
    return replace(origin, headers=origin.headers | {"Authorization": f"Bearer {api_key}"})

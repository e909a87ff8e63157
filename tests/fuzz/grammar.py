"""Requests by the million from a seed: nearly right ones to every route, with something wrong somewhere, or nothing."""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

from foreman.domain.submission import OWN_KEYS
from tests.fuzz.values import changed, damaged, junk, text, tree, written

URLS: tuple[str, ...] = tuple(
    case["url"]
    for cases in json.loads((Path(__file__).parents[1] / "unit/data/bad-urls.json").read_text()).values()
    if isinstance(cases, list)
    for case in cases
)
METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS")
ULID = "01M85VW3NCMASR2TMX7H7DCM6B"
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "options": {"seed": 1}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
NAMES: tuple[str, ...] = (
    *sorted(OWN_KEYS),
    *("model", "messages", "role", "content", "tools", "format", "options", "keep_alive", "think", "stream", "images"),
    *(
        "tool_calls",
        "function",
        "name",
        "arguments",
        "seed",
        "temperature",
        "max_tokens",
        "stop",
        "n",
        "input",
        "prompt",
    ),
    *("stream_options", "include_usage", "response_format", "type", "text", "url", "since", "state", "status", "limit"),
    *("", "\0", "\ud800", "__proto__", "constructor", "a" * 300),
)
#: The names of headers that mean something to foreman, and values that do not, or do in part.
HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Type": (
        "application/json",
        "application/json; charset=utf-16",
        "text/plain",
        "",
        "application/json;;",
        ",",
    ),
    "Content-Encoding": ("identity", "gzip", "", "deflate, gzip"),
    "Idempotency-Key": ("k1", "k2", "", "a" * 255, "a" * 256, "é", "\x7f", " "),
    "Prefer": ("wait=0", "wait", "wait=", "wait=x", "respond-async, wait=0", 'wait="0', 'a="', ",,,", "wait=-1"),
    "If-None-Match": ("*", '"a"', 'W/"a"', '"', "", '"a", "b"', "\xff"),
    "If-Match": ("*", '"a"', "x"),
    "Range": (
        "bytes=0-0",
        "bytes=-1",
        "bytes=5-",
        "bytes=9-1",
        "bytes=0-0,2-3",
        "bytes=-",
        "bytes=" + "9" * 50 + "-",
        "x",
    ),
    "If-Range": ('"a"', "Tue, 24 Nov 2026 00:00:00 GMT", ""),
    "Accept": (
        "text/event-stream",
        "*/*",
        "text/event-stream;q=0",
        "text/event-stream;q=..",
        ";",
        "",
        "application/json",
    ),
    "Last-Event-ID": ("0-0.0", "9-9.99w", "1.2", "-.1", "-----.1", "0-0.0g", "9" * 60 + "-1.1", "\xb2", "", "1-1-1.1"),
    "Authorization": ("Bearer x", "Bearer", "Basic eDp5", "Bearer " + "x" * 500, "\xff"),
    "Content-Length": ("0", "1", "-1", "x", "99999999999999999999", "", "+5", "\xb2"),
    "Transfer-Encoding": ("chunked", "gzip", "identity"),
    "Cookie": ("a=b", "a" * 4000, '"'),
    "Host": ("", "a:b:c", "[::1", "\xff"),
    "X-Forwarded-For": ("x", "1.2.3.4, "),
    "Expect": ("100-continue", "x"),
}
PARAMETERS: dict[str, tuple[str, ...]] = {
    "state": ("done", "failed", "queued", "DONE", ""),
    "status": ("dead", "pending", "x"),
    "model": ("tiny", ""),
    "limit": ("1", "200", "0", "201", "-1", "1e2", "\u0661", "9" * 50),
    "cursor": ("", "MDFN", "====", "\0", "a" * 3000),
    "created_after": (
        "2026-11-24T03:39:53Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "2026-02-30T00:00:00Z",
        "1e9",
    ),
    "metadata.k": ("v", "", "\0"),
    "metadata.": ("v",),
    "wait": ("0", "0.01", "", "x", "-1", "1e1", "nan", "\u0661"),
    "since": ("2026-11-24T03:39:53Z", "x"),
    "origin": ("http://127.0.0.1:1", ""),
}


@dataclass(frozen=True, slots=True)
class Route:
    """A path as the router has it, ``/jobs/{job_id}``, and the methods it knows."""

    template: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """A request; ``path`` and ``query`` as they stand in its first line, headers as Latin-1."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    #: The body comes in chunks, and without a length.
    chunked: bool = False
    #: The client does not wait for the answer.
    hangs_up: bool = False

    @property
    def limited(self) -> bool:
        """Whether it may have said how long its job may take."""
        return b"_timeout_s" in self.body or b"start_deadline_s" in self.body


#: Where most of a request is read, and most can go wrong: these are asked more often than the rest.
DEEP = (
    *[(Route("/jobs", ()), "POST")] * 4,
    (Route("/jobs", ()), "GET"),
    (Route("/jobs/{job_id}", ()), "GET"),
    (Route("/api/chat", ()), "POST"),
    (Route("/v1/chat/completions", ()), "POST"),
)


@dataclass
class World:
    """What earlier answers told: ids and cursors that are real."""

    receiver: str = "http://127.0.0.1:1/hook"
    ids: deque[str] = field(default_factory=lambda: deque([ULID], 200))
    cursors: deque[str] = field(default_factory=lambda: deque(["x"], 20))
    etags: deque[str] = field(default_factory=lambda: deque(['"x"'], 20))


def any_request(dice: random.Random, routes: tuple[Route, ...], world: World) -> Request:
    """The next request."""
    route = dice.choice(routes)
    method = dice.choice(route.methods) if dice.random() < 0.9 else dice.choice(METHODS)
    if dice.random() < 0.45:
        route, method = dice.choice(DEEP)
    path = _path(dice, route.template, world)
    query = _query(dice, world) if dice.random() < 0.4 else ""
    body = _body(dice, path, world) if method in {"POST", "PUT", "PATCH"} or dice.random() < 0.02 else b""
    headers = _headers(dice, world, has_body=bool(body))
    waits = "/chat" in path or "text/event-stream" in headers.get("Accept", "")
    return Request(method, path, query, headers, body, dice.random() < 0.05, waits and dice.random() < 0.9)


def _path(dice: random.Random, template: str, world: World) -> str:
    parts = [_segment(dice, part, world) if "{" in part else part for part in template.split("/")]
    if dice.random() < 0.06:
        parts.insert(dice.randrange(1, len(parts) + 1), _strange(dice))
    if dice.random() < 0.03:
        parts[dice.randrange(1, len(parts))] = _strange(dice)
    path = "/".join(parts)
    return path + "/" if dice.random() < 0.03 else path.upper() if dice.random() < 0.02 else path


def _segment(dice: random.Random, part: str, world: World) -> str:
    if dice.random() < 0.1:
        return _strange(dice)
    if "job_id" in part:
        known = dice.choice(world.ids)
        return known.lower() if dice.random() < 0.05 else known
    return dice.choice(("completion", "partial", "done", "queued", "failed", "loading", "tiny", "tiny:latest", "x"))


def _strange(dice: random.Random) -> str:
    return dice.choice(
        (
            *("", ".", "..", "%00", "%ff%fe", "%", "%2f", "%2e%2e%2f", "a" * 3000, "*", ";a=b", "{job_id}", ULID[:-1]),
            quote(text(dice), safe="", errors="surrogatepass"),
            quote_from_bytes(dice.randbytes(4), safe=""),
        )
    )


def _query(dice: random.Random, world: World) -> str:
    pairs = []
    for _ in range(dice.randrange(1, 4)):
        name = dice.choice(list(PARAMETERS))
        known = {"cursor": world.cursors}.get(name, PARAMETERS[name])
        value = dice.choice(known) if dice.random() < 0.8 else text(dice)
        pairs.append(f"{quote(name, safe='')}={quote(value, safe='', errors='surrogatepass')}")
    if dice.random() < 0.1:
        pairs.append(
            dice.choice(("&", "=", "%", "%zz=%", "a=b=c", "\xe9=1", quote(text(dice), errors="surrogatepass")))
        )
    return "&".join(pairs)


def _headers(dice: random.Random, world: World, *, has_body: bool) -> dict[str, str]:
    headers = {"Content-Type": "application/json"} if has_body else {}
    for _ in range(dice.choice((0, 0, 0, 1, 1, 2, 4))):
        name = dice.choice(list(HEADERS))
        value = dice.choice(HEADERS[name])
        if name in {"If-None-Match", "If-Range"} and dice.random() < 0.5:
            value = dice.choice(world.etags)
        if dice.random() < 0.1:
            value = "".join(chr(dice.choice((*range(32, 127), *range(160, 256)))) for _ in range(dice.randrange(40)))
        if name == "Prefer" and dice.random() < 0.3:
            value = f'{value}, x="{value}"'
        headers[name] = value
    return headers


def _body(dice: random.Random, path: str, world: World) -> bytes:
    value = _good(dice, path, world)
    how = dice.random()
    if how < 0.06:
        return written(dice, value)
    if how < 0.10:
        return dice.randbytes(dice.randrange(60))
    if how < 0.16:
        value = tree(dice, NAMES)
    else:
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            value = changed(dice, value, NAMES)
    data = written(dice, value)
    return damaged(dice, data) if dice.random() < 0.25 else data


def _good(dice: random.Random, path: str, world: World) -> Any:
    """A body that the route takes, or would if it took any."""
    if path.startswith("/v1"):
        return {**CHAT, "stream": dice.random() < 0.5, "tools": [TOOL], "stream_options": {"include_usage": True}}
    if path.startswith("/api"):
        return {**CHAT, "stream": dice.random() < 0.5, "input": "x", "keep_alive": "5m", "tools": [TOOL]}
    if not path.endswith("/jobs"):
        return {"url": world.receiver, "since": "2026-11-24T03:39:53Z", "secret": "s", "state": "done", "limit": 5}
    own = {
        "state_webhook_url": world.receiver if dice.random() < 0.3 else dice.choice(URLS),
        "state_webhook_events": ["done", "failed"],
        "metadata": {"k": "v", "n": {"x": [1]}},
        "priority": dice.choice(("interactive", "normal", "batch")),
        "ttl_s": 5,
        "start_deadline_s": 5,
        "load_timeout_s": 10,
        "exec_timeout_s": 10,
        "stall_timeout_s": 5,
        "max_attempts": 1,
        "tools": [TOOL],
        "format": "json",
        "think": junk(dice),
    }
    return CHAT | {name: own[name] for name in dice.sample(sorted(own), dice.randrange(6))}

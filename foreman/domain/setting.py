"""What each kind of setting accepts, as text from the environment or as a TOML value, and how a wrong one is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Protocol
from urllib.parse import SplitResult, urlsplit

from foreman.domain.endpoint import Endpoint, written

Value = str | int | float | bool | tuple[str, ...] | tuple[float, ...] | tuple[Endpoint, ...]

#: At most 18 digits: Python refuses to read a number of thousands of them, with an error of its own.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9._-]{1,253}")
#: RFC 1123 section 2.1, and ``_``, which container networks use in names.
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: RFC 1035 section 2.3.4, in characters without the trailing dot.
_MAX_NAME_CHARS = 253
_PORT = re.compile(r"[0-9]{1,5}")
_PORTS = range(1, 65536)
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Refused:
    """The value cannot be used; ``right`` completes the sentence "must be …", ``at`` is the place within the value."""

    right: str
    at: str = ""


class Kind(Protocol):
    """One kind of setting: both methods return the value as foreman uses it, or say what would be right."""

    def parse(self, text: str) -> Value | Refused:
        """Read it from an environment variable that is set and not blank."""

    def check(self, value: object) -> Value | Refused:
        """Read it from what TOML makes of the file."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An ``int`` from ``low`` to ``high``, both allowed."""

    low: int
    high: int

    def parse(self, text: str) -> int | Refused:
        """Decimal digits and perhaps a sign."""
        return self.check(int(text) if _WHOLE.fullmatch(text.strip()) else text)

    def check(self, value: object) -> int | Refused:
        """A TOML integer; ``true`` is none, though Python thinks so."""
        if isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high:
            return value
        return Refused(f"a whole number from {self.low} to {self.high}")


@dataclass(frozen=True, slots=True)
class Number:
    """A finite ``float`` from ``low`` to ``high``, both allowed; NaN and infinity are neither."""

    low: float
    high: float

    def parse(self, text: str) -> float | Refused:
        """A decimal number, perhaps with an exponent."""
        return self.check(float(text) if _NUMBER.fullmatch(text.strip()) else text)

    def check(self, value: object) -> float | Refused:
        """A TOML integer or float."""
        if isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high:
            return float(value)
        return Refused(f"a number from {self.low:g} to {plain(self.high)}")


@dataclass(frozen=True, slots=True)
class Flag:
    """A ``bool``."""

    def parse(self, text: str) -> bool | Refused:
        """``true``, ``1``, ``yes``, ``on`` or their opposites, in any case."""
        word = text.strip().lower()
        return self.check(True if word in _TRUE else False if word in _FALSE else text)

    def check(self, value: object) -> bool | Refused:
        """A TOML boolean."""
        return value if isinstance(value, bool) else Refused("true or false")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, in any case; the value is in lower case."""

    words: tuple[str, ...]

    def parse(self, text: str) -> str | Refused:
        """The word itself."""
        return self.check(text)

    def check(self, value: object) -> str | Refused:
        """The word itself."""
        word = value.strip().lower() if isinstance(value, str) else ""
        return word if word in self.words else Refused("one of " + ", ".join(self.words))


def anything(_text: str) -> bool:
    """Accept every text."""
    return True


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text that ``accepts`` likes; empty where ``may_be_empty``, which always means "not set"."""

    right: str
    accepts: Callable[[str], bool] = anything
    may_be_empty: bool = True

    def parse(self, text: str) -> str | Refused:
        """The text as it stands: blanks around a secret may not be dropped silently."""
        return self.check(text)

    def check(self, value: object) -> str | Refused:
        """A TOML string."""
        if not isinstance(value, str):
            return Refused(self.right)
        if not value:
            return value if self.may_be_empty else Refused(self.right)
        if not value.isprintable() or value != value.strip():
            return Refused(f"{self.right}, with no blanks around it and no control characters in it")
        return value if self.accepts(value) else Refused(self.right)


@dataclass(frozen=True, slots=True)
class Texts:
    """Any number of texts that ``accepts`` likes, as a tuple."""

    right: str
    accepts: Callable[[str], bool]

    def parse(self, text: str) -> tuple[str, ...] | Refused:
        """Separated by commas."""
        return self.check([item.strip() for item in text.split(",")])

    def check(self, value: object) -> tuple[str, ...] | Refused:
        """A TOML array of strings."""
        items = value if isinstance(value, list) else [None]
        texts = tuple(item for item in items if isinstance(item, str) and self.accepts(item))
        return texts if len(texts) == len(items) else Refused(self.right)


@dataclass(frozen=True, slots=True)
class Numbers:
    """One or more numbers, each as ``each`` says, as a tuple."""

    each: Number

    def parse(self, text: str) -> tuple[float, ...] | Refused:
        """Separated by commas."""
        return self._all([self.each.parse(item) for item in text.split(",")])

    def check(self, value: object) -> tuple[float, ...] | Refused:
        """A TOML array of numbers, not empty: an environment variable could not say so."""
        return self._all([self.each.check(item) for item in value] if isinstance(value, list) else [])

    def _all(self, read: list[float | Refused]) -> tuple[float, ...] | Refused:
        numbers = tuple(item for item in read if not isinstance(item, Refused))
        if numbers and len(numbers) == len(read):
            return numbers
        return Refused(f"a list of one or more numbers from {self.each.low:g} to {plain(self.each.high)}")


def plain(value: Value) -> str:
    """``value`` as the environment would hold it: what ``parse`` reads back as the same value."""
    if isinstance(value, tuple):
        endpoints = [item for item in value if isinstance(item, Endpoint)]
        texts = (plain(item) for item in value if not isinstance(item, Endpoint))
        return written(endpoints) if endpoints else ",".join(texts)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)


def is_bind(text: str) -> bool:
    """``host:port``: a name, an IPv4 address or a bracketed IPv6 address, and a port other than 0."""
    host, _, port = text.rpartition(":")
    if not _PORT.fullmatch(port) or int(port) not in _PORTS:
        return False
    if host.startswith("[") and host.endswith("]"):
        return _is_address(host[1:-1], version=6)
    return bool(_HOST_NAME.fullmatch(host))


def is_loopback(bind: str) -> bool:
    """Whether only this machine reaches ``host:port``; of names that is known of ``localhost`` alone."""
    host = bind.rpartition(":")[0].strip("[]").lower()
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_network(text: str) -> bool:
    """A CIDR block with no bit set behind its prefix, or one address."""
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_host(text: str) -> bool:
    """A host name, or ``*.`` and one, which means every name below it; no address, and not every name there is."""
    name = text.removeprefix("*.").removesuffix(".")
    labels = name.split(".")
    return len(name) <= _MAX_NAME_CHARS and not labels[-1].isdigit() and all(_LABEL.fullmatch(each) for each in labels)


def is_http_url(text: str) -> bool:
    """``http(s)://host[:port][/path]``, nothing behind the path."""
    parts = _split(text)
    return parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname) and not _has_tail(parts)


def is_redis_url(text: str) -> bool:
    """``redis://`` or ``rediss://`` with a host and perhaps a database number, or ``unix:///path``."""
    parts = _split(text)
    if parts is None or parts.fragment:
        return False
    if parts.scheme == "unix":
        return parts.path.startswith("/")
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname) and _is_database_number(parts.path)


def is_database_url(text: str) -> bool:
    """``sqlite:////absolute/path`` (three slashes do too) or ``postgresql://[user[:password]@][host][:port]/name``."""
    parts = _split(text)
    if parts is None or parts.fragment:
        return False
    if parts.scheme == "sqlite":
        return not parts.netloc and not parts.query and parts.path.lstrip("/").count("/") > 0
    return parts.scheme in {"postgresql", "postgres"} and len(parts.path) > 1


def is_artifacts_url(text: str) -> bool:
    """``file:///absolute/path``, or a bucket of S3, Google or Azure with perhaps a prefix."""
    parts = _split(text)
    if parts is None or _has_tail(parts):
        return False
    if parts.scheme == "file":
        return not parts.netloc and len(parts.path) > 1
    return parts.scheme in {"s3", "gs", "az"} and bool(parts.netloc)


def _is_address(text: str, version: int) -> bool:
    try:
        return ip_address(text).version == version
    except ValueError:
        return False


def _is_database_number(path: str) -> bool:
    return path in {"", "/"} or path[1:].isdecimal()


def _has_tail(parts: SplitResult) -> bool:
    return bool(parts.query or parts.fragment)


def _split(url: str) -> SplitResult | None:
    """The parts of ``url``; ``None`` where it has blanks, a port that is none, or brackets that do not match."""
    if any(character.isspace() for character in url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return None if port == 0 else parts

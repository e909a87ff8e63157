"""Machines on one machine: network namespaces, each with a link to each of some networks, which can be cut and mended.

Needs root and ``ip``. The test's own side of a network is a bridge with an address, where the servers that all share
listen.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

#: Where Debian has it, which for root is always searched.
_IP = shutil.which("ip") or "/usr/sbin/ip"


class Network:
    """``hosts`` that reach this process over each of ``names``; ``with`` makes them and takes them away.

    Addresses are ``10.X.N.H``: X is drawn, N counts the networks, H is 1 on the bridge and counts the hosts from 11.
    """

    def __init__(self, hosts: Sequence[str], names: Sequence[str]) -> None:
        assert os.geteuid() == 0, "network namespaces need root"
        assert Path(_IP).exists(), "network namespaces need the command ip: apt-get install iproute2"
        self._hosts = list(hosts)
        self._names = list(names)
        # An interface's name has at most 15 characters.
        self._tag = f"fm{secrets.token_hex(3)}"
        self._second = 64 + secrets.randbelow(128)

    def block(self, name: str) -> str:
        """The addresses of a network, as CIDR."""
        return f"10.{self._second}.{self._names.index(name)}.0/24"

    def here(self, name: str) -> str:
        """Where this process is reached over a network."""
        return f"10.{self._second}.{self._names.index(name)}.1"

    def there(self, host: str, name: str) -> str:
        """Where a host is reached over a network."""
        return f"10.{self._second}.{self._names.index(name)}.{11 + self._hosts.index(host)}"

    def run_on(self, host: str, command: Sequence[str]) -> list[str]:
        """The command that runs ``command`` on a host."""
        return ["nsenter", f"--net=/run/netns/{self._namespace(host)}", *command]

    def cut(self, host: str, *names: str) -> None:
        """Unplug a host from networks: what is under way is lost in silence, as with a cable."""
        for name in names:
            _ip("link", "set", self._link(host, name), "down")

    def mend(self, host: str, *names: str) -> None:
        """Plug it in again."""
        for name in names:
            _ip("link", "set", self._link(host, name), "up")

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._remove()

    def _make(self) -> None:
        for name in self._names:
            _ip("link", "add", self._bridge(name), "type", "bridge")
            _ip("address", "add", f"{self.here(name)}/24", "dev", self._bridge(name))
            _ip("link", "set", self._bridge(name), "up")
        for host in self._hosts:
            space = self._namespace(host)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            for name in self._names:
                self._plug_in(host, name)

    def _plug_in(self, host: str, name: str) -> None:
        space, link, end = self._namespace(host), self._link(host, name), f"to{self._names.index(name)}"
        _ip("link", "add", link, "type", "veth", "peer", "name", end, "netns", space)
        _ip("link", "set", link, "master", self._bridge(name), "up")
        _ip("-n", space, "address", "add", f"{self.there(host, name)}/24", "dev", end)
        _ip("-n", space, "link", "set", end, "up")

    def _remove(self) -> None:
        # Links go with their namespaces.
        removals = [("netns", "delete", self._namespace(host)) for host in self._hosts]
        removals += [("link", "delete", self._bridge(name)) for name in self._names]
        for arguments in removals:
            with suppress(AssertionError):
                _ip(*arguments)

    def _namespace(self, host: str) -> str:
        return f"{self._tag}-{host}"

    def _bridge(self, name: str) -> str:
        return f"{self._tag}b{self._names.index(name)}"

    def _link(self, host: str, name: str) -> str:
        return f"{self._tag}h{self._hosts.index(host)}n{self._names.index(name)}"


def _ip(*arguments: str) -> None:
    done = subprocess.run([_IP, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"

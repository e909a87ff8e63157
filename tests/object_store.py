"""A real S3 server (moto's) in a process of its own, for a test to kill and start again: then it is empty."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import urllib3

from tests.addresses import LOOPBACK, free_port

#: Seconds in which the server must answer after a start. It takes two, for it imports a great deal.
_START_S = 60.0

BUCKET = "foreman-artifacts"

_PLACE = b"<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>"
_KEY = re.compile(rb"<Key>(.*?)</Key>")


class ObjectStore:
    """One server with one bucket, on a port that stays the same over restarts; ``with`` starts and stops it."""

    def __init__(self, log: Path, address: str = LOOPBACK) -> None:
        self.address = address
        self.port = free_port(address)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The ``artifacts.url``: a prefix of the bucket."""
        return f"s3://{BUCKET}/kept/here"

    @property
    def environ(self) -> dict[str, str]:
        """The standard variables by which every S3 client is told where the server is, and who asks."""
        return {
            "AWS_ENDPOINT_URL": f"http://{self.address}:{self.port}",
            "AWS_ACCESS_KEY_ID": "AKIAFOREMANTESTS",
            "AWS_SECRET_ACCESS_KEY": "the key that nobody is to see",
            "AWS_REGION": "eu-central-1",
        }

    def keys(self) -> list[str]:
        """What is in the bucket."""
        listed = urllib3.request("GET", f"{self.environ['AWS_ENDPOINT_URL']}/{BUCKET}?list-type=2")
        assert listed.status == 200, listed.data
        return [key.decode() for key in _KEY.findall(listed.data)]

    def start(self) -> None:
        """Start, wait until it answers, and make the bucket."""
        argv = [sys.executable, "-c", "from moto.server import main; main()", "-H", self.address, "-p", str(self.port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        self._wait_until_it_answers()

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + _START_S
        made = f"http://{self.address}:{self.port}/{BUCKET}"
        while True:
            try:
                status = urllib3.request("PUT", made, body=_PLACE, retries=False, timeout=_START_S).status
            except urllib3.exceptions.HTTPError:
                assert self._process is not None
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < deadline, "the object store does not answer"
                time.sleep(0.05)
            else:
                assert status == 200, self._log.read_text()
                return

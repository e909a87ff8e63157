from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from foreman.domain.delivery import TryError
from tests.hostile import CASES, HostilePeer, drips, is_silent

#: Seconds one try may take, and how much later than that it may end.
TIMEOUT_S = 1.0
GRACE_S = 0.5
#: Bytes by which a process may grow, however many hostile peers it speaks to, and all of them at once.
GROWTH_B = 32 * 2**20


@pytest.mark.timeout(240)
def test_hostile_receivers_cost_a_sender_nothing_that_lasts() -> None:
    """Each try ends in time, a process that meets them all stays small, and no thread or descriptor is left."""
    with ExitStack() as stack:
        peers = [stack.enter_context(HostilePeer(case.behave, tls=tls)) for case in CASES for tls in (False, True)]
        shy = [
            stack.enter_context(HostilePeer(behave)) for behave in (is_silent, drips(b"\x16\x03\x03\x40\x00", b"\x02"))
        ]
        handshakes = [peer.url.replace("http:", "https:") for peer in shy]
        urls = [*(peer.url for peer in peers), *handshakes]
        argv = [sys.executable, "-m", "tests.trier", str(TIMEOUT_S), str(TIMEOUT_S + GRACE_S), *urls]
        done = subprocess.run(argv, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, timeout=200, check=True)
    told = json.loads(done.stdout)
    print(f"latest: {max(each['took_s'] for each in told['tries']):.3f} s, grown: {told['grown_b'] / 2**20:.1f} MiB")
    assert [each for each in told["tries"] if each["took_s"] > TIMEOUT_S + GRACE_S] == []
    assert [each["outcome"] for each in told["tries"][-len(handshakes) :]] == [TryError.TIMEOUT] * len(handshakes)
    assert told["grown_b"] < GROWTH_B
    assert (told["threads"], told["files"]) == (0, 0)

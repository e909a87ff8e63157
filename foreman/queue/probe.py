"""Whether Redis answers, and what it says of itself, for those who only want to know."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from foreman.domain.job import Moment
from foreman.queue.broker import WakingRedisBroker

#: Microseconds, in which ``TIME`` tells the second's fraction, in a millisecond.
_US = 1000


@dataclass(frozen=True, slots=True)
class Facts:
    """``server`` is name and version; ``eviction`` its ``maxmemory-policy``; ``now`` its clock."""

    server: str
    eviction: str
    now: Moment


def answers(broker: WakingRedisBroker) -> bool:
    """Whether Redis answers a ping now, within the client's timeouts: under two seconds."""
    try:
        broker.client.ping()
    except redis.RedisError:
        return False
    return True


def look(broker: WakingRedisBroker) -> Facts | str:
    """What Redis says of itself, or why it does not; as long as ``answers``, thrice."""
    try:
        info = broker.client.info("server") | broker.client.info("memory")
        second, microsecond = broker.client.time()
    except redis.RedisError as error:
        return str(error)
    valkey = info.get("valkey_version")
    server = f"Valkey {valkey}" if valkey else f"Redis {info.get('redis_version', 'of an unknown version')}"
    return Facts(server, str(info.get("maxmemory_policy", "")), second * 1000 + microsecond // _US)

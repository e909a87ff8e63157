"""Whether Redis answers, for those who only want to know."""

from __future__ import annotations

import redis

from foreman.queue.broker import WakingRedisBroker


def answers(broker: WakingRedisBroker) -> bool:
    """Whether Redis answers a ping now, within the client's timeouts: under two seconds."""
    try:
        broker.client.ping()
    except redis.RedisError:
        return False
    return True

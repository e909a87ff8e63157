from __future__ import annotations

import dramatiq
import pytest

import actors  # noqa: F401  declares every actor, on the broker it sets
from foreman.queue.messages import ADDRESSES, Address


@pytest.mark.parametrize("address", ADDRESSES, ids=lambda address: address.actor)
def test_every_message_names_an_actor_that_exists(address: Address) -> None:
    """The API sends by name and imports no actor, so nothing else would notice a misspelt one before production."""
    assert dramatiq.get_broker().get_actor(address.actor).queue_name == address.queue


def test_every_actor_has_a_message() -> None:
    """An actor that nothing is sent to is dead code, or its message is missing from the list."""
    assert dramatiq.get_broker().get_declared_actors() == {address.actor for address in ADDRESSES}

from __future__ import annotations

import json
import re
from typing import get_type_hints

import pytest
from msgspec import Struct
from msgspec.structs import fields

from foreman import client, receiver
from foreman.api import shown
from foreman.domain import job
from tests.doc_tables import TABLES

#: What the API answers with, and what the client makes of it.
PAIRS: list[tuple[type, type[Struct]]] = [
    (shown.Accepted, client.Accepted),
    (shown.ArtifactEntry, client.Artifact),
    (shown.Check, client.Check),
    (shown.Delivery, client.Delivery),
    (shown.EventEntry, client.EventStatus),
    (shown.Health, client.Health),
    (shown.Job, client.Job),
    (shown.JobSummary, client.Summary),
    (shown.JobWebhook, client.Webhook),
    (shown.Origin, client.Origin),
    (shown.PingOutcome, client.Ping),
    (shown.Readiness, client.Readiness),
    (shown.Redelivery, client.Redelivery),
    (shown.Upstream, client.Upstream),
    (shown.WebhookEvent, client.WebhookEvent),
    (job.Failure, client.Failure),
]


def members(value: type[Struct]) -> set[str]:
    """The names of what a value has."""
    return {each.encode_name for each in fields(value)}


@pytest.mark.parametrize(("answer", "value"), PAIRS, ids=lambda each: each.__name__)
def test_the_client_has_every_member_that_the_api_answers(answer: type, value: type[Struct]) -> None:
    """What is added to an answer is added to the client, under the same name; paths it makes itself."""
    assert members(value) == set(get_type_hints(answer)) - {"links"}


def test_a_receiver_has_every_member_of_an_event() -> None:
    """What is added to the event that the documentation shows, by the code, is added to what ``verify`` returns."""
    found = re.search(r"```json\n(.*?)\n```", TABLES["event"](), re.DOTALL)
    assert found is not None
    event = json.loads(found[1])
    assert set(event) == members(receiver.JobEvent)
    assert set(event["artifacts"][0]) == members(receiver.Artifact)
    assert set(event["history"][0]) == members(receiver.Reached)
    assert set(get_type_hints(job.Failure)) == members(receiver.Failure)

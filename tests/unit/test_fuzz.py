from __future__ import annotations

import json
import random

import pytest

from tests.fuzz.grammar import Request, Route, World, any_request
from tests.fuzz.oracle import Answer, complaints
from tests.fuzz.values import damaged

ROUTES = (Route("/jobs", ("GET", "POST")), Route("/jobs/{job_id}", ("GET",)))
PROBLEM = {"type": "urn:foreman:problem:x", "title": "X", "status": 404, "detail": "No."}
PROBLEM_TYPE = {"content-type": "application/problem+json"}
JSON_TYPE = {"content-type": "application/json"}


def answer(status: int, headers: dict[str, str], body: object) -> Answer:
    """An answer with ``body`` as JSON, or as it is."""
    return Answer(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/jobs", answer(200, JSON_TYPE, {"jobs": []})),
        ("/jobs", answer(404, PROBLEM_TYPE, PROBLEM)),
        ("/jobs", answer(404, PROBLEM_TYPE, PROBLEM | {"errors": [{"pointer": "/a", "detail": "b"}]})),
        ("/jobs", answer(503, PROBLEM_TYPE | {"retry-after": "5"}, PROBLEM | {"status": 503})),
        ("/api/chat", answer(400, JSON_TYPE, {"error": "no"})),
        ("//api/chat", answer(400, JSON_TYPE, {"error": "no"})),
        ("/v1/models", answer(404, JSON_TYPE, {"error": {"message": "no"}})),
        ("/readyz", answer(503, JSON_TYPE, {"status": "no"})),
        ("/ui/jobs/x", answer(404, {"content-type": "text/html; charset=utf-8"}, b"<!doctype html>\n<html>")),
    ],
)
def test_a_good_answer_gives_no_complaint(path: str, given: Answer) -> None:
    """Success, an error in the form that its path asks for, and a 503 that says when to come back."""
    assert complaints("GET", path, given, [b"canary"]) == []


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/jobs", answer(500, PROBLEM_TYPE, PROBLEM | {"status": 500})),
        ("/api/chat", answer(502, JSON_TYPE, {"error": "no"})),
        ("/jobs", answer(503, PROBLEM_TYPE, PROBLEM | {"status": 503})),
        ("/jobs", answer(404, JSON_TYPE, PROBLEM)),
        ("/jobs", answer(400, PROBLEM_TYPE, PROBLEM)),
        ("/jobs", answer(404, PROBLEM_TYPE, {"error": "no"})),
        ("/jobs", answer(404, {"content-type": "text/html"}, b"<html>")),
        ("/ui/jobs/x", answer(404, {"content-type": "text/html"}, b"no")),
        ("/jobs", answer(404, PROBLEM_TYPE, PROBLEM | {"errors": [{"detail": "b"}]})),
        ("/api/chat", answer(404, PROBLEM_TYPE, PROBLEM)),
        ("/v1/models", answer(404, JSON_TYPE, {"error": "no"})),
        ("/jobs", answer(404, PROBLEM_TYPE, PROBLEM | {"detail": "at canary"})),
        ("/jobs", answer(200, JSON_TYPE, b'Traceback (most recent call last):\n  File "/x.py"')),
    ],
)
def test_each_kind_of_bad_answer_is_complained_of(path: str, given: Answer) -> None:
    """A fuzzer that lets one of these pass would find nothing in a million."""
    assert complaints("GET", path, given, [b"canary"])


def test_only_a_chat_that_was_given_a_time_may_run_out_of_it() -> None:
    """Its client asked for that."""
    late = answer(504, JSON_TYPE, {"error": "late"})
    assert complaints("POST", "/api/chat", late, [], limited=True) == []
    assert complaints("POST", "/api/chat", late, [])
    assert complaints("POST", "/api/show", late, [], limited=True)


def made(seed: int, count: int) -> list[Request]:
    """The first requests of a seed."""
    return [any_request(random.Random(f"{seed}/{number}"), ROUTES, World()) for number in range(count)]


def test_a_request_can_be_made_again_from_its_number() -> None:
    """What was found once can be looked at again."""
    assert made(7, 200) == made(7, 200)
    assert made(7, 200) != made(8, 200)


def test_a_good_part_of_the_bodies_is_json() -> None:
    """Noise alone never gets past the reader."""
    bodies = [request.body for request in made(1, 3000) if request.body]
    objects = 0
    for body in bodies:
        try:
            objects += isinstance(json.loads(body), dict)
        except (ValueError, RecursionError):
            continue
    assert 0.4 < objects / len(bodies) < 0.95


def test_any_bytes_can_be_damaged() -> None:
    """Empty ones too."""
    for number in range(300):
        assert isinstance(damaged(random.Random(number), b"" if number % 2 else b'{"a":1}'), bytes)

"""foreman on three machines: web, and two that work, one of which loses its network in the middle of jobs and returns.

They are network namespaces with a cable each to two networks: one to what all of them share (PostgreSQL, Valkey, an
object store), one to the model server, the webhook receiver and the clients.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest

from tests.acceptance.stack import Stack, eventually, procfile
from tests.acceptance.test_lifecycle import FORWARD, states
from tests.network import Network
from tests.object_store import ObjectStore
from tests.postgres import PostgresServer
from tests.upstream import Exchange, HungUp, Received, reply

HOSTS = ("web", "one", "two")
STORES, PEERS = "stores", "peers"
WORKERS = ("jobs", "artifacts", "webhooks", "clock")

#: What the model server takes at once, and what each machine takes of it: the half.
SLOTS = 4
THREADS = 2

#: Seconds: a fifth of it is what a busy machine has, to cut a run, before the slot is another's.
LEASE_S = 10.0

#: Seconds for whatever takes a lease, a sweep and connections that died.
PATIENCE_S = 90.0

#: Characters of an answer that is too large for its row.
LARGE = 6_000

pytestmark = pytest.mark.timeout(300)


@dataclass
class Held:
    """A call that the model server has taken and not answered."""

    call: Received
    go_on: threading.Event = field(default_factory=threading.Event)
    #: The server has noticed that its client is gone.
    is_lost: bool = False


class Gate:
    """How the model server answers: calls from hosts that are open at once, all others when they are let go."""

    def __init__(self, network: Network) -> None:
        self.held: list[Held] = []
        self._open: set[str] = set()
        self._hosts = {network.there(host, PEERS): host for host in HOSTS}

    def __call__(self, exchange: Exchange) -> None:
        """Answer in the name of the host that asks."""
        held = Held(exchange.received)
        host = self.host(held)
        if host not in self._open:
            self.held.append(held)
            exchange.pause(PATIENCE_S, held.go_on)
        if held.is_lost:
            raise HungUp
        reply(f"run by {host} ", "x" * LARGE)(exchange)

    def host(self, held: Held) -> str:
        """Who made a call."""
        return self._hosts[held.call.peer[0]]

    def waiting(self, host: str) -> list[Held]:
        """The calls of a host that are held."""
        return [each for each in self.held if self.host(each) == host and not each.call.ended.is_set()]

    def open(self, *hosts: str) -> None:
        """Answer these from now on, and what they wait for."""
        self._open |= set(hosts)
        for held in self.held:
            if self.host(held) in hosts:
                held.go_on.set()

    def close(self) -> None:
        """Hold all calls from now on."""
        self._open.clear()

    def lose(self, held: Held) -> None:
        """End a call whose client cannot say that it is gone."""
        held.is_lost = True
        held.go_on.set()


@dataclass
class Machines:
    """The running service, its network, and its model server's gate."""

    stack: Stack
    network: Network
    gate: Gate
    #: By the tag that they carry.
    jobs: list[str] = field(default_factory=list)

    def submit(self, count: int) -> list[str]:
        """As many jobs; the model server is told which is which."""
        first = len(self.jobs)
        self.jobs += [self.stack.submit(tag=tag) for tag in range(first, first + count)]
        return self.jobs[first:]

    def until_both_are_busy(self) -> None:
        """Until each machine has as many calls under way as it can."""
        eventually(
            lambda: all(len(self.gate.waiting(host)) == THREADS for host in ("one", "two")),
            "two calls of each",
            PATIENCE_S,
        )

    def said(self, job_id: str) -> str:
        """The text of a job that is done."""
        artifact = self.stack.ask("GET", f"/jobs/{job_id}/artifacts/completion")
        assert artifact.status == 200, artifact
        return str(artifact.json["message"]["content"])

    def job_of(self, held: Held) -> str:
        """The job that a call was made for."""
        tag: int = held.call.body["tag"]
        return self.jobs[tag]

    def has_given_up(self, host: str, held: Held) -> bool:
        """Whether a machine was told, of the run that made a call, that the job is another's."""
        lines = self.stack.log(f"jobs-{host}").splitlines()
        return any("run given up" in line and self.job_of(held) in line for line in lines)


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Three machines, all at work."""
    tmp_path = tmp_path_factory.mktemp("machines")
    with ExitStack() as exits:
        network = exits.enter_context(Network(HOSTS, (STORES, PEERS)))
        shared = network.here(STORES)
        objects = exits.enter_context(ObjectStore(tmp_path / "moto.log", shared))
        env = {
            "FOREMAN_DATABASE_URL": exits.enter_context(PostgresServer(shared)).create("machines"),
            "FOREMAN_ARTIFACTS_URL": objects.url,
            "FOREMAN_ARTIFACTS_INLINE_LIMIT_B": "2000",
            "FOREMAN_WEB_AUTH": "off",
            "FOREMAN_WEBHOOK_ALLOWED_NETS": network.block(PEERS),
            "FOREMAN_UPSTREAM_SLOTS": str(SLOTS),
            "FOREMAN_WORKERS_JOBS_THREADS": str(THREADS),
            "FOREMAN_JOBS_LEASE_S": str(LEASE_S),
            "FOREMAN_SWEEP_INTERVAL_S": "0.5",
        }
        commands = {"web": network.run_on("web", procfile()["web"])}
        commands |= {
            f"{name}-{host}": network.run_on(host, procfile()[name]) for host in ("one", "two") for name in WORKERS
        }
        stack = Stack(
            tmp_path / "stack",
            env | objects.environ,
            commands,
            stores_on=shared,
            peers_on=network.here(PEERS),
            web_on=network.there("web", PEERS),
        )
        stack.upstream.default = gate = Gate(network)
        exits.enter_context(stack)
        yield Machines(stack, network, gate)


def whole(machines: Machines, jobs: Iterable[str]) -> None:
    """Each job is done, and each of its events was delivered, in order; the model server had no call too many."""
    for job_id in jobs:
        job = machines.stack.settled(job_id, PATIENCE_S)
        assert job["state"] == "done"
        assert [event["status"] for event in job["webhook"]["events"]] == ["delivered"] * 4
        assert list(dict.fromkeys(states(machines.stack.events(job_id)))) == FORWARD
    assert machines.stack.upstream.max_in_flight == SLOTS


def test_what_a_machine_does_that_has_lost_the_database_is_done_by_another_and_counts_once(machines: Machines) -> None:
    """It ends its call before its slot is given away, and a result that it has, and could not record, is refused."""
    gate, network, stack = machines.gate, machines.network, machines.stack
    jobs = machines.submit(10)
    machines.until_both_are_busy()
    finished, unfinished = gate.waiting("one")
    network.cut("one", STORES)
    finished.go_on.set()
    assert finished.call.ended.wait(PATIENCE_S)
    gate.open("two")
    assert unfinished.call.ended.wait(PATIENCE_S)
    assert (finished.call.hung_up, unfinished.call.hung_up) == (False, True)
    for held in (finished, unfinished):
        job_id = machines.job_of(held)
        job = stack.until(job_id, "done", timeout_s=PATIENCE_S)
        assert job["attempt"] == 2
        assert machines.said(job_id).startswith("run by two ")
    assert not machines.has_given_up("one", finished)
    network.mend("one", STORES)
    eventually(lambda: machines.has_given_up("one", finished), "the late result is refused", PATIENCE_S)
    whole(machines, jobs)
    assert machines.said(machines.job_of(finished)).startswith("run by two ")


def test_a_machine_without_a_network_costs_time_and_works_again_when_it_has_one(machines: Machines) -> None:
    """Its jobs are done by the other, events that were in its hands arrive as well, and then it takes its share."""
    gate, network, stack = machines.gate, machines.network, machines.stack
    gate.close()
    jobs = machines.submit(10)
    machines.until_both_are_busy()
    network.cut("one", STORES, PEERS)
    lost = gate.waiting("one")
    for held in lost:
        gate.lose(held)
    gate.open("two")
    for held in lost:
        assert stack.until(machines.job_of(held), "done", timeout_s=PATIENCE_S)["attempt"] == 2
    network.mend("one", STORES, PEERS)
    gate.close()
    jobs += machines.submit(10)
    machines.until_both_are_busy()
    gate.open("one", "two")
    whole(machines, jobs)
    assert len(stack.ask("GET", "/jobs?limit=200").json["jobs"]) == len(machines.jobs)

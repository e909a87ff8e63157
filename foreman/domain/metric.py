"""Every metric of ``/metrics``: its name, its kind, its labels and what it says, as data.

Names and units are as prometheus.io/docs/practices/naming advises. The values of every label come from a fixed or a
bounded set: ``model`` is bounded by ``store/counters.py``, all others by the code and the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from foreman.domain.job import Priority
from foreman.domain.lifecycle import Cause


class Kind(StrEnum):
    """How a metric behaves; the values are Prometheus's words."""

    #: Only goes up, over restarts too; counted by every process and added up in the database.
    COUNTER = "counter"
    #: How many of what was measured lie below each bound, and their sum; counted like a counter.
    HISTOGRAM = "histogram"
    #: What is so now, read from the database.
    GAUGE = "gauge"


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One family of series; ``bounds`` are a histogram's upper bounds, in its unit, ascending.

    ``values`` are all that its only label ever has; empty where only running tells. Such a counter has a series for
    each from the beginning, at zero: to Prometheus a series that begins at one did not increase, and the first event
    that dies, say, would raise no alert.

    Each is one of a kind and compared as such: it is looked up whenever something is counted.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()
    values: tuple[str, ...] = ()


#: The value of ``model`` for models that have no series of their own.
OTHER = "other"

#: Seconds: from what a loaded machine takes for nothing to the longest that a job may run by default.
_LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
#: Seconds: from one look into the database to the longest that a client may wait.
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
#: Seconds: from a delivery at once to the end of the schedule of tries.
_LAG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 21_600.0, 43_200.0)

SUBMITTED = Metric(
    "foreman_jobs_submitted_total",
    Kind.COUNTER,
    "Jobs accepted.",
    ("priority",),
    values=tuple(each.label for each in Priority),
)
DONE = Metric("foreman_jobs_done_total", Kind.COUNTER, "Jobs that became done.")
FAILED = Metric(
    "foreman_jobs_failed_total",
    Kind.COUNTER,
    "Jobs that failed, by error.code.",
    ("code",),
    values=tuple(map(str, Cause)),
)
WAITED = Metric("foreman_job_wait_seconds", Kind.HISTOGRAM, "From queued to loading.", ("priority",), _LONG)
LASTED = Metric(
    "foreman_job_duration_seconds", Kind.HISTOGRAM, "From queued to the end, by how it ended.", ("state",), _LONG
)
LOADED = Metric(
    "foreman_model_load_seconds",
    Kind.HISTOGRAM,
    "What loads of models took; a model that was in memory already is none.",
    ("model",),
    _LONG,
)
LOADS = Metric("foreman_model_loads_total", Kind.COUNTER, "Loads of models, by upstream.", ("upstream",))
RAN = Metric(
    "foreman_run_seconds", Kind.HISTOGRAM, "From the real call to its completion, of runs with one.", ("model",), _LONG
)
RUNS = Metric(
    "foreman_runs_total",
    Kind.COUNTER,
    "Runs (attempts) that ended: completion, aborted, or the error code of their fault.",
    ("upstream", "outcome"),
)
TOKENS = Metric(
    "foreman_tokens_total",
    Kind.COUNTER,
    "Tokens of completions, as the upstream counted them: kind is prompt or completion.",
    ("model", "kind"),
)
DELIVERIES = Metric(
    "foreman_deliveries_total",
    Kind.COUNTER,
    "Tries to deliver an event, by outcome: delivered, retry, dead (the last one failed) or stopped (410).",
    ("outcome",),
    values=("delivered", "retry", "dead", "stopped"),
)
TRIED = Metric("foreman_delivery_seconds", Kind.HISTOGRAM, "What one try to deliver took.", ("outcome",), _SHORT)
LAG = Metric("foreman_delivery_lag_seconds", Kind.HISTOGRAM, "From an event's transition to its acceptance.", (), _LAG)
SWEPT = Metric(
    "foreman_sweep_found_total",
    Kind.COUNTER,
    "What sweeps found: messages sent again (run, persist, deliver), jobs whose worker died (lost_worker), that missed "
    "their start deadline (late_start), that no upstream may run (unplaceable), whose events were given up (given_up).",
    ("what",),
    values=("run", "persist", "deliver", "lost_worker", "late_start", "unplaceable", "given_up"),
)
PRUNED = Metric(
    "foreman_pruned_rows_total",
    Kind.COUNTER,
    "Rows pruned, jobs or tombstones.",
    ("table",),
    values=("jobs", "tombstones"),
)
REQUESTS = Metric(
    "foreman_http_requests_total",
    Kind.COUNTER,
    "Requests answered, by the template of their route (unmatched: there is none).",
    ("method", "route", "status"),
)
ANSWERED = Metric(
    "foreman_http_request_duration_seconds",
    Kind.HISTOGRAM,
    "From a request to its answer; of a stream, to its beginning.",
    ("route",),
    _SHORT,
)

JOBS = Metric("foreman_jobs", Kind.GAUGE, "Jobs that are kept, by state.", ("state",))
QUEUE = Metric(
    "foreman_queue_jobs",
    Kind.GAUGE,
    "Live jobs; model is other for those that have no series of their own.",
    ("state", "model", "priority"),
)
OLDEST = Metric(
    "foreman_queue_oldest_seconds", Kind.GAUGE, "How long the job that could run has waited longest.", ("priority",)
)
SLOTS = Metric("foreman_upstream_slots", Kind.GAUGE, "Slots, in use or not.", ("upstream",))
SLOTS_IN_USE = Metric("foreman_upstream_slots_in_use", Kind.GAUGE, "Slots in use.", ("upstream",))
UPSTREAM_UP = Metric(
    "foreman_upstream_up", Kind.GAUGE, "1 unless the last probe was not answered, or with an error.", ("upstream",)
)
UPSTREAM_HELD = Metric(
    "foreman_upstream_held", Kind.GAUGE, "1 while it is left alone because it refused a job.", ("upstream",)
)
EVENTS_PENDING = Metric("foreman_events_pending", Kind.GAUGE, "Webhook events that are still to be delivered.")
EVENTS_DEAD = Metric("foreman_events_dead", Kind.GAUGE, "Webhook events given up, which can be redelivered.")
CIRCUITS = Metric(
    "foreman_webhook_circuits", Kind.GAUGE, "Webhook origins whose circuit is not closed, by its state.", ("state",)
)
UNSTORED = Metric("foreman_artifacts_unstored", Kind.GAUGE, "Completions that wait to be stored.")
BUILD = Metric("foreman_build_info", Kind.GAUGE, "Always 1; the label says what runs.", ("version",))

#: Counted by processes, in the order in which they are written.
COUNTED: tuple[Metric, ...] = (
    SUBMITTED,
    DONE,
    FAILED,
    WAITED,
    LASTED,
    LOADS,
    LOADED,
    RUNS,
    RAN,
    TOKENS,
    DELIVERIES,
    TRIED,
    LAG,
    SWEPT,
    PRUNED,
    REQUESTS,
    ANSWERED,
)
#: Read when asked.
GAUGES: tuple[Metric, ...] = (
    JOBS,
    QUEUE,
    OLDEST,
    SLOTS,
    SLOTS_IN_USE,
    UPSTREAM_UP,
    UPSTREAM_HELD,
    EVENTS_PENDING,
    EVENTS_DEAD,
    CIRCUITS,
    UNSTORED,
    BUILD,
)
METRICS: tuple[Metric, ...] = (*GAUGES, *COUNTED)

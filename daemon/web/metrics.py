"""/metrics for Prometheus: gauges of this moment, and counters that follow the ledger's event log.

The event log is append-only, so what is counted from it never falls. Each scrape reads only the events that came since
the last one; the first one reads the whole log, so that a restart of this process resets nothing.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import accumulate

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from pirtad.daemon.web.snapshot import lengths_or_none
from pirtad.worker.contract import Stage, StudyState
from pirtad.worker.ledger import breakers, retention, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Event, Study

# From a delivery on a LAN to a language model on a CPU, in seconds.
BUCKETS_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
# Transactions may become visible in another order than their events' ids (PostgreSQL); after so long none is missing.
_SETTLED_S = 2.0
_UNFINISHED = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.RUNNING, StudyState.WAITING)


@dataclass(slots=True)
class _Histogram:
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds


class EventCounts:
    """Totals over the event log up to the last event read. Not safe to share between threads."""

    def __init__(self) -> None:
        self.by_kind: Counter[str] = Counter()
        self.stage_s: dict[str, _Histogram] = defaultdict(_Histogram)
        self._last_id = 0
        self._begun: dict[str, tuple[str, float]] = {}  # job id -> stage that runs, since when

    def catch_up(self, database: Database, now: float) -> None:
        """Read the events that came since the last call and have settled."""
        query = (
            select(Event.id, Event.at, Event.job_id, Event.kind, Event.text)
            .where(Event.id > self._last_id)
            .order_by(Event.id)
        )
        with database.reading() as session:
            for number, at, job_id, kind, text in session.execute(query):
                if at > now - _SETTLED_S:
                    return
                self._last_id = number
                self.by_kind[kind] += 1
                self._follow(job_id or "", kind, text, at)

    def _follow(self, job_id: str, kind: str, text: str, at: float) -> None:
        # The same reading of the log as `views.stage_seconds`; a test holds the two together.
        if kind == "started":
            self._begun[job_id] = (text.split(",", maxsplit=1)[0], at)
        elif kind in ("finished", "delivered") and job_id in self._begun:
            stage, begun_at = self._begun.pop(job_id)
            self.stage_s[stage].observe(max(0.0, at - begun_at))


class LedgerCollector(Collector):
    """Reads ledger and queue at each scrape."""

    def __init__(self, database: Database, client: redis.Redis, clock: Callable[[], float]) -> None:
        self._database = database
        self._client = client
        self._clock = clock
        self._events = EventCounts()
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the ledger."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics; a ledger or queue that can't be reached shows in `pirtad_up` and takes its own away."""
        info = GaugeMetricFamily("pirtad_build_info", "Always 1.", labels=["version"])
        info.add_metric([version("pirtad")], 1)
        yield info
        up = GaugeMetricFamily("pirtad_up", "Whether it could be reached at this scrape.", labels=["service"])
        queues = lengths_or_none(self._client)
        up.add_metric(["queue"], queues is not None)
        try:
            ledger = list(self._ledger())
        except SQLAlchemyError:
            ledger = []
        up.add_metric(["ledger"], bool(ledger))
        yield up
        if queues is not None:
            yield _queue_lengths(queues)
        yield from ledger

    def _ledger(self) -> Iterator[Metric]:
        now = self._clock()
        studies = GaugeMetricFamily("pirtad_studies", "Studies by state.", labels=["state"])
        for state, number in views.counts(self._database).items():
            studies.add_metric([state], number)
        yield studies
        with self._database.reading() as session:
            oldest_at = session.scalar(select(func.min(Study.last_received_at)).where(Study.state.in_(_UNFINISHED)))
        yield GaugeMetricFamily(
            "pirtad_oldest_unfinished_seconds",
            "Time since the last image of the study that waits longest for its report; 0 if none waits.",
            value=0.0 if oldest_at is None else max(0.0, now - oldest_at),
        )
        yield from _destinations(self._database)
        yield _freed_bytes(self._database)
        with self._lock:
            self._events.catch_up(self._database, now)
            yield _event_totals(self._events)
            yield _stage_seconds(self._events)


def make_registry(database: Database, client: redis.Redis, clock: Callable[[], float]) -> CollectorRegistry:
    """A registry of its own: the process-wide one would mix several apps' metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(LedgerCollector(database, client, clock))
    return registry


def _queue_lengths(queues: dict[Stage, int]) -> Metric:
    lengths = GaugeMetricFamily("pirtad_queue_messages", "Messages waiting in each queue.", labels=["queue"])
    for stage, length in queues.items():
        lengths.add_metric([stage], length)
    return lengths


def _destinations(database: Database) -> Iterator[Metric]:
    in_a_row = GaugeMetricFamily(
        "pirtad_destination_failures", "Failures in a row at a destination; 0 while it answers.", labels=["destination"]
    )
    for one in breakers.all_health(database, 1):
        in_a_row.add_metric([one.name], one.failures)
    yield in_a_row
    shares = GaugeMetricFamily(
        "pirtad_shipments", "Shares of jobs by destination and state.", labels=["destination", "state"]
    )
    for name, state, number in views.shipment_counts(database):
        shares.add_metric([name, state], number)
    yield shares


def _freed_bytes(database: Database) -> Metric:
    freed = CounterMetricFamily("pirtad_freed_bytes", "Bytes of images removed from the spool.", labels=["why"])
    for why, size_bytes in retention.freed_bytes(database).items():
        freed.add_metric([why], size_bytes)
    return freed


def _event_totals(events: EventCounts) -> Metric:
    totals = CounterMetricFamily("pirtad_events", "Events in the ledger's log by kind.", labels=["kind"])
    for kind, number in sorted(events.by_kind.items()):
        totals.add_metric([kind], number)
    return totals


def _stage_seconds(events: EventCounts) -> Metric:
    runs = HistogramMetricFamily("pirtad_stage_seconds", "Duration of stage runs that succeeded.", labels=["stage"])
    for stage in Stage:
        histogram = events.stage_s[stage]
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        cumulated = list(zip(bounds, map(float, accumulate(histogram.buckets)), strict=True))
        runs.add_metric([stage], buckets=cumulated, sum_value=histogram.sum_s)
    return runs

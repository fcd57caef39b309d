"""/metrics as Prometheus reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.filled_ledger import fill, receive, report

from pirtad.daemon.web.metrics import make_registry
from pirtad.worker.contract import Stage, StudyState
from pirtad.worker.ledger import receiving, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.queue import redis_client
from pirtad.worker.settings import Settings, StorageSettings

NOW = 1_800_000_000.0
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(ledger: Database, clock: Clock):
    settings = Settings(storage=StorageSettings(data_dir=Path("/nonexistent/pirtad")))
    return make_registry(ledger, redis_client(settings), clock)


def scrape(registry) -> Samples:
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def test_states_durations_and_services(ledger: Database, registry) -> None:
    fill(ledger, NOW)

    samples = scrape(registry)

    for state in StudyState:
        assert value(samples, "pirtad_studies", state=state) == 1
    assert value(samples, "pirtad_up", service="ledger") == 1
    # The queue does not run: its own numbers are absent, not zero.
    assert value(samples, "pirtad_up", service="queue") == 0
    assert not [name for name, _ in samples if name == "pirtad_queue_messages"]
    # The receiving study is the oldest without a report.
    assert value(samples, "pirtad_oldest_unfinished_seconds") == 50 * 60
    assert value(samples, "pirtad_events_total", kind="set_aside") == 1
    assert value(samples, "pirtad_events_total", kind="withdrawn") == 1
    # Three studies went through all stages, 2, 30 and 1 s each; two of them are withdrawn, or about to be.
    assert value(samples, "pirtad_stage_seconds_count", stage="infer") == 3
    assert value(samples, "pirtad_stage_seconds_sum", stage="infer") == pytest.approx(90)
    assert value(samples, "pirtad_stage_seconds_bucket", stage="infer", le="20.0") == 0
    assert value(samples, "pirtad_stage_seconds_bucket", stage="infer", le="30.0") == 3
    assert value(samples, "pirtad_stage_seconds_bucket", stage="infer", le="+Inf") == 3


def test_durations_are_those_of_the_ledgers_own_view(ledger: Database, registry) -> None:
    fill(ledger, NOW)

    samples = scrape(registry)

    runs = views.stage_seconds(ledger)
    assert len(runs) == 9
    for stage in Stage:
        seconds = [duration for _, name, duration in runs if name == stage]
        assert value(samples, "pirtad_stage_seconds_count", stage=stage) == len(seconds)
        assert value(samples, "pirtad_stage_seconds_sum", stage=stage) == pytest.approx(sum(seconds))


def test_counters_never_fall_and_each_event_counts_once(ledger: Database, registry, clock: Clock) -> None:
    previous = scrape(registry)
    for number in range(4):
        # Given a study whose stages are begun before one scrape and finished before the next
        study_uid = f"1.2.3.{number}"
        receive(ledger, study_uid, clock.now)
        _, job_id = receiving.open_job(ledger, study_uid, clock.now + 1)
        report(ledger, job_id, clock.now + 2)
        # When time passes in steps that end within the study's stages
        for _ in range(3):
            clock.now += 20
            samples = scrape(registry)
            for (name, labels), before in previous.items():
                if name.endswith(("_total", "_count", "_sum", "_bucket")):
                    assert samples[name, labels] >= before
            previous = samples
    assert value(previous, "pirtad_stage_seconds_count", stage="infer") == 4
    assert value(previous, "pirtad_stage_seconds_sum", stage="infer") == pytest.approx(120)
    assert value(previous, "pirtad_events_total", kind="delivered") == 4


def test_a_new_process_counts_from_the_same_log(ledger: Database, registry, clock: Clock) -> None:
    fill(ledger, NOW)
    again = make_registry(ledger, redis_client(Settings(storage=StorageSettings(data_dir=Path("/nonexistent")))), clock)

    assert scrape(again) == scrape(registry)


def test_an_empty_ledger(registry) -> None:
    samples = scrape(registry)
    assert value(samples, "pirtad_oldest_unfinished_seconds") == 0
    assert value(samples, "pirtad_stage_seconds_count", stage="prepare") == 0

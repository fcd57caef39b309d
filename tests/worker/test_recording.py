"""An outcome is recorded though the ledger fails for a moment; and given up cleanly when it fails for longer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session
from support.ledger import STUDY, new_ledger, receive

from pirtad.inference.errors import StudyNotUsable
from pirtad.worker.contract import JobMessage, Stage, StudyState
from pirtad.worker.errors import DestinationUnavailable
from pirtad.worker.ledger import claiming, deliveries, publishing, receiving, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.recording import recorded
from pirtad.worker.settings import QueueSettings, Settings
from pirtad.worker.stages import run_stage

SETTINGS = QueueSettings(backoff_base_s=1000, backoff_cap_s=2000, max_attempts=3)
NARRATIVE = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")


class Faltering:
    """A ledger whose next transactions fail: before they begin, or with the answer to their commit lost."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.is_committed = False
        self._real = database.transaction
        monkeypatch.setattr(database, "transaction", self._transaction)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        fails = self.failures > 0
        self.failures -= fails
        if fails and not self.is_committed:
            raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))
        with self._real() as session:
            yield session
        if fails:
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))


class Drafting(Pipeline):
    """A pipeline that does what the test says, as the last thing before a stage's outcome is recorded."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        super().__init__(Settings(storage={"data_dir": data_dir}), database)
        self.at_the_end: Callable[[], None] = lambda: None
        self._ledger = database

    def prepare(self, job: ClaimedJob) -> None:
        self.at_the_end()

    def infer(self, job: ClaimedJob) -> None:
        self.at_the_end()

    def deliver(self, job: ClaimedJob, now: datetime) -> None:
        deliveries.keep(self._ledger, job, self.destination_names[0], [NARRATIVE])
        deliveries.mark_delivered(self._ledger, job, self.destination_names[0], NARRATIVE, 0x0000, now.timestamp())

    def delivered_to(self, job: ClaimedJob) -> tuple[str, ...]:
        self.at_the_end()
        return super().delivered_to(job)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    receive(ledger, 1, 2)
    receiving.open_job(ledger, STUDY, time.time())
    yield ledger
    ledger.close()


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Drafting:
    return Drafting(database, tmp_path)


def run(pipeline: Drafting, database: Database, pauses: list[float] | None = None) -> list[JobMessage]:
    """Run the stage whose turn it is; returns what was published."""
    (message,) = publishing.publishable(database, time.time(), lambda _: False)
    published: list[JobMessage] = []
    waits = [] if pauses is None else pauses
    run_stage(message, pipeline, database, SETTINGS, published.append, pause=waits.append)
    return published


def view(database: Database) -> views.StudyView:
    (only,) = views.studies(database)
    return only


def kinds(database: Database) -> list[str]:
    detail = views.study(database, STUDY)
    assert detail is not None
    return [event.kind for event in detail.events]


@pytest.fixture
def faltering(database: Database, monkeypatch: pytest.MonkeyPatch) -> Faltering:
    return Faltering(database, monkeypatch)


def arm(faltering: Faltering, failures: int) -> Callable[[], None]:
    return lambda: setattr(faltering, "failures", failures)


@pytest.mark.parametrize("failures", [1, 3])
@pytest.mark.parametrize("stage", list(Stage))
def test_a_stage_that_is_done_is_recorded_once_the_ledger_answers_again(
    database: Database, pipeline: Drafting, faltering: Faltering, stage: Stage, failures: int
) -> None:
    for _ in range(list(Stage).index(stage)):
        run(pipeline, database)
    # Given a ledger that fails as the stage ends, less often than it is told
    pipeline.at_the_end = arm(faltering, failures)
    pauses: list[float] = []
    published = run(pipeline, database, pauses)
    # Then the stage's outcome is there as ever, without another attempt
    assert len(pauses) == failures
    assert pauses == sorted(pauses)
    expected = {Stage.PREPARE: Stage.INFER, Stage.INFER: Stage.DELIVER}.get(stage)
    assert [message.stage for message in published] == ([] if expected is None else [expected])
    assert view(database).state is (StudyState.REPORTED if expected is None else StudyState.QUEUED)
    assert "attempt_failed" not in kinds(database)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (StudyNotUsable("no_adc", "no ADC series", "send the ADC map"), StudyState.SET_ASIDE),
        (DestinationUnavailable("no-connection", "no TCP connection"), StudyState.WAITING),
        (KeyError("unforeseen"), StudyState.WAITING),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_error_is_recorded_once_the_ledger_answers_again(
    database: Database, pipeline: Drafting, faltering: Faltering, error: Exception, state: StudyState
) -> None:
    def fail() -> None:
        faltering.failures = 2
        raise error

    pipeline.at_the_end = fail
    run(pipeline, database)
    assert view(database).state is state


@pytest.mark.parametrize("stage", list(Stage))
def test_an_outcome_whose_answer_was_lost_is_not_recorded_twice(
    database: Database, pipeline: Drafting, faltering: Faltering, stage: Stage
) -> None:
    for _ in range(list(Stage).index(stage)):
        run(pipeline, database)
    # Given a commit that arrives and whose answer does not
    faltering.is_committed = True
    pipeline.at_the_end = arm(faltering, 1)
    before = kinds(database)
    # When the worker tries again, then it finds its claim given up and leaves the job alone
    assert run(pipeline, database) == []
    ended = "delivered" if stage is Stage.DELIVER else "finished"
    assert kinds(database)[len(before) :].count(ended) == 1
    # and the study goes on: its next stage is published from the ledger
    pipeline.at_the_end = lambda: None
    for _ in range(2 - list(Stage).index(stage)):
        run(pipeline, database)
    assert view(database).state is StudyState.REPORTED
    assert kinds(database).count("delivered") == 1


def test_a_ledger_that_stays_away_is_given_up_and_the_job_is_taken_up_again(
    database: Database, pipeline: Drafting, faltering: Faltering
) -> None:
    # Given a ledger that is away for longer than an outcome is tried to be recorded
    pipeline.at_the_end = arm(faltering, 4)
    pauses: list[float] = []
    with pytest.raises(OperationalError):
        run(pipeline, database, pauses)
    assert (len(pauses), faltering.failures) == (3, 0)
    assert sum(pauses) < SETTINGS.lease_s
    assert view(database).state is StudyState.RUNNING
    # When the lease has run out
    later = time.time() + SETTINGS.lease_s + 1
    (message,) = publishing.publishable(database, later, lambda _: False)
    # Then another worker has the job, at the stage whose outcome was lost
    taken = claiming.claim(database, message, "another", later, SETTINGS.lease_s, lambda _: False)
    assert taken is not None
    assert taken.stage is Stage.PREPARE


def test_a_ledger_away_in_the_middle_of_a_stage_does_not_use_up_its_attempts(
    database: Database, pipeline: Drafting, faltering: Faltering
) -> None:
    def fail() -> None:
        faltering.failures = 1
        with database.transaction():
            raise AssertionError("the ledger was to be away")

    pipeline.at_the_end = fail
    for attempt in range(1, 2 * SETTINGS.max_attempts):
        run(pipeline, database)
        assert (view(database).state, view(database).attempts) == (StudyState.WAITING, attempt)
        assert "the ledger did not answer (OperationalError)" in view(database).last_error
        with database.transaction() as session:
            session.execute(text("UPDATE jobs SET next_attempt_at = 0"))


def test_what_waiting_does_not_mend_is_not_tried_again() -> None:
    pauses: list[float] = []

    def broken() -> None:
        raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))

    with pytest.raises(IntegrityError):
        recorded(broken, pauses.append)
    assert pauses == []

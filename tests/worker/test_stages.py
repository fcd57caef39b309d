"""The boundary of a stage: an error's class decides what happens to the study."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import update
from support.ledger import STUDY, receive

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch, StudyNotUsable
from pirtad.worker import lease
from pirtad.worker.backoff import backoff_s
from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable
from pirtad.worker.ledger import claiming, deliveries, operating, publishing, receiving, views
from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Job
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import QueueSettings, Settings
from pirtad.worker.stages import run_stage

SETTINGS = QueueSettings(backoff_base_s=1000, backoff_cap_s=2000, max_attempts=3)


class Scripted(Pipeline):
    """A pipeline whose stages do what the test says."""

    def __init__(self, database: Database, data_dir: Path) -> None:
        super().__init__(Settings(storage={"data_dir": data_dir}), database)
        self.does: dict[Stage, Callable[[ClaimedJob], None]] = {}
        self.ran: list[Stage] = []
        self._ledger = database

    def _run(self, stage: Stage, job: ClaimedJob) -> None:
        self.ran.append(stage)
        self.does.get(stage, lambda _: None)(job)

    def prepare(self, job: ClaimedJob) -> None:
        self._run(Stage.PREPARE, job)

    def infer(self, job: ClaimedJob) -> None:
        self._run(Stage.INFER, job)

    def deliver(self, job: ClaimedJob, now: datetime) -> None:
        kept = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
        deliveries.keep(self._ledger, job, self.destination_names[0], [kept])
        self._run(Stage.DELIVER, job)
        deliveries.mark_delivered(self._ledger, job, self.destination_names[0], kept, 0x0000, now.timestamp())


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Scripted:
    return Scripted(database, tmp_path)


@pytest.fixture
def message(database: Database) -> JobMessage:
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, time.time())
    (ready,) = publishing.publishable(database, time.time(), lambda _: False)
    return ready


def run(message: JobMessage, pipeline: Scripted, database: Database) -> list[JobMessage]:
    """Run the stage of `message`; returns what was published."""
    published: list[JobMessage] = []
    run_stage(message, pipeline, database, SETTINGS, published.append)
    return published


def raising(error: Exception) -> Callable[[ClaimedJob], None]:
    def act(_job: ClaimedJob) -> None:
        raise error

    return act


def view(database: Database) -> views.StudyView:
    (only,) = views.studies(database)
    return only


def test_three_stages_end_in_one_report(database: Database, pipeline: Scripted, message: JobMessage) -> None:
    waiting = [message]
    while waiting:
        waiting = run(waiting[0], pipeline, database)

    assert pipeline.ran == [Stage.PREPARE, Stage.INFER, Stage.DELIVER]
    assert view(database).state is StudyState.REPORTED


def test_a_message_that_comes_twice_works_once(database: Database, pipeline: Scripted, message: JobMessage) -> None:
    assert len(run(message, pipeline, database)) == 1
    assert run(message, pipeline, database) == []
    assert pipeline.ran == [Stage.PREPARE]


def test_an_unusable_study_is_set_aside_with_its_reason(
    database: Database, pipeline: Scripted, message: JobMessage
) -> None:
    pipeline.does[Stage.PREPARE] = raising(StudyNotUsable("no_adc", "no ADC series", "send the ADC map"))

    assert run(message, pipeline, database) == []

    seen = view(database)
    assert (seen.state, seen.reason_code, seen.reason, seen.hint) == (
        StudyState.SET_ASIDE,
        "no_adc",
        "no ADC series",
        "send the ADC map",
    )


def test_a_refusal_by_the_pacs_fails_at_once(database: Database, pipeline: Scripted, message: JobMessage) -> None:
    pipeline.does[Stage.PREPARE] = raising(DestinationRefused("refused", "SOP class not supported", "configure it"))
    run(message, pipeline, database)
    assert (view(database).state, view(database).reason_code) == (StudyState.FAILED, "refused")


@pytest.mark.parametrize(
    "error",
    [
        DestinationUnavailable("no_connection", "PACS does not answer", "start it"),
        LanguageModelUnavailable("timeout", "model server does not answer", "start it"),
        ModelMismatch("sha256", "weights differ from their manifest", "install them again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_come_back_waits_for_as_long_as_it_takes(
    database: Database, pipeline: Scripted, message: JobMessage, error: Exception
) -> None:
    pipeline.does[Stage.PREPARE] = raising(error)
    for attempt in range(1, 3 * SETTINGS.max_attempts):
        run(message, pipeline, database)
        seen = view(database)
        assert (seen.state, seen.attempts) == (StudyState.WAITING, attempt)
        assert str(error) in seen.last_error
        make_due(database)


def test_a_disk_that_is_away_is_waited_for_and_a_sequence_that_makes_no_sense_is_not(
    database: Database, pipeline: Scripted, message: JobMessage
) -> None:
    # Given what the system raises, then more often than there are attempts: the study waits
    pipeline.does[Stage.PREPARE] = raising(OSError(errno.ENOSPC, "No space left on device"))
    for _ in range(2 * SETTINGS.max_attempts):
        run(message, pipeline, database)
        assert view(database).state is StudyState.WAITING
        make_due(database)
    # and what pydicom raises for a sequence cut short: that is no matter of waiting
    pipeline.does[Stage.PREPARE] = raising(OSError("No tag to read at file position 2"))
    for _ in range(SETTINGS.max_attempts):
        run(message, pipeline, database)
        make_due(database)
    assert view(database).state is StudyState.FAILED


def test_an_unforeseen_error_is_tried_again_and_then_fails_without_telling_its_text(
    database: Database, pipeline: Scripted, message: JobMessage
) -> None:
    pipeline.does[Stage.PREPARE] = raising(KeyError("DOE^JANE"))
    for _ in range(SETTINGS.max_attempts):
        run(message, pipeline, database)
        make_due(database)

    seen = view(database)
    assert seen.state is StudyState.FAILED
    assert "KeyError in act" in seen.reason
    detail = views.study(database, STUDY)
    assert "DOE" not in repr(detail)


def test_a_study_that_kills_its_workers_is_shelved(database: Database, pipeline: Scripted, message: JobMessage) -> None:
    # Given as many dead owners as there are attempts
    for number in range(SETTINGS.max_attempts + 1):
        assert claiming.claim(database, message, f"dead-{number}", time.time(), 30, lambda _: True) is not None

    # When the next worker takes the message up
    publishing.publishable(database, time.time(), lambda _: True)
    run(message, pipeline, database)

    # Then it does not try again
    assert pipeline.ran == []
    assert (view(database).state, view(database).reason_code) == (StudyState.FAILED, "worker_died")


def test_a_result_is_dropped_when_the_study_was_cancelled_meanwhile(
    database: Database, pipeline: Scripted, message: JobMessage
) -> None:
    pipeline.does[Stage.PREPARE] = lambda _job: operating.cancel(database, STUDY, time.time())

    assert run(message, pipeline, database) == []

    assert view(database).state is StudyState.CANCELLED


def test_the_lease_is_renewed_while_the_stage_works(
    database: Database, message: JobMessage, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = claiming.claim(database, message, "me", time.time(), 0.03, lambda _: False)
    assert claimed is not None
    renewed = threading.Event()
    real = lease.renew

    def watched(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        renewed.set()

    monkeypatch.setattr(lease, "renew", watched)
    with lease.kept(database, claimed, 0.03):
        assert renewed.wait(10)
    operating.cancel(database, STUDY, time.time())
    with pytest.raises(ClaimLost):
        claiming.renew(database, claimed, time.time(), 30)


def test_a_job_whose_prepared_study_is_gone_is_prepared_anew(
    database: Database, pipeline: Scripted, message: JobMessage
) -> None:
    # Given a job that was prepared, and a disk that was restored without its work directory
    (prepared,) = run(message, pipeline, database)
    pipeline.does[Stage.INFER] = lambda job: Pipeline.infer(pipeline, job)
    # When it is its turn
    (following,) = run(prepared, pipeline, database)
    # Then it goes back, and does not wait for files that nobody will bring
    assert following.stage is Stage.PREPARE
    assert pipeline.ran == [Stage.PREPARE, Stage.INFER]


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff_s(n, 2, 60) for n in (1, 2, 3, 6, 1000)] == [2, 4, 8, 60, 60]


def make_due(database: Database) -> None:
    """As if the wait were over."""
    with database.transaction() as session:
        session.execute(update(Job).where(Job.state == JobState.WAITING).values(next_attempt_at=0.0))

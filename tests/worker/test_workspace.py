"""Results take their place only under the job's claim, and none are left of jobs that are over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.ledger import STUDY, new_ledger, receive, received

from pirtad.worker.contract import JobMessage, JobState
from pirtad.worker.ledger import claiming, deliveries, progress, publishing, receiving, registering
from pirtad.worker.ledger.claiming import ClaimedJob, ClaimLost
from pirtad.worker.ledger.database import Database
from pirtad.worker.workspace import Workspace


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def workspace(database: Database, tmp_path: Path) -> Workspace:
    return Workspace(database, tmp_path)


def claim(database: Database, message: JobMessage, owner: str) -> ClaimedJob:
    """Whoever had it before is silent since long."""
    job = claiming.claim(database, message, owner, time.time(), -1.0, lambda _: False)
    assert job is not None
    return job


@pytest.fixture
def message(database: Database) -> JobMessage:
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, time.time())
    (ready,) = publishing.publishable(database, time.time(), lambda _: False)
    return ready


def write(
    workspace: Workspace, job: ClaimedJob, name: str, text: str, meanwhile: Callable[[], None] = lambda: None
) -> None:
    """A result, and what happens between its writing and its end."""
    with workspace.writing(job, Path("results")) as directory:
        (directory / name).write_text(text)
        meanwhile()


def test_a_result_takes_its_place_at_the_end(workspace: Workspace, database: Database, message: JobMessage) -> None:
    job = claim(database, message, "me")
    with workspace.writing(job) as directory:
        (directory / "report.json").write_text("mine")
        assert not (workspace.directory(job) / "report.json").exists()
    assert [(path.name, path.read_text()) for path in workspace.directory(job).iterdir()] == [("report.json", "mine")]


def test_a_worker_that_comes_back_late_changes_no_result(
    workspace: Workspace, database: Database, message: JobMessage, tmp_path: Path
) -> None:
    # Given a worker that was stopped in the middle of its work
    late = claim(database, message, "late")

    # and another one that does the same meanwhile
    def meanwhile() -> None:
        write(workspace, claim(database, message, "other"), "2.25.7.dcm", "in time")

    # When the first one goes on
    with pytest.raises(ClaimLost):
        write(workspace, late, "2.25.7.dcm", "late", meanwhile)
    # Then what the other wrote is there, and nothing else
    assert (tmp_path / "results" / "2.25.7.dcm").read_text() == "in time"
    assert [path for path in (tmp_path / "work").rglob("*") if path.is_file()] == []


def test_a_worker_that_comes_back_after_the_end_leaves_nothing(
    workspace: Workspace, database: Database, message: JobMessage, tmp_path: Path
) -> None:
    late = claim(database, message, "late")

    def meanwhile() -> None:
        other = claim(database, message, "other")
        report(database, other)
        workspace.forget(other)

    with pytest.raises(ClaimLost):
        write(workspace, late, "2.25.7.dcm", "late", meanwhile)
    assert list((tmp_path / "work").iterdir()) == list((tmp_path / "results").iterdir()) == []


def test_a_block_that_fails_leaves_nothing(workspace: Workspace, database: Database, message: JobMessage) -> None:
    job = claim(database, message, "me")

    def meanwhile() -> None:
        raise OSError(28, "full")

    with pytest.raises(OSError, match="full"):
        write(workspace, job, "2.25.7.dcm", "half", meanwhile)
    assert not workspace.directory(job).exists()


def test_a_job_that_was_killed_at_its_end_leaves_nothing(
    workspace: Workspace, database: Database, message: JobMessage
) -> None:
    # Given a job that is reported, whose worker died before it removed what it no longer needs
    job = claim(database, message, "me")
    with workspace.writing(job) as directory:
        (directory / "report.json").write_text("done")
    report(database, job)
    # When any worker tidies up
    workspace.tidy()
    # Then it is gone
    assert not workspace.directory(job).exists()


@pytest.mark.parametrize("is_composed", [False, True])
def test_of_a_superseded_job_only_what_was_composed_stays(
    workspace: Workspace, database: Database, message: JobMessage, is_composed: bool
) -> None:
    job = claim(database, message, "me")
    with workspace.writing(job) as directory:
        (directory / "report.json").write_text("old")
    if is_composed:
        kept = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
        deliveries.keep(database, job, "PACS", [kept])
    # When more images supersede it
    registering.register(database, received(3), time.time())
    receiving.open_job(database, STUDY, time.time())
    workspace.tidy()
    # Then
    assert workspace.directory(job).exists() == is_composed


def test_what_may_be_tried_again_stays(workspace: Workspace, database: Database, message: JobMessage) -> None:
    job = claim(database, message, "me")
    with workspace.writing(job) as directory:
        (directory / "report.json").write_text("failed")
    progress.shelve(database, job, JobState.FAILED, "code", "reason", "hint", time.time())
    workspace.tidy()
    assert (workspace.directory(job) / "report.json").exists()


def test_without_any_work_there_is_nothing_to_tidy(workspace: Workspace) -> None:
    workspace.tidy()


def report(database: Database, job: ClaimedJob) -> None:
    """The job's one object is delivered."""
    kept = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
    deliveries.keep(database, job, "PACS", [kept])
    deliveries.mark_delivered(database, job, "PACS", kept, 0x0000, time.time())
    progress.finish(database, job, "PACS", time.time())

"""An object of which nobody knows whether it arrived is withdrawn with the rest: a reader may have it before him."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shipping import T0, at_delivery, claim, load, write_object

from pirtad.worker.contract import JobState
from pirtad.worker.ledger import deliveries, operating, progress, retractions
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.rejection import RejectionReason

BOTH = ("archive", "pacs")


@pytest.fixture
def job(database: Database) -> ClaimedJob:
    return at_delivery(database)


def request(database: Database, job: ClaimedJob, destinations: tuple[str, ...] = BOTH) -> retractions.Answer:
    return retractions.request(
        database, job.study_uid, RejectionReason.PATIENT_SAFETY, "another patient", destinations, T0 + 9
    )


def given_up(database: Database, job: ClaimedJob) -> None:
    progress.shelve(database, job, JobState.FAILED, "refused", "refused", "", T0 + 1)


def test_the_note_names_what_may_have_arrived_and_goes_where_it_may_be(
    database: Database, job: ClaimedJob, tmp_path: Path
) -> None:
    # Given a narrative that one destination has and another may have, measurements that one may have, and a picture
    # that was never sent
    narrative, measurements = write_object(tmp_path, "2.25.1"), write_object(tmp_path, "2.25.2", "measurements")
    load(database, job, BOTH, narrative, measurements, write_object(tmp_path, "2.25.3", "picture"))
    deliveries.mark_tried(database, job, "pacs", narrative, T0)
    deliveries.mark_delivered(database, job, "pacs", narrative, 0x0000, T0)
    deliveries.mark_tried(database, job, "pacs", measurements, T0)
    deliveries.mark_tried(database, job, "archive", narrative, T0)
    # and one try that came to nothing, for certain
    before = deliveries.mark_tried(database, job, "archive", measurements, T0)
    deliveries.settle_tried(database, job, "archive", measurements, before)
    given_up(database, job)
    # When the report is withdrawn, then it must be possible to tell the other destination, too
    with pytest.raises(NotPossible, match="archive"):
        request(database, job, ("pacs",))
    assert set(request(database, job).withdraws) == {"2.25.1", "2.25.2"}
    again = claim(database, job.job_id, T0 + 10)
    assert set(deliveries.destinations_with(database, again)) == {"archive", "pacs"}
    assert {one.sop_instance_uid for one in retractions.delivered_objects(database, again)} == {"2.25.1", "2.25.2"}


def test_a_report_that_may_have_arrived_and_nothing_else_can_be_withdrawn(
    database: Database, job: ClaimedJob, tmp_path: Path
) -> None:
    narrative = write_object(tmp_path, "2.25.1")
    load(database, job, ("pacs",), narrative)
    deliveries.mark_tried(database, job, "pacs", narrative, T0)
    progress.defer(database, job, T0 + 5, "no answer", T0, is_failure=False)
    operating.cancel(database, job.study_uid, T0 + 1)
    assert request(database, job).withdraws == ("2.25.1",)


def test_what_was_never_sent_is_not_withdrawn(database: Database, job: ClaimedJob, tmp_path: Path) -> None:
    load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    given_up(database, job)
    with pytest.raises(NotPossible, match="nothing to withdraw"):
        request(database, job)

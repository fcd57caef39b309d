"""A delivered result is withdrawn once."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from support.ledger import STUDY
from support.retracting import (
    MEASUREMENTS,
    NARRATIVE,
    NOTE,
    PACS,
    WHY,
    alive,
    at_last_stage,
    deliver_note,
    request,
    state,
    take,
)

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import deliveries, operating, priority, progress, publishing, retractions, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.retractions import Requested
from pirtad.worker.ledger.tables import Job
from pirtad.worker.rejection import MAX_WORDS, RejectionReason


def test_a_request_brings_the_job_back_for_one_note(database: Database, reported: JobMessage) -> None:
    # When an operator withdraws what was delivered
    assert request(database) is Requested.REQUESTED
    # Then the dispatcher publishes the job at its last stage, and it says what it is about
    assert publishing.publishable(database, 20.0, alive) == [reported]
    assert state(database) is StudyState.WITHDRAWING
    claimed = take(database, reported, 21.0)
    assert state(database) is StudyState.WITHDRAWING
    withdrawal = retractions.withdrawal_of(database, claimed)
    assert withdrawal is not None
    assert (withdrawal.reason, withdrawal.words) == (RejectionReason.PATIENT_SAFETY, WHY)
    assert WHY not in repr(withdrawal)
    assert [kept.sop_instance_uid for kept in retractions.delivered_objects(database, claimed)] == ["2.25.7", "2.25.8"]
    # and waits like any other job while the PACS is down
    progress.defer(database, claimed, 40.0, "PACS down", 22.0, is_failure=False)
    assert state(database) is StudyState.WITHDRAWING
    # until the note has arrived
    deliver_note(database, reported, 41.0)
    (view,) = views.studies(database)
    assert (view.state, view.reason_code) == (StudyState.WITHDRAWN, "113037")
    assert view.reason == f"Rejected for Patient Safety Reasons: {WHY}"
    detail = views.study(database, STUDY)
    assert detail is not None
    assert detail.withdraws == ("2.25.7", "2.25.8")
    assert [(d.role, d.is_withdrawn) for d in detail.deliveries] == [
        ("narrative", True),
        ("measurements", True),
        ("retraction", False),
    ]
    kinds = [event.kind for event in detail.events]
    assert (kinds.count("withdrawal_requested"), kinds.count("withdrawn"), kinds.count("delivered")) == (1, 1, 1)
    # The operator's words are not in the event log, which metrics and logs are fed from
    assert WHY not in repr(detail.events)


def test_asked_again_nothing_happens(database: Database, reported: JobMessage) -> None:
    request(database)
    assert request(database, now=21.0) is Requested.UNDER_WAY
    deliver_note(database, reported, 22.0)
    assert request(database, now=23.0) is Requested.WITHDRAWN
    assert publishing.publishable(database, 1e6, alive) == []
    # and for another reason there is no second note
    for changes in ({"words": "Useless."}, {"reason": RejectionReason.QUALITY}):
        with pytest.raises(NotPossible, match="second note"):
            request(database, now=24.0, **changes)


def test_a_note_that_was_refused_is_sent_again_when_asked(database: Database, reported: JobMessage) -> None:
    request(database)
    for ask in (lambda: request(database, now=30.0), lambda: operating.retry(database, STUDY, 30.0)):
        claimed = take(database, reported, 21.0)
        progress.shelve(database, claimed, JobState.FAILED, "refused", "SOP class not supported", "allow it", 22.0)
        (view,) = views.studies(database)
        assert view.state is StudyState.FAILED
        assert view.reason == "the note that withdraws the report was not delivered: SOP class not supported"
        ask()
        assert state(database) is StudyState.WITHDRAWING
        assert publishing.publishable(database, 30.0, alive) == [reported]
    deliver_note(database, reported, 31.0)
    assert state(database) is StudyState.WITHDRAWN


def test_only_what_was_delivered_is_withdrawn(database: Database, message: JobMessage) -> None:
    # Given nothing delivered, then there is nothing to withdraw
    with pytest.raises(NotPossible, match="not finished"):
        request(database)
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 12.0)
    with pytest.raises(NotPossible, match="nothing to withdraw"):
        request(database)
    # Given a part delivered, then that part is
    operating.retry(database, STUDY, 13.0)
    claimed = at_last_stage(database, message, 14.0)
    deliveries.mark_delivered(database, claimed, PACS, NARRATIVE, 0x0000, 15.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 16.0)
    assert request(database) is Requested.REQUESTED
    claimed = take(database, JobMessage(claimed.job_id, Stage.DELIVER), 21.0)
    assert [kept.role for kept in retractions.delivered_objects(database, claimed)] == ["narrative"]
    # and what was not is no longer waited for
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, 22.0)
    progress.finish(database, claimed, PACS, 22.0)
    assert state(database) is StudyState.WITHDRAWN


def test_a_note_goes_where_the_objects_are(database: Database, reported: JobMessage) -> None:
    with pytest.raises(NotPossible, match=f"delivered to {PACS}"):
        request(database, destination="OTHER@10.0.0.1:104")
    assert state(database) is StudyState.REPORTED
    assert request(database, destination="OTHER@10.0.0.1:104", is_moved=True) is Requested.REQUESTED


@pytest.mark.parametrize("words", ["", " \n ", "x" * (MAX_WORDS + 1)])
def test_a_reason_is_words(database: Database, reported: JobMessage, words: str) -> None:
    with pytest.raises(ValueError, match="words"):
        request(database, words=words)


def test_a_withdrawal_is_not_called_back(database: Database, reported: JobMessage) -> None:
    request(database)
    with pytest.raises(NotPossible, match="not called back"):
        operating.cancel(database, STUDY, 21.0)


def test_what_is_not_known_is_not_withdrawn(database: Database) -> None:
    with pytest.raises(NotPossible, match="is known here"):
        request(database)


def test_a_report_that_was_in_time_is_not_overdue_for_being_withdrawn(database: Database, reported: JobMessage) -> None:
    with database.transaction() as session:
        session.execute(update(Job).values(images_at=10.0, due_at=100.0))
    request(database, now=200.0)
    assert priority.mark_missed(database, 300.0) == []

"""A delivered result is withdrawn once, and drafted anew as another job."""

from __future__ import annotations

import pytest
from support.ledger import STUDY, receive

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import deliveries, jobs, receiving, retractions, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION, KeptObject
from pirtad.worker.ledger.jobs import ClaimedJob, NotPossible
from pirtad.worker.ledger.retractions import Requested
from pirtad.worker.rejection import MAX_WORDS, RejectionReason

PACS = "ORTHANC@127.0.0.1:4242"
NARRATIVE = KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
MEASUREMENTS = KeptObject("measurements", "2.25.8", "b" * 64, "results/2.25.8.dcm")
NOTE = KeptObject(RETRACTION, "2.25.9", "c" * 64, "results/2.25.9.dcm")
WHY = "The side is wrong."


def alive(_owner: str) -> bool:
    return False


def take(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    claimed = jobs.claim(database, message, "worker", now, 30.0, alive)
    assert claimed is not None
    return claimed


def at_last_stage(database: Database, message: JobMessage, now: float) -> ClaimedJob:
    prepare = take(database, message, now)
    infer = take(database, jobs.advance(database, prepare, Stage.INFER, now), now)
    jobs.keep_report(database, infer, "anterior", "the report")
    return take(database, jobs.advance(database, infer, Stage.DELIVER, now), now)


@pytest.fixture
def message(database: Database) -> JobMessage:
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, 10.0)
    (ready,) = jobs.publishable(database, 10.0, alive)
    return ready


@pytest.fixture
def reported(database: Database, message: JobMessage) -> JobMessage:
    """A study whose report of two objects was delivered; returns its job at the last stage."""
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    for kept in (NARRATIVE, MEASUREMENTS):
        deliveries.mark_delivered(database, claimed, PACS, kept, 0x0000, 12.0)
    jobs.finish(database, claimed, PACS, 13.0)
    return JobMessage(claimed.job_id, Stage.DELIVER)


def request(database: Database, words: str = WHY, now: float = 20.0, **changes: object) -> Requested:
    facts = {"reason": RejectionReason.PATIENT_SAFETY, "destination": PACS, "is_moved": False} | changes
    reason, destination, is_moved = facts["reason"], str(facts["destination"]), bool(facts["is_moved"])
    assert isinstance(reason, RejectionReason)
    return retractions.request(database, STUDY, reason, words, destination, now, is_moved=is_moved)


def deliver_note(database: Database, message: JobMessage, now: float) -> None:
    claimed = take(database, message, now)
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, now)
    jobs.finish(database, claimed, PACS, now)


def state(database: Database) -> StudyState:
    (view,) = views.studies(database)
    return view.state


def test_a_request_brings_the_job_back_for_one_note(database: Database, reported: JobMessage) -> None:
    # When an operator withdraws what was delivered
    assert request(database) is Requested.REQUESTED
    # Then the dispatcher publishes the job at its last stage, and it says what it is about
    assert jobs.publishable(database, 20.0, alive) == [reported]
    assert state(database) is StudyState.WITHDRAWING
    claimed = take(database, reported, 21.0)
    assert state(database) is StudyState.WITHDRAWING
    withdrawal = retractions.withdrawal_of(database, claimed)
    assert withdrawal is not None
    assert (withdrawal.reason, withdrawal.words) == (RejectionReason.PATIENT_SAFETY, WHY)
    assert WHY not in repr(withdrawal)
    assert [kept.sop_instance_uid for kept in retractions.delivered_objects(database, claimed)] == ["2.25.7", "2.25.8"]
    # and waits like any other job while the PACS is down
    jobs.defer(database, claimed, 40.0, "PACS down", 22.0, is_failure=False)
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
    assert jobs.publishable(database, 1e6, alive) == []
    # and for another reason there is no second note
    for changes in ({"words": "Useless."}, {"reason": RejectionReason.QUALITY}):
        with pytest.raises(NotPossible, match="second note"):
            request(database, now=24.0, **changes)


def test_a_note_that_was_refused_is_sent_again_when_asked(database: Database, reported: JobMessage) -> None:
    request(database)
    for ask in (lambda: request(database, now=30.0), lambda: jobs.retry(database, STUDY, 30.0)):
        claimed = take(database, reported, 21.0)
        jobs.shelve(database, claimed, JobState.FAILED, "refused", "SOP class not supported", "allow it", 22.0)
        (view,) = views.studies(database)
        assert view.state is StudyState.FAILED
        assert view.reason == "the note that withdraws the report was not delivered: SOP class not supported"
        ask()
        assert state(database) is StudyState.WITHDRAWING
        assert jobs.publishable(database, 30.0, alive) == [reported]
    deliver_note(database, reported, 31.0)
    assert state(database) is StudyState.WITHDRAWN


def test_only_what_was_delivered_is_withdrawn(database: Database, message: JobMessage) -> None:
    # Given nothing delivered, then there is nothing to withdraw
    with pytest.raises(NotPossible, match="not finished"):
        request(database)
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    jobs.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 12.0)
    with pytest.raises(NotPossible, match="nothing to withdraw"):
        request(database)
    # Given a part delivered, then that part is
    jobs.retry(database, STUDY, 13.0)
    claimed = at_last_stage(database, message, 14.0)
    deliveries.mark_delivered(database, claimed, PACS, NARRATIVE, 0x0000, 15.0)
    jobs.shelve(database, claimed, JobState.FAILED, "refused", "not supported", "allow it", 16.0)
    assert request(database) is Requested.REQUESTED
    claimed = take(database, JobMessage(claimed.job_id, Stage.DELIVER), 21.0)
    assert [kept.role for kept in retractions.delivered_objects(database, claimed)] == ["narrative"]
    # and what was not is no longer waited for
    deliveries.keep(database, claimed, PACS, [NOTE])
    deliveries.mark_delivered(database, claimed, PACS, NOTE, 0x0000, 22.0)
    jobs.finish(database, claimed, PACS, 22.0)
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
        jobs.cancel(database, STUDY, 21.0)


def test_what_is_not_known_is_not_withdrawn(database: Database) -> None:
    with pytest.raises(NotPossible, match="is known here"):
        request(database)


def test_a_withdrawn_study_is_drafted_anew_on_all_its_images(database: Database, reported: JobMessage) -> None:
    # Given a withdrawn report, and an image that came since and was only noted
    request(database)
    deliver_note(database, reported, 21.0)
    receive(database, 3, now=30.0)
    assert receiving.open_job(database, STUDY, 31.0)[0] is receiving.Opened.LATE
    (view,) = views.studies(database)
    assert view.note == "1 image came after the report was withdrawn: kept, and not reported"
    # When an operator asks for another draft
    anew = jobs.retry(database, STUDY, 40.0)
    # Then it is another job, on all three images, and tells which note came before it
    assert (anew.job_id != reported.job_id, anew.stage) == (True, Stage.PREPARE)
    claimed = take(database, anew, 41.0)
    assert len(claimed.files) == 3
    assert retractions.withdrawal_of(database, claimed) is None
    assert retractions.earlier_notes(database, claimed) == ("2.25.9",)
    (view,) = views.studies(database)
    assert (view.state, view.reason, view.note) == (StudyState.RUNNING, "", "")
    # and the same images again change nothing
    assert receiving.open_job(database, STUDY, 42.0) == (receiving.Opened.NOTHING_NEW, anew.job_id)
    # and nothing of it is delivered yet, so nothing is to be withdrawn
    with pytest.raises(NotPossible, match="not finished"):
        request(database, now=43.0)


def test_more_images_before_the_new_draft_is_composed_are_taken_up(database: Database, reported: JobMessage) -> None:
    request(database)
    deliver_note(database, reported, 21.0)
    anew = jobs.retry(database, STUDY, 30.0)
    receive(database, 3, now=31.0)
    outcome, job_id = receiving.open_job(database, STUDY, 32.0)
    assert outcome is receiving.Opened.OPENED
    assert job_id not in (anew.job_id, reported.job_id)
    assert jobs.publishable(database, 33.0, alive) == [JobMessage(job_id, Stage.PREPARE)]

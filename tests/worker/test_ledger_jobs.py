from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from support.ledger import STUDY, receive

from pirtad.worker.contract import JobMessage, JobState, Priority, Stage, StudyState
from pirtad.worker.ledger import claiming, deliveries, operating, priority, progress, publishing, receiving, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database

LEASE_S = 30.0


@pytest.fixture
def message(database: Database) -> JobMessage:
    """A job ready for its first stage, published at 10."""
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, 10.0)
    (ready,) = publishing.publishable(database, 10.0, alive)
    publishing.mark_published(database, ready, 10.0)
    return ready


def alive(_owner: str) -> bool:
    return False


def dead(_owner: str) -> bool:
    return True


def take(database: Database, message: JobMessage, owner: str = "worker", now: float = 11.0) -> ClaimedJob:
    claimed = claiming.claim(database, message, owner, now, LEASE_S, alive)
    assert claimed is not None
    return claimed


def test_a_published_job_is_not_published_again(database: Database, message: JobMessage) -> None:
    assert publishing.publishable(database, 100.0, alive) == []


def test_a_wiped_queue_is_rebuilt(database: Database, message: JobMessage) -> None:
    assert publishing.forget_published(database, 20.0) == 1
    assert publishing.publishable(database, 20.0, alive) == [message]


def test_a_job_is_claimed_once(database: Database, message: JobMessage) -> None:
    names = [f"worker-{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda name: claiming.claim(database, message, name, 11.0, LEASE_S, alive), names))
    assert sum(claim is not None for claim in claims) == 1


def test_a_message_of_a_stage_that_is_over_does_nothing(database: Database, message: JobMessage) -> None:
    progress.advance(database, take(database, message), Stage.INFER, 12.0)
    assert claiming.claim(database, message, "worker", 13.0, LEASE_S, alive) is None


def test_a_dead_owner_is_replaced_at_once_and_its_work_is_refused(database: Database, message: JobMessage) -> None:
    first = take(database, message)

    second = claiming.claim(database, message, "other", 12.0, LEASE_S, dead)

    assert second is not None
    assert (second.attempt, second.failures) == (2, 1)
    with pytest.raises(claiming.ClaimLost):
        progress.advance(database, first, Stage.INFER, 13.0)


def test_a_living_owner_keeps_the_job_until_its_lease_runs_out(database: Database, message: JobMessage) -> None:
    claimed = take(database, message, now=11.0)
    assert claiming.claim(database, message, "other", 11.0 + LEASE_S, LEASE_S, alive) is None

    claiming.renew(database, claimed, 30.0, LEASE_S)
    assert publishing.publishable(database, 59.0, alive) == []
    assert publishing.publishable(database, 61.0, alive) == [message]


def test_a_dead_owner_is_found_by_the_dispatcher(database: Database, message: JobMessage) -> None:
    take(database, message)
    assert publishing.publishable(database, 11.5, dead) == [message]


def test_a_deferred_job_waits_for_its_time(database: Database, message: JobMessage) -> None:
    progress.defer(database, take(database, message), 20.0, "PACS down", 12.0, is_failure=False)

    assert publishing.publishable(database, 19.0, alive) == []
    assert claiming.claim(database, message, "early", 19.0, LEASE_S, alive) is None
    assert publishing.publishable(database, 20.0, alive) == [message]
    retaken = take(database, message, now=20.0)
    assert (retaken.attempt, retaken.failures) == (2, 0)


def test_a_mark_that_comes_late_does_not_hide_the_next_attempt(database: Database, message: JobMessage) -> None:
    # Given a message that was taken up, and its attempt deferred, before the publisher could mark it
    published_at = 10.5
    progress.defer(database, take(database, message), 20.0, "PACS down", 12.0, is_failure=False)

    # When the mark comes
    publishing.mark_published(database, message, published_at)

    # Then the next attempt is still published when its time has come
    assert publishing.publishable(database, 20.0, alive) == [message]


NARRATIVE = deliveries.KeptObject("narrative", "2.25.7", "a" * 64, "results/2.25.7.dcm")
MEASUREMENTS = deliveries.KeptObject("measurements", "2.25.8", "b" * 64, "results/2.25.8.dcm")


def delivering(database: Database, message: JobMessage) -> ClaimedJob:
    """The job at its last stage, its two objects on record."""
    claimed = take(database, progress.advance(database, take(database, message), Stage.INFER, 12.0))
    progress.keep_report(database, claimed, "anterior", "the report")
    claimed = take(database, progress.advance(database, claimed, Stage.DELIVER, 13.0))
    deliveries.keep(database, claimed, "PACS", [NARRATIVE, MEASUREMENTS])
    return claimed


def test_a_job_is_finished_once_every_object_is_delivered(database: Database, message: JobMessage) -> None:
    # Given a job of two objects, one of which was delivered before the next attempt kept both again
    claimed = delivering(database, message)
    deliveries.mark_delivered(database, claimed, "PACS", NARRATIVE, 0x0000, 14.0)
    deliveries.keep(database, claimed, "PACS", [NARRATIVE, MEASUREMENTS])
    assert deliveries.kept_objects(database, claimed, "PACS") == {
        "narrative": replace(NARRATIVE, is_delivered=True),
        "measurements": MEASUREMENTS,
    }
    # Then it can't be finished
    with pytest.raises(ValueError, match="PACS lacks"):
        progress.finish(database, claimed, "PACS", 15.0)
    # until the other one is delivered too, here as one that the peer had already
    deliveries.mark_delivered(database, claimed, "PACS", MEASUREMENTS, 0x0111, 16.0)
    progress.finish(database, claimed, "PACS", 17.0)

    detail = views.study(database, STUDY)
    assert detail is not None
    assert (detail.study.state, detail.study.territory) == (StudyState.REPORTED, "anterior")
    assert detail.report_text == "the report"
    assert [(d.role, d.sop_instance_uid, d.delivered_at, d.status) for d in detail.deliveries] == [
        ("narrative", "2.25.7", 14.0, 0x0000),
        ("measurements", "2.25.8", 16.0, 0x0111),
    ]
    assert [event.kind for event in detail.events].count("delivered") == 1
    with pytest.raises(operating.NotPossible):
        operating.retry(database, STUDY, 18.0)
    with pytest.raises(operating.NotPossible):
        operating.cancel(database, STUDY, 18.0)


def test_a_job_without_objects_is_not_finished(database: Database, message: JobMessage) -> None:
    with pytest.raises(ValueError, match="PACS lacks"):
        progress.finish(database, take(database, message), "PACS", 12.0)


def test_only_what_was_not_delivered_gives_way_to_another_draft(database: Database, message: JobMessage) -> None:
    claimed = delivering(database, message)
    deliveries.mark_delivered(database, claimed, "PACS", NARRATIVE, 0x0000, 14.0)
    other = replace(MEASUREMENTS, sop_instance_uid="2.25.9")
    deliveries.keep(database, claimed, "PACS", [NARRATIVE, other])
    assert deliveries.kept_objects(database, claimed, "PACS")["measurements"] == other
    with pytest.raises(ValueError, match="another narrative"):
        deliveries.keep(database, claimed, "PACS", [replace(NARRATIVE, sop_instance_uid="2.25.9")])


@pytest.mark.parametrize("is_delivered", [True, False])
def test_a_retry_drafts_no_second_report_beside_a_part_of_the_first(
    database: Database, message: JobMessage, *, is_delivered: bool
) -> None:
    # Given a job that failed, with or without one of its objects in the PACS
    claimed = delivering(database, message)
    if is_delivered:
        deliveries.mark_delivered(database, claimed, "PACS", NARRATIVE, 0x0000, 14.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "SOP class not supported", "allow it", 15.0)
    # When it is retried, then it goes on where it was, or starts again
    stage = Stage.DELIVER if is_delivered else Stage.PREPARE
    assert operating.retry(database, STUDY, 20.0) == JobMessage(message.job_id, stage)
    assert publishing.publishable(database, 20.0, alive) == [JobMessage(message.job_id, stage)]


def test_images_after_a_partly_delivered_report_are_late(database: Database, message: JobMessage) -> None:
    claimed = delivering(database, message)
    deliveries.mark_delivered(database, claimed, "PACS", NARRATIVE, 0x0000, 14.0)
    progress.shelve(database, claimed, JobState.FAILED, "refused", "SOP class not supported", "allow it", 15.0)
    # Given the same images again, then the same job goes on
    outcome, job_id = receiving.open_job(database, STUDY, 20.0)
    assert (outcome, job_id) == (receiving.Opened.REOPENED, message.job_id)
    assert publishing.publishable(database, 20.0, alive) == [JobMessage(message.job_id, Stage.DELIVER)]
    # and given more images once it failed again, then there is no second report
    again = take(database, JobMessage(message.job_id, Stage.DELIVER), now=21.0)
    progress.shelve(database, again, JobState.FAILED, "refused", "SOP class not supported", "allow it", 22.0)
    receive(database, 3)
    assert receiving.open_job(database, STUDY, 30.0)[0] is receiving.Opened.LATE


def test_a_cancelled_job_says_that_a_part_was_delivered(database: Database, message: JobMessage) -> None:
    claimed = delivering(database, message)
    deliveries.mark_delivered(database, claimed, "PACS", NARRATIVE, 0x0000, 14.0)
    progress.defer(database, claimed, 60.0, "PACS down", 15.0, is_failure=False)
    operating.cancel(database, STUDY, 16.0)
    (view,) = views.studies(database)
    assert view.reason == "cancelled by an operator; a part of its report had been sent"


def test_a_shelved_study_is_retried_from_its_start(database: Database, message: JobMessage) -> None:
    progress.shelve(database, take(database, message), JobState.SET_ASIDE, "no_adc", "no ADC series", "send it", 12.0)
    (view,) = views.studies(database, states=[StudyState.SET_ASIDE])
    assert (view.reason_code, view.reason, view.hint, view.stage) == ("no_adc", "no ADC series", "send it", "")

    assert operating.retry(database, STUDY, 20.0) == message
    assert publishing.publishable(database, 20.0, alive) == [message]
    assert take(database, message, now=21.0).attempt == 1


def test_a_cancelled_job_stops_its_worker(database: Database, message: JobMessage) -> None:
    claimed = take(database, message)
    operating.cancel(database, STUDY, 12.0)

    with pytest.raises(claiming.ClaimLost):
        progress.advance(database, claimed, Stage.INFER, 13.0)
    assert views.counts(database)[StudyState.CANCELLED] == 1


def test_what_is_not_known_cannot_be_cancelled(database: Database) -> None:
    with pytest.raises(operating.NotPossible, match="is known here"):
        operating.cancel(database, "1.2.3", 0.0)


def test_the_event_log_gives_the_seconds_of_each_stage(database: Database, message: JobMessage) -> None:
    progress.advance(database, take(database, message, now=11.0), Stage.INFER, 14.0)
    assert views.stage_seconds(database) == [(STUDY, "prepare", 3.0)]


def test_a_message_that_was_used_up_for_a_job_without_one_is_made_again(
    database: Database, message: JobMessage
) -> None:
    # Given a job in the queue, and a more urgent one that is not there yet
    receive(database, 7, study_uid="1.2.840.99.2")
    _, urgent = receiving.open_job(database, "1.2.840.99.2", 10.0)
    priority.set_priority(database, "1.2.840.99.2", Priority.STAT, "test", 60.0, 10.5)
    # When the first one's message takes the other
    taken = take(database, message)
    assert taken.job_id == urgent
    # Then the first one gets another message at once, and not only when the queue is found empty
    assert publishing.publishable(database, 12.0, alive) == [message]

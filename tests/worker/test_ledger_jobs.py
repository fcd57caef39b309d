from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from support.ledger import STUDY, receive

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.ledger import jobs, receiving, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.jobs import ClaimedJob

LEASE_S = 30.0


@pytest.fixture
def message(database: Database) -> JobMessage:
    """A job ready for its first stage, published at 10."""
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, 10.0)
    (ready,) = jobs.publishable(database, 10.0, alive)
    jobs.mark_published(database, ready, 10.0)
    return ready


def alive(_owner: str) -> bool:
    return False


def dead(_owner: str) -> bool:
    return True


def take(database: Database, message: JobMessage, owner: str = "worker", now: float = 11.0) -> ClaimedJob:
    claimed = jobs.claim(database, message, owner, now, LEASE_S, alive)
    assert claimed is not None
    return claimed


def test_a_published_job_is_not_published_again(database: Database, message: JobMessage) -> None:
    assert jobs.publishable(database, 100.0, alive) == []


def test_a_wiped_queue_is_rebuilt(database: Database, message: JobMessage) -> None:
    assert jobs.forget_published(database, 20.0) == 1
    assert jobs.publishable(database, 20.0, alive) == [message]


def test_a_job_is_claimed_once(database: Database, message: JobMessage) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda n: jobs.claim(database, message, f"worker-{n}", 11.0, LEASE_S, alive), range(16)))
    assert sum(claim is not None for claim in claims) == 1


def test_a_message_of_a_stage_that_is_over_does_nothing(database: Database, message: JobMessage) -> None:
    jobs.advance(database, take(database, message), Stage.INFER, 12.0)
    assert jobs.claim(database, message, "worker", 13.0, LEASE_S, alive) is None


def test_a_dead_owner_is_replaced_at_once_and_its_work_is_refused(database: Database, message: JobMessage) -> None:
    first = take(database, message)

    second = jobs.claim(database, message, "other", 12.0, LEASE_S, dead)

    assert second is not None
    assert (second.attempt, second.failures) == (2, 1)
    with pytest.raises(jobs.ClaimLost):
        jobs.advance(database, first, Stage.INFER, 13.0)


def test_a_living_owner_keeps_the_job_until_its_lease_runs_out(database: Database, message: JobMessage) -> None:
    claimed = take(database, message, now=11.0)
    assert jobs.claim(database, message, "other", 11.0 + LEASE_S, LEASE_S, alive) is None

    jobs.renew(database, claimed, 30.0, LEASE_S)
    assert jobs.publishable(database, 59.0, alive) == []
    assert jobs.publishable(database, 61.0, alive) == [message]


def test_a_dead_owner_is_found_by_the_dispatcher(database: Database, message: JobMessage) -> None:
    take(database, message)
    assert jobs.publishable(database, 11.5, dead) == [message]


def test_a_deferred_job_waits_for_its_time(database: Database, message: JobMessage) -> None:
    jobs.defer(database, take(database, message), 20.0, "PACS down", 12.0, is_failure=False)

    assert jobs.publishable(database, 19.0, alive) == []
    assert jobs.claim(database, message, "early", 19.0, LEASE_S, alive) is None
    assert jobs.publishable(database, 20.0, alive) == [message]
    retaken = take(database, message, now=20.0)
    assert (retaken.attempt, retaken.failures) == (2, 0)


def test_a_mark_that_comes_late_does_not_hide_the_next_attempt(database: Database, message: JobMessage) -> None:
    # Given a message that was taken up, and its attempt deferred, before the publisher could mark it
    published_at = 10.5
    jobs.defer(database, take(database, message), 20.0, "PACS down", 12.0, is_failure=False)

    # When the mark comes
    jobs.mark_published(database, message, published_at)

    # Then the next attempt is still published when its time has come
    assert jobs.publishable(database, 20.0, alive) == [message]


def test_a_finished_job_has_one_delivery_and_the_study_is_reported(database: Database, message: JobMessage) -> None:
    claimed = take(database, jobs.advance(database, take(database, message), Stage.INFER, 12.0))
    jobs.keep_report(database, claimed, "anterior", "the report")
    claimed = take(database, jobs.advance(database, claimed, Stage.DELIVER, 13.0))
    result = jobs.PersistedResult("2.25.7", "a" * 64, "results/2.25.7.dcm")
    jobs.keep_result(database, claimed, "PACS", result)
    jobs.keep_result(database, claimed, "PACS", result)
    assert jobs.result_of(database, claimed, "2.25.7") == result
    assert jobs.result_of(database, claimed, "2.25.8") is None

    jobs.finish(database, claimed, "PACS", 0x0000, 14.0)

    detail = views.study(database, STUDY)
    assert detail is not None
    assert (detail.study.state, detail.study.territory) == (StudyState.REPORTED, "anterior")
    assert detail.report_text == "the report"
    assert [(d.sop_instance_uid, d.delivered_at) for d in detail.deliveries] == [("2.25.7", 14.0)]
    with pytest.raises(jobs.NotPossible):
        jobs.retry(database, STUDY, 15.0)
    with pytest.raises(jobs.NotPossible):
        jobs.cancel(database, STUDY, 15.0)


def test_a_shelved_study_is_retried_from_its_start(database: Database, message: JobMessage) -> None:
    jobs.shelve(database, take(database, message), JobState.SET_ASIDE, "no_adc", "no ADC series", "send it", 12.0)
    (view,) = views.studies(database, states=[StudyState.SET_ASIDE])
    assert (view.reason_code, view.reason, view.hint, view.stage) == ("no_adc", "no ADC series", "send it", "")

    assert jobs.retry(database, STUDY, 20.0) == message
    assert jobs.publishable(database, 20.0, alive) == [message]
    assert take(database, message, now=21.0).attempt == 1


def test_a_cancelled_job_stops_its_worker(database: Database, message: JobMessage) -> None:
    claimed = take(database, message)
    jobs.cancel(database, STUDY, 12.0)

    with pytest.raises(jobs.ClaimLost):
        jobs.advance(database, claimed, Stage.INFER, 13.0)
    assert views.counts(database)[StudyState.CANCELLED] == 1


def test_what_is_not_known_cannot_be_cancelled(database: Database) -> None:
    with pytest.raises(jobs.NotPossible, match="is known here"):
        jobs.cancel(database, "1.2.3", 0.0)


def test_the_event_log_gives_the_seconds_of_each_stage(database: Database, message: JobMessage) -> None:
    jobs.advance(database, take(database, message, now=11.0), Stage.INFER, 14.0)
    assert views.stage_seconds(database) == [(STUDY, "prepare", 3.0)]

"""A wall clock that is set back delays nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ledger import STUDY, new_ledger, receive
from support.receiving import Clock

from pirtad.daemon.clock_watch import ClockWatch
from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.ledger import breakers, claiming, job_rows, progress, publishing, receiving, shipments
from pirtad.worker.ledger.clock import Longest
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Study

HOUR_S = 3600.0
LONGEST = Longest(wait_s=100.0, lease_s=30.0)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


def alive(_owner: str) -> bool:
    return False


def waiting_job(database: Database, now: float) -> JobMessage:
    """A job that waits until 5 s from now for its next attempt."""
    receive(database, 1, 2, now=now)
    receiving.open_job(database, STUDY, now)
    (message,) = publishing.publishable(database, now, alive)
    job = claiming.claim(database, message, "worker", now, 30.0, alive)
    assert job is not None
    progress.defer(database, job, now + 5, "the PACS is down", now, is_failure=False)
    return message


def delivering(database: Database, now: float) -> claiming.ClaimedJob:
    """A job at its last stage, which a worker took at `now` for 30 s."""
    receive(database, 1, 2, now=now)
    receiving.open_job(database, STUDY, now)
    for stage in (Stage.INFER, Stage.DELIVER, None):
        (message,) = publishing.publishable(database, now, alive)
        job = claiming.claim(database, message, "worker", now, 30.0, alive)
        assert job is not None
        if stage is not None:
            progress.advance(database, job, stage, now)
    return job


def test_a_job_that_waits_does_not_wait_for_the_old_time(database: Database) -> None:
    wall, steady = Clock(10_000.0), Clock(1.0)
    watch = ClockWatch(database, wall, steady)
    message = waiting_job(database, wall.now)
    watch.look()
    # When the clock is set back by an hour
    wall.now, steady.now = wall.now - HOUR_S + 1, steady.now + 1
    watch.look()
    # Then the job is due when its five seconds are over
    assert publishing.publishable(database, wall.now, alive) == []
    assert publishing.publishable(database, wall.now + 4.5, alive) == [message]


def test_a_study_that_is_received_is_complete_after_its_quiet_period(database: Database) -> None:
    wall, steady = Clock(10_000.0), Clock(1.0)
    watch = ClockWatch(database, wall, steady)
    receive(database, 1, now=wall.now - 2)
    receive(database, 2, now=wall.now)
    watch.look()
    wall.now -= HOUR_S
    watch.look()
    (study,) = receiving.open_studies(database)
    assert study.last_received_at == pytest.approx(wall.now, abs=1)
    assert study.last_received_at - study.open_since == pytest.approx(2)


def test_a_clock_that_was_set_back_while_nobody_looked_is_noticed_at_the_start(database: Database) -> None:
    message = waiting_job(database, 10_000.0)
    wall = Clock(10_000.0 - HOUR_S)
    ClockWatch(database, wall, Clock(1.0)).look()
    assert publishing.publishable(database, wall.now + 6, alive) == [message]
    # and it is not taken for set back again at the next start
    ClockWatch(database, wall, Clock(1.0)).look()
    assert publishing.publishable(database, wall.now + 4, alive) == []


def test_a_clock_that_goes_right_or_ahead_changes_nothing(database: Database) -> None:
    wall, steady = Clock(10_000.0), Clock(1.0)
    watch = ClockWatch(database, wall, steady)
    waiting_job(database, wall.now)
    watch.look()
    for ahead_s in (1.0, 0.0, HOUR_S):
        wall.now, steady.now = wall.now + 1 + ahead_s, steady.now + 1
        watch.look()
    assert publishing.publishable(database, 10_004.0, alive) == []


def test_jobs_keep_their_order(database: Database) -> None:
    # Given two jobs of a study, the second on more images
    wall, steady = Clock(10_000.0), Clock(1.0)
    watch = ClockWatch(database, wall, steady)
    watch.look()
    receive(database, 1, now=wall.now)
    _, first = receiving.open_job(database, STUDY, wall.now)
    receive(database, 2, now=wall.now + 10)
    _, second = receiving.open_job(database, STUDY, wall.now + 10)
    assert first != second
    # When the clock is set back, and a third follows
    wall.now -= HOUR_S
    watch.look()
    receive(database, 3, now=wall.now)
    _, third = receiving.open_job(database, STUDY, wall.now)
    # Then the third is the newest one
    with database.reading() as session:
        study = Study
        newest = job_rows.newest_job(session, session.query(study).one())
        assert newest is not None
        assert newest.id == third


def test_a_time_written_by_a_clock_that_nobody_saw_ahead_delays_nothing(database: Database) -> None:
    # Given a stage that ended, and a wait that began, while the clock was two hours ahead for a moment
    now, ahead = 10_000.0, 10_000.0 + 2 * HOUR_S
    receive(database, 1, 2, now=now)
    receiving.open_job(database, STUDY, now)
    (message,) = publishing.publishable(database, now, alive)
    job = claiming.claim(database, message, "worker", now, 30.0, alive)
    assert job is not None
    progress.advance(database, job, Stage.INFER, ahead)
    # Then the next stage is due at once
    (message,) = publishing.publishable(database, now + 1, alive)
    publishing.mark_published(database, message, now + 1)
    job = claiming.claim(database, message, "worker", now + 1, 30.0, alive)
    assert job is not None
    # And so is the next attempt, which cannot have been meant for then
    progress.defer(database, job, ahead + 60, "the PACS is down", ahead, is_failure=False)
    assert publishing.publishable(database, now + 2, alive, LONGEST) == [message]


@pytest.mark.parametrize("by_s", [LONGEST.wait_s + 3, 2 * HOUR_S])
def test_an_attempt_that_the_clock_overtook_puts_nothing_off(database: Database, by_s: float) -> None:
    # Given a delivery that began before the clock was set back, and ends by the old clock: nobody was there
    now, old = 10_000.0, 10_000.0 + by_s
    job = delivering(database, old)
    shipments.open_shares(database, job, ("PACS",))
    ClockWatch(database, Clock(now), Clock(1.0)).look()
    breakers.failed(database, "PACS", old, 1.0, "no TCP connection", 1)
    shipments.wait(database, job, "PACS", old + 1, "no-connection", "no TCP connection")
    progress.defer(database, job, old + 1, "no TCP connection", now, is_failure=True)
    # Then job and destination are tried again at once
    message = JobMessage(job.job_id, Stage.DELIVER)
    assert publishing.publishable(database, now, alive, LONGEST) == [message]
    again = claiming.claim(database, message, "worker", now, 30.0, alive)
    assert again is not None
    assert shipments.open_shares(database, again, ("PACS",))["PACS"].next_attempt_at <= now
    assert breakers.admit(database, "PACS", now, 1, 60.0).is_admitted


def test_a_lease_of_the_old_time_ends_when_a_lease_does(database: Database) -> None:
    # Given a worker on another host that took a job before the clock was set back, and died
    now = 10_000.0
    job = delivering(database, now + HOUR_S)
    # Then nobody else takes the job while a lease lasts
    assert publishing.publishable(database, now, alive, LONGEST) == []
    assert publishing.publishable(database, now + LONGEST.lease_s - 1, alive, LONGEST) == []
    # And after that somebody does
    (message,) = publishing.publishable(database, now + LONGEST.lease_s + 1, alive, LONGEST)
    assert message.job_id == job.job_id


def test_waits_that_are_meant_are_kept(database: Database) -> None:
    now = 10_000.0
    job = delivering(database, now)
    shipments.open_shares(database, job, ("PACS",))
    shipments.wait(database, job, "PACS", now + LONGEST.wait_s, "no-connection", "no TCP connection")
    progress.defer(database, job, now + LONGEST.wait_s, "no TCP connection", now, is_failure=True)
    assert publishing.publishable(database, now + LONGEST.wait_s - 1, alive, LONGEST) == []
    assert publishing.publishable(database, now + LONGEST.wait_s, alive, LONGEST) != []


def test_a_message_of_the_future_is_not_waited_for(database: Database) -> None:
    now = 10_000.0
    receive(database, 1, 2, now=now)
    receiving.open_job(database, STUDY, now)
    (message,) = publishing.publishable(database, now, alive)
    publishing.mark_published(database, message, now + HOUR_S)
    assert publishing.publishable(database, now + 1, alive) == [message]

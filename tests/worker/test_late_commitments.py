"""Answers to storage commitments that come when nobody waits for them any more, or just before somebody does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.shipping import (
    AWAY,
    T0,
    Scripted,
    all_kept,
    at_delivery,
    claim,
    load,
    none_kept,
    pending,
    share,
    write_object,
)

from pirtad.worker.contract import JobState, StudyState
from pirtad.worker.courier import Courier
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable
from pirtad.worker.ledger import commitments, deliveries, operating, progress, retractions, shipments, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION
from pirtad.worker.ledger.retention_facts import studies_on_disk
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.rejection import RejectionReason
from pirtad.worker.retention import Kept, why_kept
from pirtad.worker.settings import Settings

Make = Callable[..., Courier]


@pytest.fixture
def job(database: Database) -> ClaimedJob:
    return at_delivery(database)


@pytest.fixture
def courier(database: Database, tmp_path: Path) -> Make:
    def make(*targets: Scripted, **delivery: Any) -> Courier:
        settings = Settings(
            storage={"data_dir": tmp_path},
            queue={"backoff_base_s": 4.0, "backoff_cap_s": 20.0, "max_attempts": 3},
            delivery={"commitment_timeout_s": 60.0, "commitment_attempts": 1, **delivery},
        )
        return Courier(database, settings, targets, lambda: 0.0)  # type: ignore[arg-type]

    return make


def unanswered(database: Database, job: ClaimedJob, courier: Courier, loads: Any) -> float:
    """Delivered, and given up to be asked for; when that was."""
    now = pending(courier, job, loads, T0).until + 1
    courier.carry(job, loads, now)
    assert share(database, job, "pacs").commitment is Commitment.NO_ANSWER
    return now


def withdraw(database: Database, job: ClaimedJob, data_dir: Path, courier: Courier, now: float) -> ClaimedJob:
    """An operator withdraws what was delivered, and the note arrives; the job as it was claimed for that."""
    retractions.request(database, job.study_uid, RejectionReason.PATIENT_SAFETY, "other side", "pacs", now)
    again = claim(database, job.job_id, now + 1)
    courier.carry(again, load(database, again, ("pacs",), write_object(data_dir, "2.25.9", RETRACTION)), now + 1)
    return again


def state_of(database: Database) -> StudyState:
    (only,) = views.studies(database)
    return only.state


def test_one_that_says_not_kept_while_another_destination_is_waited_for_has_it_sent_again(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a destination that was given up to be asked, while another one is away
    pacs = Scripted("pacs", "auto")
    away = Scripted("away", fails=[DestinationUnavailable(*AWAY) for _ in range(2)])
    loads = load(database, job, ("pacs", "away"), write_object(tmp_path, "2.25.1"))
    pending(courier(pacs, away), job, loads, T0)
    pending(courier(pacs, away), job, loads, T0 + 100)
    assert share(database, job, "pacs").state is ShipmentState.DONE
    # When it says after all that it does not keep the object
    assert commitments.receive_report(database, none_kept(pacs.asked[0]), T0 + 150)
    # Then it is sent there again, before the job can be done
    pacs.answers = all_kept
    courier(pacs, away).carry(job, loads, T0 + 200)
    assert len(pacs.sent) == 2
    progress.finish(database, job, ("pacs", "away"), T0 + 201)
    assert state_of(database) is StudyState.REPORTED


def test_one_that_says_not_kept_again_and_again_is_given_up_with_its_reason(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto")
    away = Scripted("away", fails=[DestinationUnavailable(*AWAY) for _ in range(9)])
    loads = load(database, job, ("pacs", "away"), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in range(4):
        pending(courier(pacs, away), job, loads, now)
        pending(courier(pacs, away), job, loads, now + 100)
        commitments.receive_report(database, none_kept(pacs.asked[-1]), now + 150)
        now += 200
    away.fails.clear()
    with pytest.raises(DestinationRefused, match="does not keep them"):
        courier(pacs, away).carry(job, loads, now)
    assert len(pacs.sent) == 2


def test_one_that_says_not_kept_in_the_moment_before_the_end_counts_for_no_defect(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = unanswered(database, job, courier(pacs), loads)
    assert commitments.receive_report(database, none_kept(pacs.asked[0]), now)
    with pytest.raises(DestinationUnavailable, match="pacs does not keep"):
        progress.finish(database, job, ("pacs",), now)


def test_one_that_says_kept_after_it_was_given_up_is_believed(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a report that is out, whose commitment was never answered: its images are kept for that
    pacs = Scripted("pacs", "auto")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"), write_object(tmp_path, "2.25.2", "other"))
    now = unanswered(database, job, courier(pacs), loads)
    progress.finish(database, job, ("pacs",), now)
    much_later = now + 1e6
    (facts,) = studies_on_disk(database)
    assert why_kept(facts, much_later) is Kept.NOT_COMMITTED
    # When the answer comes after all, in two parts
    asked = pacs.asked[0]
    first, second = all_kept(asked).committed
    for part, expected in ((first, Kept.NOT_COMMITTED), (second, None)):
        assert commitments.receive_report(database, type(all_kept(asked))(asked.transaction_uid, (part,)), now + 50)
        (facts,) = studies_on_disk(database)
        assert why_kept(facts, much_later) is expected


@pytest.mark.parametrize("is_asked_now", [True, False])
def test_an_answer_to_an_earlier_question_in_the_moment_before_it_is_waited_for_is_not_slept_through(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, is_asked_now: bool
) -> None:
    # Given a destination that was asked twice
    pacs = Scripted("pacs", "auto")
    deliver = courier(pacs, commitment_attempts=2)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    pending(deliver, job, loads, pending(deliver, job, loads, T0).until + 1)
    first, second = pacs.asked
    # When an answer comes once the courier has looked, and before it has gone to sleep
    answered = first if is_asked_now else second
    assert commitments.receive_report(database, all_kept(answered), T0 + 70)
    shipments.wait_for_answer(database, job, "pacs", second.transaction_uid if is_asked_now else None, T0 + 130)
    # Then it goes on at once
    assert share(database, job, "pacs").next_attempt_at == 0.0


def test_a_withdrawal_is_done_though_the_destination_says_later_that_it_did_not_keep_the_object(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = unanswered(database, job, courier(pacs), loads)
    progress.finish(database, job, ("pacs",), now)
    commitments.receive_report(database, none_kept(pacs.asked[0]), now + 1)
    pacs.answers = all_kept
    noted = withdraw(database, job, tmp_path, courier(pacs), now + 2)
    progress.finish(database, noted, ("pacs",), now + 4)
    assert state_of(database) is StudyState.WITHDRAWN


def test_a_withdrawal_is_done_though_the_answer_for_another_object_was_lost(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a narrative that arrived and measurements of which that is not known, and an operator who cancels
    pacs = Scripted("pacs")
    kept = [write_object(tmp_path, "2.25.1"), write_object(tmp_path, "2.25.2", "measurements")]
    loads = load(database, job, ("pacs",), *kept)
    deliveries.mark_tried(database, job, "pacs", kept[1], T0)
    courier(pacs).carry(job, {"pacs": loads["pacs"][:1]}, T0)
    progress.shelve(database, job, JobState.FAILED, "no-answer", "no answer", "", T0 + 1)
    # When what was delivered is withdrawn, then the note ends it
    noted = withdraw(database, job, tmp_path, courier(pacs), T0 + 2)
    progress.finish(database, noted, ("pacs",), T0 + 4)
    assert state_of(database) is StudyState.WITHDRAWN


def test_an_operators_retry_of_what_is_not_kept_sends_it_again(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto", answers=none_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = pending(courier(pacs), job, loads, T0).until + 100
    now = pending(courier(pacs), job, loads, now).until + 100
    with pytest.raises(DestinationRefused):
        courier(pacs).carry(job, loads, now)
    progress.shelve(database, job, JobState.FAILED, "not-committed", "not kept", "", now)
    operating.retry(database, job.study_uid, now + 1)
    pacs.answers = all_kept
    courier(pacs).carry(claim(database, job.job_id, now + 2), loads, now + 2)
    assert len(pacs.sent) == 3

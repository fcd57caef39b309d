"""Several destinations, each on its own: backoff, circuit breaker and storage commitment, with clocks that stand."""

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
    reference,
    share,
    write_object,
)

from pirtad.worker.ask_commitment import CommitmentNotTaken, CommitmentUnsupported
from pirtad.worker.commitment import Report
from pirtad.worker.contract import JobState, Stage
from pirtad.worker.courier import Courier
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable
from pirtad.worker.ledger import breakers, commitments, deliveries, operating, progress, publishing, shipments, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.ledger.tables import Shipment
from pirtad.worker.settings import Settings

BASE_S, CAP_S, TIMEOUT_S = 4.0, 20.0, 60.0
Make = Callable[..., Courier]


@pytest.fixture
def job(database: Database) -> ClaimedJob:
    return at_delivery(database)


@pytest.fixture
def courier(database: Database, tmp_path: Path) -> Make:
    def make(*targets: Scripted, jitter: float = 0.0, **delivery: Any) -> Courier:
        settings = Settings(
            storage={"data_dir": tmp_path},
            queue={"backoff_base_s": BASE_S, "backoff_cap_s": CAP_S, "max_attempts": 3},
            delivery={"commitment_timeout_s": TIMEOUT_S, "commitment_attempts": 2, **delivery},
        )
        return Courier(database, settings, targets, lambda: jitter)  # type: ignore[arg-type]

    return make


def test_one_dead_destination_holds_no_other_back(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given two objects for a destination that is away and one that is not
    dead, alive = Scripted("dead", fails=[DestinationUnavailable(*AWAY)]), Scripted("alive")
    kept = [write_object(tmp_path, "2.25.1"), write_object(tmp_path, "2.25.2", "measurements")]
    loads = load(database, job, ("dead", "alive"), *kept)
    waits = pending(courier(dead, alive), job, loads, T0)
    # Then one has both, and the job waits for the other alone
    assert len(alive.sent) == 2
    assert waits.reason == "dead: no TCP connection"
    assert waits.is_failure
    assert waits.until == pytest.approx(T0 + BASE_S, abs=1)
    # Before its time it is not touched; at its time it gets what it lacks, and the other nothing more
    pending(courier(dead, alive), job, loads, T0 + 1)
    assert dead.sent == []
    courier(dead, alive).carry(job, loads, T0 + BASE_S + 1)
    assert dead.sent == alive.sent
    progress.finish(database, job, ("dead", "alive"), T0 + 10)
    detail = views.study(database, job.study_uid)
    assert detail is not None
    assert {one.destination: one.state for one in detail.shipments} == {"alive": "done", "dead": "done"}


def test_a_refusal_is_told_once_the_others_are_settled(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    refusing = Scripted("refusing", fails=[DestinationRefused("status-0122", "SOP class not supported", "allow it")])
    away = Scripted("away", fails=[DestinationUnavailable(*AWAY)])
    loads = load(database, job, ("refusing", "away"), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(refusing, away), job, loads, T0)
    assert "refusing: SOP class not supported" in waits.reason
    with pytest.raises(DestinationRefused, match="refusing: SOP class") as caught:
        courier(refusing, away).carry(job, loads, T0 + 10)
    assert (caught.value.code, caught.value.hint) == ("status-0122", "allow it")
    assert (len(refusing.sent), len(away.sent)) == (0, 1)
    with pytest.raises(ValueError, match="refusing lacks"):
        progress.finish(database, job, ("refusing", "away"), T0 + 10)


@pytest.mark.parametrize(("jitter", "waits_s"), [(0.0, [4, 8, 16, 20, 20]), (1.0, [2, 4, 8, 10, 10])])
def test_waits_double_up_to_a_cap_less_up_to_half(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, jitter: float, waits_s: list[float]
) -> None:
    away = Scripted("away", fails=[DestinationUnavailable(*AWAY) for _ in waits_s])
    loads = load(database, job, ("away",), write_object(tmp_path, "2.25.1"))
    now = T0
    for expected_s in waits_s:
        waits = pending(courier(away, jitter=jitter, breaker_failures=99), job, loads, now)
        assert waits.until - now == pytest.approx(expected_s, abs=0.9)
        now = waits.until


def test_a_destination_that_is_down_is_tried_once_per_backoff_and_not_once_per_study(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a destination that failed three studies in a row
    down = Scripted("down", fails=[DestinationUnavailable(*AWAY) for _ in range(9)])
    other = [at_delivery(database, f"1.2.840.99.{number}") for number in range(2, 6)]
    every = [job, *other]
    loads = [load(database, one, ("down",), write_object(tmp_path, f"2.25.{n}")) for n, one in enumerate(every)]
    deliver = courier(down)
    for one, its in list(zip(every, loads, strict=True))[:3]:
        pending(deliver, one, its, T0)
    assert len(down.fails) == 6
    # When others come, then they wait for it untouched, with the reason
    for one, its in list(zip(every, loads, strict=True))[3:]:
        waits = pending(deliver, one, its, T0 + 1)
        assert waits.reason == "waits until it answers again: no TCP connection"
    assert len(down.fails) == 6
    # At the end of the interval one of them probes, and only one
    (health,) = breakers.all_health(database, 3)
    assert (health.is_open, health.failures) == (True, 3)
    for one, its in zip(every, loads, strict=True):
        pending(deliver, one, its, health.retry_at + 1)
    assert len(down.fails) == 5
    # When it answers again, all are woken
    for one in every:
        progress.defer(database, one, T0 + 9999, "waits", T0 + 30, is_failure=False)
    down.fails.clear()
    first = claim(database, every[0].job_id, T0 + 100)  # whichever's turn it is
    index = [one.job_id for one in every].index(first.job_id)
    deliver.carry(first, loads[index], T0 + 100)
    assert {message.job_id for message in publishing.publishable(database, T0 + 102, lambda _: False)} == {
        one.job_id for one in every if one.job_id != first.job_id
    }
    assert [one.kind for one in views.notices(database)] == ["destination_up", "destination_down"]


def test_delivered_means_committed(database: Database, job: ClaimedJob, courier: Make, tmp_path: Path) -> None:
    pacs = Scripted("pacs", "auto", answers=all_kept)
    kept = write_object(tmp_path, "2.25.1")
    courier(pacs).carry(job, load(database, job, ("pacs",), kept), T0)
    assert pacs.asked[0].references == (reference(kept),)
    assert share(database, job, "pacs").commitment is Commitment.COMMITTED
    assert deliveries.kept_objects(database, job, "pacs")["narrative"].is_committed


def test_an_answer_on_another_association_wakes_the_job(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a PACS that has taken the question
    pacs = Scripted("pacs", "auto")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(pacs), job, loads, T0)
    assert (waits.until, waits.is_failure) == (pytest.approx(T0 + TIMEOUT_S, abs=1), False)
    progress.defer(database, job, waits.until, waits.reason, T0, is_failure=False)
    assert publishing.publishable(database, T0 + 2, lambda _: False) == []
    # When its answer comes to the listener, and comes twice
    (request,) = pacs.asked
    for _ in range(2):
        assert commitments.receive_report(database, all_kept(request), T0 + 1)
    # Then the job goes on at once, and nothing is sent or asked again
    (message,) = publishing.publishable(database, T0 + 2, lambda _: False)
    courier(pacs).carry(claim(database, message.job_id, T0 + 2), loads, T0 + 2)
    assert (len(pacs.sent), len(pacs.asked)) == (1, 1)


def test_an_answer_between_asking_and_waiting_is_not_slept_through(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Its answer comes when the courier has looked for it, and before it has gone to sleep.
    pacs = Scripted("pacs", "auto")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    pending(courier(pacs), job, loads, T0)
    uid = pacs.asked[0].transaction_uid
    assert commitments.receive_report(database, all_kept(pacs.asked[0]), T0 + 1)
    shipments.wait_for_answer(database, job, "pacs", uid, T0 + TIMEOUT_S)
    assert share(database, job, "pacs").next_attempt_at == 0.0
    # and one that comes before the job itself is put off is not, either
    progress.defer(database, job, T0 + TIMEOUT_S, "waits", T0 + 2, is_failure=False)
    assert publishing.publishable(database, T0 + 3, lambda _: False) != []


def test_what_is_not_kept_is_sent_again_as_the_same_bytes_and_then_given_up(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto", answers=none_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in range(2):
        waits = pending(courier(pacs), job, loads, now)
        now = waits.until + 100
    assert len(pacs.sent) == 2
    # When the PACS keeps it at last
    pacs.answers = all_kept
    courier(pacs).carry(job, loads, now)
    assert len(set(pacs.sent)) == 1
    assert len(pacs.sent) == 3


def test_a_destination_that_never_keeps_it_is_shelved_with_its_reason(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto", answers=none_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in range(3):
        now = pending(courier(pacs), job, loads, now).until + 100
    with pytest.raises(DestinationRefused, match=r"does not keep them: 0x0112 \(no such object") as caught:
        courier(pacs).carry(job, loads, now)
    assert caught.value.code == "not-committed"
    assert len(pacs.sent) == 3


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_without_an_answer_it_is_asked_again_and_then_settled_by_the_mode(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, mode: str
) -> None:
    pacs = Scripted("pacs", mode)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in range(2):
        now = pending(courier(pacs), job, loads, now).until + 1
    assert len({request.transaction_uid for request in pacs.asked}) == 2
    assert len(pacs.sent) == 1
    if mode == "auto":
        courier(pacs).carry(job, loads, now)
        assert share(database, job, "pacs").commitment is Commitment.NO_ANSWER
    else:
        with pytest.raises(DestinationRefused, match="did not answer 2 requests"):
            courier(pacs).carry(job, loads, now)
    # The answer to the first question still counts when it comes after all
    assert commitments.receive_report(database, all_kept(pacs.asked[0]), now)
    assert deliveries.kept_objects(database, job, "pacs")["narrative"].is_committed


@pytest.mark.parametrize("mode", ["auto", "required"])
def test_a_peer_without_storage_commitment(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, mode: str
) -> None:
    pacs = Scripted("pacs", mode, asking_fails=[CommitmentUnsupported("commitment-unsupported", "no context")])
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    if mode == "auto":
        courier(pacs).carry(job, loads, T0)
        assert share(database, job, "pacs").commitment is Commitment.UNSUPPORTED
    else:
        with pytest.raises(DestinationRefused, match="no context"):
            courier(pacs).carry(job, loads, T0)


def test_a_question_that_is_not_taken_is_put_again_and_not_for_ever(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto", asking_fails=[CommitmentNotTaken("commitment-not-taken", "0x0110")] * 5)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(pacs), job, loads, T0)
    courier(pacs).carry(job, loads, waits.until + 1)
    assert (len(pacs.sent), share(database, job, "pacs").commitment) == (1, Commitment.UNSUPPORTED)
    # and it counts for nothing against a destination that stored what it was sent; the next study asks but once
    assert [one.failures for one in breakers.all_health(database, 1)] == [0]
    other = at_delivery(database, "1.2.840.99.2")
    courier(pacs).carry(other, load(database, other, ("pacs",), write_object(tmp_path, "2.25.2")), T0 + 100)
    assert len(pacs.asking_fails) == 2


def test_a_late_failure_does_not_undo_what_was_sent_again(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "auto", answers=none_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(pacs), job, loads, T0)
    pacs.answers = None
    pending(courier(pacs), job, loads, waits.until + 100)
    first, second = pacs.asked
    # When the first question's failure comes once more, and somebody tells of questions that were never put
    assert commitments.receive_report(database, none_kept(first), T0 + 200)
    assert deliveries.kept_objects(database, job, "pacs")["narrative"].refuted_for is None
    assert not commitments.receive_report(database, Report("2.25.666", second.references), T0 + 200)
    stranger = write_object(tmp_path, "2.25.99")
    assert commitments.receive_report(database, Report(second.transaction_uid, (reference(stranger),)), T0 + 200)
    # Then nothing is taken for committed that was not
    assert not deliveries.kept_objects(database, job, "pacs")["narrative"].is_committed


def test_bytes_that_are_spoilt_are_not_sent(database: Database, job: ClaimedJob, courier: Make, tmp_path: Path) -> None:
    kept = write_object(tmp_path, "2.25.1")
    loads = load(database, job, ("first", "second"), kept)
    first, second = Scripted("first"), Scripted("second", fails=[DestinationUnavailable(*AWAY)])
    waits = pending(courier(first, second), job, loads, T0)
    (tmp_path / kept.path).write_bytes(b"other")
    with pytest.raises(DestinationRefused, match="second: the narrative as it was composed is no longer on disk"):
        courier(first, second).carry(job, loads, waits.until + 1)
    assert (len(first.sent), len(second.sent)) == (1, 0)


def test_a_defect_in_one_sender_keeps_no_other_destination_waiting(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    broken, fine = Scripted("broken", fails=[TypeError("patient Ada") for _ in range(3)]), Scripted("fine")
    loads = load(database, job, ("broken", "fine"), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in range(2):
        waits = pending(courier(broken, fine), job, loads, now)
        assert "Ada" not in waits.reason
        now = waits.until + 1
    assert len(fine.sent) == 1
    with pytest.raises(DestinationRefused, match="broken: TypeError while sending"):
        courier(broken, fine).carry(job, loads, now)


def test_a_destination_that_is_no_longer_named_is_not_waited_for(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    gone, stays = Scripted("gone", fails=[DestinationUnavailable(*AWAY)]), Scripted("stays")
    kept = write_object(tmp_path, "2.25.1")
    pending(courier(gone, stays), job, load(database, job, ("gone", "stays"), kept), T0)
    courier(stays).carry(job, load(database, job, ("stays",), kept), T0 + 1)
    assert len(stays.sent) == 1
    progress.finish(database, job, ("stays",), T0 + 2)


def test_an_operators_retry_starts_every_share_again(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    refusing = Scripted("pacs", fails=[DestinationRefused("rejected", "unknown AE title", "")])
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    with pytest.raises(DestinationRefused):
        courier(refusing).carry(job, loads, T0)
    progress.shelve(database, job, JobState.FAILED, "rejected", "unknown AE title", "", T0)
    operating.retry(database, job.study_uid, T0 + 1)
    with database.reading() as session:
        row = session.get_one(Shipment, (job.job_id, "pacs"))
        assert (row.state, row.attempts, row.code) == (ShipmentState.WAITING, 0, "")


@pytest.mark.parametrize(
    ("first", "stage"),
    [
        (DestinationUnavailable("no-answer", "it did not answer"), Stage.DELIVER),  # it may have been stored
        (DestinationUnavailable(*AWAY), Stage.PREPARE),
    ],
)
def test_a_retry_drafts_anew_only_what_has_arrived_nowhere_for_certain(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, first: Exception, stage: Stage
) -> None:
    # Given an object whose first attempt ended so, and whose second is refused for good
    pacs = Scripted("pacs", fails=[first, DestinationRefused("status-0122", "SOP class not supported")])
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(pacs), job, loads, T0)
    with pytest.raises(DestinationRefused) as caught:
        courier(pacs).carry(job, loads, waits.until)
    progress.shelve(database, job, JobState.FAILED, caught.value.code, caught.value.reason, "", waits.until)
    # When an operator has it tried again, then another draft is made only if no report can be there already
    operating.retry(database, job.study_uid, waits.until + 1)
    assert [one.stage for one in publishing.publishable(database, waits.until + 2, lambda _: False)] == [stage]

"""A ledger or a destination that fails between two steps: nothing is sent twice, given up, or believed for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from support.shipping import AWAY, T0, Scripted, all_kept, at_delivery, load, none_kept, pending, share, write_object

from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.courier import Courier
from pirtad.worker.errors import DeliveryPending, DestinationRefused, DestinationUnavailable
from pirtad.worker.ledger import breakers, deliveries, operating, progress, publishing, shipments, views
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import QueueSettings, Settings
from pirtad.worker.stages import run_stage

Make = Callable[..., Courier]


@pytest.fixture
def job(database: Database) -> ClaimedJob:
    return at_delivery(database)


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def courier(database: Database, tmp_path: Path, pauses: list[float]) -> Make:
    def make(*targets: Scripted, **delivery: Any) -> Courier:
        settings = Settings(
            storage={"data_dir": tmp_path},
            queue={"backoff_base_s": 4.0, "backoff_cap_s": 20.0, "max_attempts": 3},
            delivery={"commitment_timeout_s": 60.0, "commitment_attempts": 2, **delivery},
        )
        return Courier(database, settings, targets, lambda: 0.0, pauses.append)  # type: ignore[arg-type]

    return make


def kinds(database: Database, job: ClaimedJob) -> list[str]:
    detail = views.study(database, job.study_uid)
    assert detail is not None
    return [event.kind for event in detail.events]


@pytest.mark.parametrize("is_committed", [False, True], ids=["ledger-away", "answer-of-the-commit-lost"])
def test_an_object_that_was_taken_is_not_sent_again_for_a_ledger_that_was_away_for_a_moment(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, pauses: list[float],
    monkeypatch: pytest.MonkeyPatch, is_committed: bool,
) -> None:  # fmt: skip
    # Given a ledger that is away for the two transactions after an object was stored
    failures: list[bool] = []
    real = database.transaction

    @contextmanager
    def transaction() -> Iterator[Session]:
        fails = bool(failures) and failures.pop()
        if fails and not is_committed:
            raise OperationalError("BEGIN", {}, Exception("database is locked"))
        with real() as session:
            yield session
        if fails:
            raise OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))

    monkeypatch.setattr(database, "transaction", transaction)
    pacs = Scripted("pacs")
    send = pacs.send

    def send_and_lose_the_ledger(path: Path, *, is_probe: bool) -> Any:
        failures.extend([True, True])
        return send(path, is_probe=is_probe)

    monkeypatch.setattr(pacs, "send", send_and_lose_the_ledger)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    # When it is delivered, then it is sent once, put on record once, and settled
    courier(pacs).carry(job, loads, T0)
    assert (len(pacs.sent), len(pauses)) == (1, 2)
    assert kinds(database, job).count("stored") == 1
    assert share(database, job, "pacs").state is ShipmentState.DONE


def test_a_ledger_that_is_away_while_it_asks_is_no_defect_of_the_destination(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # As `is_answered` raises, which looks into the ledger while an association is open.
    away = OperationalError("SELECT", {}, Exception("server closed the connection unexpectedly"))
    pacs = Scripted("pacs", "required", asking_fails=[away])
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    with pytest.raises(OperationalError):
        courier(pacs).carry(job, loads, T0)
    assert share(database, job, "pacs").code != "unforeseen"


def test_a_destination_that_goes_away_before_it_is_asked_to_commit_is_waited_for(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a destination that must commit, stores the object, and is then away for longer than it would be asked
    gone = [DestinationUnavailable(*AWAY) for _ in range(5)]
    pacs = Scripted("pacs", "required", asking_fails=list(gone), answers=all_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = T0
    for _ in gone:
        now = pending(courier(pacs), job, loads, now).until + 1
    # When it is back, then it is asked, and nothing was given up or sent again
    courier(pacs).carry(job, loads, now)
    assert (len(pacs.sent), len(pacs.asked)) == (1, 1)
    assert share(database, job, "pacs").commitment is Commitment.COMMITTED


def test_an_object_that_is_not_kept_is_not_given_up_before_it_was_sent_again(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a destination that does not keep what it stored, and is away when that is to be sent again
    pacs = Scripted("pacs", "required", answers=none_kept)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = pending(courier(pacs), job, loads, T0).until + 100
    pacs.fails = [DestinationUnavailable(*AWAY) for _ in range(5)]
    for _ in list(pacs.fails):
        now = pending(courier(pacs), job, loads, now).until + 100
    # When it is back and keeps it, then it has it
    pacs.answers = all_kept
    courier(pacs).carry(job, loads, now)
    assert len(pacs.sent) == 2
    assert share(database, job, "pacs").commitment is Commitment.COMMITTED


@pytest.mark.parametrize("code", ["stow-unclear", "http-504", "http-500", "http-408", "http-204"])
def test_an_answer_that_does_not_say_what_became_of_the_object_leaves_it_as_one_that_may_be_there(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, code: str
) -> None:
    # Given a gateway that gave up on the service behind it, or a service that does not tell what it did
    kind = DestinationRefused if code in ("stow-unclear", "http-204") else DestinationUnavailable
    fails = [kind(code, "answered, and does not say"), DestinationRefused("http-400", "no")]
    pacs = Scripted("pacs", fails=fails)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    now = T0
    with pytest.raises((DestinationRefused, DeliveryPending)) as caught:
        courier(pacs).carry(job, loads, now)
    if isinstance(caught.value, DeliveryPending):
        now = caught.value.until + 1
        with pytest.raises(DestinationRefused):
            courier(pacs).carry(job, loads, now)
    progress.shelve(database, job, JobState.FAILED, "code", "why", "", now)
    # When an operator has it tried again, then the same object is sent, and no other report drafted beside it
    operating.retry(database, job.study_uid, now + 1)
    assert [one.stage for one in publishing.publishable(database, now + 2, lambda _: False)] == [Stage.DELIVER]


@pytest.mark.parametrize("what", ["its file is gone", "its answer is awaited"])
def test_who_did_not_ask_a_destination_that_is_down_does_not_say_that_it_answers(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, what: str
) -> None:
    # Given a study that has nothing to send: its object is gone, or was stored and is to be committed to
    pacs = Scripted("pacs", "auto")
    kept = write_object(tmp_path, "2.25.1")
    loads = load(database, job, ("pacs",), kept)
    if what == "its file is gone":
        (tmp_path / kept.path).unlink()
    else:
        pending(courier(pacs), job, loads, T0)
        shipments.wait(database, job, "pacs", T0 + 5, "", "", is_attempt=False)
    # and a destination that has been down since
    for second in range(3):
        breakers.failed(database, "pacs", T0 + 1 + second, 4.0, "no TCP connection", 3)
    (before,) = breakers.all_health(database, 3)
    now = before.retry_at + 1
    # When the study's turn comes, as the one that probes
    with pytest.raises((DestinationRefused, DeliveryPending)):
        courier(pacs).carry(job, loads, now)
    # Then the destination is down still, and the next study may probe at once
    (health,) = breakers.all_health(database, 3)
    assert (health.is_open, health.failures) == (True, 3)
    assert breakers.admit(database, "pacs", now + 1, 3, 100.0).is_probe


def test_a_disk_that_is_away_is_not_tried_without_a_pause(database: Database, tmp_path: Path) -> None:
    # Given a job whose share of a destination is due, and a results folder that can't be read
    job = at_delivery(database)

    class Unreadable(Pipeline):
        def deliver(self, job: ClaimedJob, now: datetime) -> None:
            shipments.open_shares(database, job, self.destination_names)
            raise PermissionError(13, "Permission denied")

    now = time.time()
    progress.defer(database, job, 0.0, "waits", now, is_failure=False)
    settings = QueueSettings(backoff_base_s=1000, backoff_cap_s=2000)
    pipeline = Unreadable(Settings(storage={"data_dir": tmp_path}), database)
    run_stage(JobMessage(job.job_id, Stage.DELIVER), pipeline, database, settings, lambda _: None)
    # Then the next attempt waits for the backoff, though its share is due
    assert publishing.publishable(database, now + 900, lambda _: False) == []
    assert publishing.publishable(database, now + 4100, lambda _: False) != []


def test_an_object_that_may_have_arrived_and_is_turned_off_holds_no_report_back(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a picture whose answer was lost, and a site that wants no pictures since
    pacs = Scripted("pacs", fails=[DestinationUnavailable("no-answer", "it did not answer")])
    picture, narrative = write_object(tmp_path, "2.25.2", "picture"), write_object(tmp_path, "2.25.1")
    loads = load(database, job, ("pacs",), picture, narrative)
    now = pending(courier(pacs), job, loads, T0).until + 1
    loads = load(database, job, ("pacs",), narrative)
    # When the rest is delivered, then the job is done; and what may be there stays on record
    courier(pacs).carry(job, loads, now)
    progress.finish(database, job, ("pacs",), now)
    detail = views.study(database, job.study_uid)
    assert detail is not None
    assert [event.text for event in detail.events if event.kind == "delivered"] == ["1 object to pacs"]
    assert set(deliveries.kept_objects(database, job, "pacs")) == {"picture", "narrative"}


def test_an_object_that_is_wanted_and_may_have_arrived_is_not_taken_for_delivered(
    database: Database, job: ClaimedJob, tmp_path: Path
) -> None:
    narrative = write_object(tmp_path, "2.25.1")
    load(database, job, ("pacs",), narrative)
    deliveries.mark_tried(database, job, "pacs", narrative, T0)
    shipments.open_shares(database, job, ("pacs",))
    with pytest.raises(ValueError, match="pacs lacks"):
        progress.finish(database, job, ("pacs",), T0)


def test_who_waits_for_a_destination_while_it_tries_another_is_woken_too(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a study that was told that a destination is down, and is still busy with its other destinations
    down = Scripted("pacs")
    for second in range(3):
        breakers.failed(database, "pacs", T0 + second, 500.0, "no TCP connection", 3)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    waits = pending(courier(down), job, loads, T0 + 10)
    assert waits.until > T0 + 400
    # When another study finds that it answers again
    breakers.answered(database, "pacs", T0 + 20, 3)
    progress.defer(database, job, waits.until, waits.reason, T0 + 30, is_failure=False)
    # Then the first one goes on at once, too
    assert publishing.publishable(database, T0 + 31, lambda _: False) != []


def test_destinations_that_hang_do_not_have_the_worker_ended_with_its_attempt(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given three destinations that take a connection and say nothing, each longer than a third of a stage's time
    seconds = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    hanging = [Scripted(name, longest_try_s=90.0) for name in ("first", "second", "third")]

    def hang(_path: Path, *, is_probe: bool) -> Any:
        seconds[0] += 90.0
        raise DestinationUnavailable("no-answer", "it did not answer")

    for one in hanging:
        monkeypatch.setattr(one, "send", hang)
    kept = [write_object(tmp_path, f"2.25.{number}", role) for number, role in enumerate(("narrative", "b", "c"), 1)]
    loads = load(database, job, ("first", "second", "third"), *kept)
    # When they are tried, then the attempt ends before the worker would be ended
    stage_timeout_s = QueueSettings().stage_timeout_s
    waits = pending(courier(*hanging), job, loads, T0)
    assert seconds[0] < stage_timeout_s
    # and the one that is left is tried at once, in the next one
    assert waits.until <= T0 + seconds[0]
    assert share(database, job, "third").attempts == 0
    pending(courier(*hanging), job, loads, T0 + seconds[0])
    assert share(database, job, "third").attempts == 1

"""Waits of destinations' shares: long ones that are meant, and ones that a clock wrote which was ahead for a moment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.shipping import AWAY, T0, Scripted, all_kept, at_delivery, claim, load, write_object

from pirtad.worker.courier import Courier
from pirtad.worker.errors import DeliveryPending, DestinationUnavailable
from pirtad.worker.ledger import commitments, deliveries, progress, publishing, shipments
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.clock import Longest
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import ShipmentState
from pirtad.worker.settings import Settings

AHEAD_S = 1e6
Make = Callable[..., Courier]


@pytest.fixture
def job(database: Database) -> ClaimedJob:
    return at_delivery(database)


@pytest.fixture
def courier(database: Database, tmp_path: Path) -> Make:
    def make(target: Scripted, **delivery: Any) -> Courier:
        settings = Settings(
            storage={"data_dir": tmp_path},
            queue={"backoff_base_s": 4.0, "backoff_cap_s": 20.0},
            delivery={"commitment_attempts": 2, "breaker_failures": 1, **delivery},
        )
        return Courier(database, settings, [target], lambda: 0.0)  # type: ignore[list-item]

    return make


def put_off(database: Database, courier: Courier, job: ClaimedJob, loads: Any, now: float) -> float:
    """An attempt that ends in waiting; until when."""
    with pytest.raises(DeliveryPending) as caught:
        courier.carry(job, loads, now)
    progress.defer(database, job, caught.value.until, "waits", now, is_failure=False)
    return caught.value.until


def published(database: Database, now: float) -> bool:
    return publishing.publishable(database, now, lambda _: False, Longest(60_000.0, 30.0)) != []


def test_an_answer_that_may_take_a_night_is_waited_for_without_being_looked_for_all_the_time(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given an archive that files, and answers, at night
    night_s = 43_200.0
    pacs = Scripted("pacs", "required")
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    until = put_off(database, courier(pacs, commitment_timeout_s=night_s), job, loads, T0)
    assert until == pytest.approx(T0 + night_s, abs=1)
    # Then its job is left alone until the answer comes
    assert not published(database, T0 + 10)
    assert not published(database, T0 + night_s - 10)
    assert commitments.receive_report(database, all_kept(pacs.asked[0]), T0 + night_s - 5)
    assert published(database, T0 + night_s - 4)


def test_a_wait_written_while_the_clock_was_ahead_holds_no_report_back(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    # Given a destination that failed while the clock was days ahead, and is taken for down until then
    pacs = Scripted("pacs", fails=[DestinationUnavailable(*AWAY)])
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    put_off(database, courier(pacs), job, loads, T0 + AHEAD_S)
    # When the clock is right again, and nobody saw it jump
    assert published(database, T0 + 1)
    courier(pacs).carry(claim(database, job.job_id, T0 + 1), loads, T0 + 1)
    # Then it is delivered
    assert shipments.open_shares(database, claimed(database, job), ("pacs",))["pacs"].state is ShipmentState.DONE


def claimed(database: Database, job: ClaimedJob) -> ClaimedJob:
    """The claim as it stands after one more attempt."""
    return ClaimedJob(**{name: getattr(job, name) for name in job.__slots__} | {"attempt": job.attempt + 1})


def test_a_question_put_while_the_clock_was_ahead_is_put_again_in_time(
    database: Database, job: ClaimedJob, courier: Make, tmp_path: Path
) -> None:
    pacs = Scripted("pacs", "required")
    deliver = courier(pacs, commitment_timeout_s=60.0)
    loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.1"))
    put_off(database, deliver, job, loads, T0 + AHEAD_S)
    assert published(database, T0 + 1)
    again = claim(database, job.job_id, T0 + 1)
    until = put_off(database, deliver, again, loads, T0 + 1)
    assert until == pytest.approx(T0 + 61, abs=1)
    # and meanwhile it is left alone
    assert not published(database, T0 + 30)
    assert published(database, T0 + 63)
    assert deliveries.kept_objects(database, again, "pacs")["narrative"].is_delivered

"""The ledger's shipments: each destination's share of a job, with a state and a next attempt of its own.

A job at its last stage waits for the earliest of them; it is done when all are settled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from pirtad.worker.ledger.claiming import ClaimedJob, owned
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState, of_job, restart
from pirtad.worker.ledger.tables import CommitmentTransaction, Delivery, Shipment

AWAITING = "commitment-awaited"
_SETTLED = {
    Commitment.COMMITTED: "committed",
    Commitment.UNSUPPORTED: "stored; it does no storage commitment for us",
    Commitment.NO_ANSWER: "stored; NO ANSWER to the storage commitment",
}


@dataclass(frozen=True, slots=True)
class Share:
    """One destination's share of a job. next_attempt_at: POSIX seconds; 0 at once."""

    destination: str
    state: ShipmentState
    attempts: int
    next_attempt_at: float
    asks: int
    rounds: int
    commitment: Commitment
    code: str
    reason: str
    hint: str


def open_shares(
    database: Database, claimed: ClaimedJob, destinations: Sequence[str],
    roles: Mapping[str, Collection[str]] | None = None,
) -> dict[str, Share]:  # fmt: skip
    """The job's shares, by destination in this order; new ones are due at once, those of others are dropped.

    One that is done is due again where an object was added to it, or where the destination said since that it does not
    keep one. roles: of the objects that go to each destination; others, which went there once, do not count.
    """
    with database.transaction() as session:
        owned(session, claimed)
        rows = {row.destination: row for row in session.scalars(of_job(claimed.job_id))}
        lacking, refuting = set(), set()
        for one in session.scalars(select(Delivery).where(Delivery.job_id == claimed.job_id)):
            if roles is not None and one.role not in roles.get(one.destination, ()):
                continue
            if one.delivered_at is None:
                lacking.add(one.destination)  # an object may have been composed since
            elif one.commit_failure is not None:
                refuting.add(one.destination)
        for name, row in rows.items():
            if name not in destinations and row.state == ShipmentState.WAITING:
                row.state = ShipmentState.DROPPED
        for name in destinations:
            if name not in rows:
                rows[name] = Shipment(job_id=claimed.job_id, destination=name, state=ShipmentState.DROPPED)
                session.add(rows[name])
            if rows[name].state == ShipmentState.DROPPED or (
                rows[name].state == ShipmentState.DONE and name in lacking
            ):
                restart(rows[name])
            elif rows[name].state == ShipmentState.DONE and name in refuting:
                # Its rounds stay counted: a destination that says so each time is not sent the same for ever.
                rows[name].state, rows[name].next_attempt_at = ShipmentState.WAITING, 0.0
                rows[name].asks, rows[name].settled_at = 0, None
        session.flush()
        return {name: _share(rows[name]) for name in destinations}


def wait(
    database: Database, claimed: ClaimedJob, destination: str, until: float, code: str, reason: str, hint: str = "",
    *, is_attempt: bool = True, is_first: bool = False,
) -> None:  # fmt: skip
    """Try this destination again at `until`. is_attempt: it was tried, and the next wait is longer. is_first: counting
    begins anew with this attempt.
    """
    with database.transaction() as session:
        row = _row(session, claimed, destination)
        row.state, row.next_attempt_at = ShipmentState.WAITING, until
        row.code, row.reason, row.hint = code, reason, hint
        row.attempts = 1 if is_first else row.attempts + is_attempt


def wait_for_answer(
    database: Database, claimed: ClaimedJob, destination: str, transaction_uid: str | None, until: float
) -> None:
    """A storage commitment was asked for: go on when its answer comes, or at `until`. None: it was asked earlier."""
    with database.transaction() as session:
        row = _row(session, claimed, destination)
        asked = None if transaction_uid is None else session.get(CommitmentTransaction, transaction_uid)
        is_answered = asked is not None and asked.answered_at is not None
        # The answer may have come since this was last looked at, and then nobody else wakes the job.
        is_open = _is_any_open(session, claimed.job_id, destination)
        row.next_attempt_at = until if is_open and not is_answered else 0.0
        row.state = ShipmentState.WAITING
        row.code, row.reason, row.hint = AWAITING, "stored; waits for the answer to the storage commitment", ""


def _is_any_open(session: Session, job_id: str, destination: str) -> bool:
    """Whether nothing was said yet of some object that the destination was asked to commit to."""
    asked = select(Delivery.id).where(
        Delivery.job_id == job_id, Delivery.destination == destination, Delivery.transaction_uid.is_not(None),
        Delivery.committed_at.is_(None), Delivery.commit_failure.is_(None),
    )  # fmt: skip
    return session.scalar(asked.limit(1)) is not None


def last_commitment(database: Database, destination: str) -> Commitment:
    """How the storage commitment of the job went that this destination was done with last."""
    with database.reading() as session:
        query = (
            select(Shipment.commitment)
            .where(Shipment.destination == destination, Shipment.state == ShipmentState.DONE)
            .order_by(Shipment.settled_at.desc())
            .limit(1)
        )
        return Commitment(session.scalar(query) or "")


def count_ask(database: Database, claimed: ClaimedJob, destination: str, *, is_first: bool) -> None:
    """A storage commitment is about to be asked for. is_first: for what was just sent."""
    with database.transaction() as session:
        row = _row(session, claimed, destination)
        row.asks, row.commitment = 1 if is_first else row.asks + 1, Commitment.ASKED


def uncount_ask(database: Database, claimed: ClaimedJob, destination: str, asks: int) -> None:
    """The question did not get there, for certain. asks: those that did."""
    with database.transaction() as session:
        _row(session, claimed, destination).asks = asks


def count_round(database: Database, claimed: ClaimedJob, destination: str) -> None:
    """Objects were sent again, all that the destination did not commit to."""
    with database.transaction() as session:
        row = _row(session, claimed, destination)
        row.rounds, row.asks = row.rounds + 1, 0


def settle(database: Database, claimed: ClaimedJob, destination: str, commitment: Commitment, now: float) -> None:
    """The destination has all of its objects."""
    with database.transaction() as session:
        job = owned(session, claimed)
        row = _row(session, claimed, destination)
        if row.state != ShipmentState.DONE:
            said = _SETTLED.get(commitment, "stored")
            append(session, now, "settled", f"{destination}: {said}", job.study_id, job.id)
        row.state, row.commitment, row.settled_at = ShipmentState.DONE, commitment, now
        row.code = row.reason = row.hint = ""


def fail(
    database: Database, claimed: ClaimedJob, destination: str, code: str, reason: str, hint: str, now: float
) -> None:
    """No attempt mends this destination's share; the others go on."""
    with database.transaction() as session:
        job = owned(session, claimed)
        row = _row(session, claimed, destination)
        row.state, row.settled_at = ShipmentState.FAILED, now
        row.code, row.reason, row.hint = code, reason, hint
        row.attempts += 1
        append(session, now, "destination_failed", f"{destination}: {reason}", job.study_id, job.id, {"code": code})


def _row(session: Session, claimed: ClaimedJob, destination: str) -> Shipment:
    owned(session, claimed)
    return session.get_one(Shipment, (claimed.job_id, destination), populate_existing=True)


def _share(row: Shipment) -> Share:
    return Share(
        row.destination, ShipmentState(row.state), row.attempts, row.next_attempt_at, row.asks, row.rounds,
        Commitment(row.commitment), row.code, row.reason, row.hint,
    )  # fmt: skip

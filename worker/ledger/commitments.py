"""The ledger's storage commitments: what destinations were asked to keep, and what they said.

An answer comes over whatever association it comes, to a worker or to the listener. It is tied to what was asked by its
transaction UID, which was made at random, kept here before it was sent, and is known to nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from pirtad.worker.commitment import REASONS, Report
from pirtad.worker.contract import JobState, Stage
from pirtad.worker.ledger import shipment_rows
from pirtad.worker.ledger.claiming import ClaimedJob, owned
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import locked
from pirtad.worker.ledger.shipment_rows import Commitment, ShipmentState
from pirtad.worker.ledger.tables import CommitmentTransaction, Delivery, Instance, Job, Shipment

# Chosen: an archive that says "not stored" right after it was told Success may be slow to file; sending again at once
# would only repeat that.
_AGAIN_AFTER_S = 2.0
_UIDS_AT_ONCE = 500  # chosen: SQLite takes 999 parameters in every version


def open_transaction(
    database: Database, claimed: ClaimedJob, destination: str, transaction_uid: str,
    sop_instance_uids: Sequence[str], now: float,
) -> None:  # fmt: skip
    """Keep, before it is sent, that this destination is asked to commit to these objects of the job."""
    with database.transaction() as session:
        owned(session, claimed)
        session.add(
            CommitmentTransaction(
                transaction_uid=transaction_uid, job_id=claimed.job_id, destination=destination, asked_at=now
            )
        )
        for row in _of(session, claimed.job_id, destination):
            if row.sop_instance_uid in sop_instance_uids:
                row.transaction_uid = transaction_uid


def close_transaction(database: Database, transaction_uid: str, now: float) -> None:
    """The destination did not take the question, so that no answer is waited for."""
    with database.transaction() as session:
        session.get_one(CommitmentTransaction, transaction_uid).answered_at = now


def unanswered_since(database: Database, claimed: ClaimedJob, destination: str) -> float | None:
    """When the last commitment was asked for that is not answered; None if there is none."""
    with database.reading() as session:
        return session.scalar(
            select(CommitmentTransaction.asked_at)
            .where(
                CommitmentTransaction.job_id == claimed.job_id,
                CommitmentTransaction.destination == destination,
                CommitmentTransaction.answered_at.is_(None),
            )
            .order_by(CommitmentTransaction.asked_at.desc())
            .limit(1)
        )


def is_answered(database: Database, transaction_uid: str) -> bool:
    """Whether the answer to it has come."""
    with database.reading() as session:
        return session.get_one(CommitmentTransaction, transaction_uid).answered_at is not None


def receive_report(database: Database, report: Report, now: float) -> bool:
    """Take a destination's answer; False if no such transaction is known, and then nothing is changed.

    An instance that this transaction was not about is passed over. "Committed" counts whichever question it answers;
    "failed" only as the answer to the last one, since the object may have been sent again after an earlier one. What
    the answer leaves out stays open. A worker is woken to see to the rest.
    """
    with database.transaction() as session:
        transaction = session.get(CommitmentTransaction, report.transaction_uid)
        if transaction is None:
            return False
        job = locked(session, transaction.job_id)
        if job is None:
            return False
        session.refresh(transaction)
        rows = {row.sop_instance_uid: row for row in _of(session, job.id, transaction.destination)}
        committed = failed = 0
        reasons = set()
        for reference in report.committed:
            row = rows.get(reference.sop_instance_uid)
            if row is not None and row.delivered_at is not None and row.committed_at is None:
                row.committed_at, row.commit_failure = now, None
                committed += 1
        for reference, reason in report.failed.items():
            row = rows.get(reference.sop_instance_uid)
            if row is not None and row.transaction_uid == report.transaction_uid and row.committed_at is None:
                row.commit_failure = reason
                reasons.add(f"0x{reason:04X} ({REASONS.get(reason, 'unknown reason')})")
                failed += 1
        mine = [row for row in rows.values() if row.transaction_uid == report.transaction_uid]
        if transaction.answered_at is None and not any(_is_open(row) for row in mine):
            transaction.answered_at = now
        if committed:
            _believe(session, job.id, transaction.destination, rows.values())
        _tell(session, job, transaction.destination, committed, failed, sorted(reasons), now)
        _wake(session, job, transaction.destination, now + (_AGAIN_AFTER_S if failed else 0.0))
        return True


def _believe(session: Session, job_id: str, destination: str, rows: Iterable[Delivery]) -> None:
    """A share that was settled without an answer is a committed one, once the answers to all its objects came."""
    share = session.get(Shipment, (job_id, destination), populate_existing=True)
    if share is None or (share.state, share.commitment) != (ShipmentState.DONE, Commitment.NO_ANSWER):
        return
    if all(row.committed_at is not None for row in rows if row.delivered_at is not None):
        share.commitment = Commitment.COMMITTED


def _tell(
    session: Session, job: Job, destination: str, committed: int, failed: int, reasons: Sequence[str], now: float
) -> None:
    if committed:
        append(session, now, "committed", f"{destination} keeps {committed} of the objects", job.study_id, job.id)
    if failed:
        told = f"{destination} does not keep {failed} of the objects: {', '.join(reasons)}"
        append(session, now, "not_committed", told, job.study_id, job.id)


def _wake(session: Session, job: Job, destination: str, at: float) -> None:
    shipment_rows.wake(session, [job.id], destination, at)
    if job.state == JobState.WAITING and job.stage == Stage.DELIVER:
        job.next_attempt_at = min(job.next_attempt_at, at)


def _is_open(row: Delivery) -> bool:
    return row.committed_at is None and row.commit_failure is None


def _of(session: Session, job_id: str, destination: str) -> list[Delivery]:
    query = select(Delivery).where(Delivery.job_id == job_id, Delivery.destination == destination)
    return list(session.scalars(query))


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A received instance as it is registered. path: relative to the data directory."""

    sop_class_uid: str
    path: str
    size_bytes: int


def kept_files(database: Database, sop_instance_uids: Collection[str]) -> dict[str, list[KeptFile]]:
    """What is registered of these instances, every version of each."""
    found: dict[str, list[KeptFile]] = {}
    uids = sorted(sop_instance_uids)
    with database.reading() as session:
        for start in range(0, len(uids), _UIDS_AT_ONCE):
            query = select(Instance.sop_instance_uid, Instance.sop_class_uid, Instance.path, Instance.size_bytes).where(
                Instance.sop_instance_uid.in_(uids[start : start + _UIDS_AT_ONCE])
            )
            for uid, sop_class_uid, path, size_bytes in session.execute(query):
                found.setdefault(uid, []).append(KeptFile(sop_class_uid, path, size_bytes))
    return found

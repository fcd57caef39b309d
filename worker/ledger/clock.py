"""The wall clock was set back: what the ledger meant to do in a second would else be done in hours.

Times are compared across processes and restarts, so they are wall clock times; only the daemon sees the clock jump. A
worker in the middle of an attempt may write by the old clock after that, and a clock that is ahead for a moment is seen
by nobody. So times that are too far ahead to be meant are mended as well.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Update, select, true, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from pirtad.worker.contract import UNFINISHED, JobState
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.shipment_rows import ShipmentState
from pirtad.worker.ledger.tables import CommitmentTransaction, DestinationPeer, Event, Job, Shipment, Study

_STEP_S = 1e-6  # keeps the order of jobs whose time was drawn together


@dataclass(frozen=True, slots=True)
class Longest:
    """How far ahead, in seconds, anything is ever put: the next attempt at a job or a destination; a lease's end."""

    wait_s: float
    lease_s: float


UNBOUNDED = Longest(float("inf"), float("inf"))


def newest_event_at(database: Database) -> float | None:
    """What the clock said when the ledger was last told of something; None for an empty one."""
    with database.reading() as session:
        return session.scalar(select(Event.at).order_by(Event.id.desc()).limit(1))


def set_back(database: Database, by_s: float, now: float) -> None:
    """Shift what now lies in the future, by as much as the clock was set back. now: the clock as it is since.

    Jobs keep their order: one that is opened from now on is newer than all that are there.
    """
    with database.transaction() as session:
        for column, of in (
            (Job.next_attempt_at, Job.state.in_(UNFINISHED)),
            (Job.published_at, Job.state.in_(UNFINISHED)),
            (Job.lease_until, Job.state.in_(UNFINISHED)),
            (Job.due_at, Job.state.in_(UNFINISHED)),
            (Shipment.next_attempt_at, None),
            (DestinationPeer.retry_at, None),
            (CommitmentTransaction.asked_at, CommitmentTransaction.answered_at.is_(None)),
            (Study.last_received_at, Study.open_since.is_not(None)),
            (Study.open_since, None),
        ):
            session.execute(_shift(column, of, by_s, now))
        ahead = session.scalars(select(Job).where(Job.created_at > now).order_by(Job.created_at.desc(), Job.id)).all()
        for number, job in enumerate(ahead):
            job.created_at = now - number * _STEP_S
        append(session, now, "clock_set_back", f"by {by_s:.1f} s; waiting times shifted with it")


def _shift(
    column: InstrumentedAttribute[float] | InstrumentedAttribute[float | None], of: ColumnElement[bool] | None,
    by_s: float, now: float,
) -> Update:  # fmt: skip
    ahead = column > now
    return update(column.class_).where(ahead if of is None else ahead & of).values({column.key: column - by_s})


def mend(session: Session, now: float, longest: Longest) -> None:
    """Have what waits for a time that cannot be meant go on now, and a lease that is too long end in time."""
    too_late = now + longest.wait_s
    queued, waiting, running = (Job.state == one for one in (JobState.QUEUED, JobState.WAITING, JobState.RUNNING))
    of_waiting = select(Job.id).where(waiting)  # few, of all that the ledger keeps
    share, question = Shipment.job_id.in_(of_waiting), CommitmentTransaction.job_id.in_(of_waiting)
    for column, of, limit, instead in (
        (Job.next_attempt_at, queued, now, now),
        (Job.next_attempt_at, waiting, too_late, now),
        (Job.published_at, queued | waiting, now, None),
        (Job.lease_until, running, now + longest.lease_s, now + longest.lease_s),
        (Shipment.next_attempt_at, share & (Shipment.state == ShipmentState.WAITING), too_late, now),
        (DestinationPeer.retry_at, true(), too_late, now),
        (CommitmentTransaction.asked_at, question & CommitmentTransaction.answered_at.is_(None), now, now),
    ):
        session.execute(update(column.class_).where(of, column > limit).values({column.key: instead}))

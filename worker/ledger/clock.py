"""The wall clock was set back: what the ledger meant to do in a second would else be done in hours.

Times are compared across processes and restarts, so they are wall clock times; only the daemon sees the clock jump.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Update, select, update
from sqlalchemy.orm import InstrumentedAttribute

from pirtad.worker.contract import UNFINISHED
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.tables import CommitmentTransaction, DestinationPeer, Event, Job, Shipment, Study

_STEP_S = 1e-6  # keeps the order of jobs whose time was drawn together


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

"""What comes of a claimed job's attempt: the next stage, a later attempt, or the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import JobMessage, JobState, Stage, StudyState
from pirtad.worker.errors import DestinationUnavailable
from pirtad.worker.ledger.claiming import ClaimedJob, owned
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import RETRACTION
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import (
    end,
    is_shown,
    retraction_of,
    set_study_state,
    tell_lost_note,
    tell_withdrawal,
    withdrawn_with,
)
from pirtad.worker.ledger.shipment_rows import ShipmentState, next_due_at
from pirtad.worker.ledger.tables import Delivery, Job, Shipment, Study


def advance(database: Database, claimed: ClaimedJob, to: Stage, now: float) -> JobMessage:
    """The stage is done and its result on disk; the job waits for the next one."""
    with database.transaction() as session:
        job = owned(session, claimed)
        append(session, now, "finished", claimed.stage, job.study_id, job.id)
        job.stage, job.state, job.attempts, job.failures = to, JobState.QUEUED, 0, 0
        job.owner, job.lease_until, job.published_at, job.next_attempt_at = None, None, None, now
        set_study_state(session, job, StudyState.QUEUED)
        return JobMessage(job.id, to)


def keep_report(database: Database, claimed: ClaimedJob, territory: str, text: str) -> None:
    """Keep the drafted report where `status` and the page can show it."""
    with database.transaction() as session:
        job = owned(session, claimed)
        job.territory, job.report_text = territory, text


def finish(database: Database, claimed: ClaimedJob, destinations: str | tuple[str, ...], now: float) -> None:
    """Each of these destinations has every object of its own: the job is done and the study reported, or the result
    withdrawn, if that was asked for. ValueError when one lacks one; `DestinationUnavailable` when one said in this
    moment that it does not keep one, which another attempt sends again.
    """
    names = (destinations,) if isinstance(destinations, str) else destinations
    with database.transaction() as session:
        job = owned(session, claimed)
        retraction = retraction_of(session, job)
        deliveries: list[Delivery] = []
        for name in names:
            of_name = select(Delivery).where(Delivery.job_id == job.id, Delivery.destination == name)
            found = [one for one in session.scalars(of_name) if retraction is None or one.role == RETRACTION]
            found = [one for one in found if not _is_given_up(session, one)]
            if not found or any(one.delivered_at is None for one in found):
                raise ValueError(f"job {job.id} has objects that {name} lacks")
            if any(one.commit_failure is not None for one in found):
                told = f"{name} does not keep what it stored"
                raise DestinationUnavailable("not-committed", told, "it is sent again")
            deliveries += found
        destination = ", ".join(names)
        if retraction is not None:
            append(session, now, "withdrawn", f"the note is with {destination}", job.study_id, job.id)
            end(session, job, JobState.WITHDRAWN, StudyState.WITHDRAWN, now)
            for other in withdrawn_with(session, job.id):
                session.get_one(Job, other).state = JobState.WITHDRAWN
            if is_shown(session, job):
                tell_withdrawal(session.get_one(Study, job.study_id), StudyState.WITHDRAWN, retraction)
            return
        count = len({delivery.sop_instance_uid for delivery in deliveries})
        objects = "1 object" if count == 1 else f"{count} objects"
        append(session, now, "delivered", f"{objects} to {destination}", job.study_id, job.id)
        end(session, job, JobState.DONE, StudyState.REPORTED, now)


def _is_given_up(session: Session, one: Delivery) -> bool:
    """An object that may have arrived, and is sent there no more: the site turned it off meanwhile. The destination
    has all others, for its share is done."""
    share = session.get(Shipment, (one.job_id, one.destination))
    is_done = share is not None and share.state == ShipmentState.DONE
    return one.delivered_at is None and one.tried_at is not None and is_done


def defer(
    database: Database, claimed: ClaimedJob, until: float, error: str, now: float,
    *, is_failure: bool, is_told: bool = True, is_for_shares: bool = True,
) -> None:  # fmt: skip
    """The attempt brought no result and another follows at `until`; only failures use up the job's attempts.

    At the last stage another follows sooner, if a destination's answer came meanwhile. is_told: with an event.
    is_for_shares: it waits for destinations; else for something that shares which are due would not mend.
    """
    with database.transaction() as session:
        job = owned(session, claimed)
        if job.stage == Stage.DELIVER and is_for_shares and not is_failure:
            due_at = next_due_at(session, job.id)
            until = until if due_at is None else min(until, max(due_at, now))
        job.state, job.next_attempt_at, job.last_error = JobState.WAITING, until, error
        job.owner, job.lease_until, job.published_at = None, None, None
        job.failures += is_failure
        set_study_state(session, job, StudyState.WAITING)
        if is_told:
            told = f"{claimed.stage}, attempt {claimed.attempt}: {error}"
            append(session, now, "attempt_failed", told, job.study_id, job.id)


def shelve(
    database: Database, claimed: ClaimedJob, state: JobState, code: str, reason: str, hint: str, now: float
) -> None:
    """End the job without a report: SET_ASIDE (the input) or FAILED (the system), with a reason and what to do."""
    with database.transaction() as session:
        job = owned(session, claimed)
        if retraction_of(session, job) is not None:
            reason = f"the note that withdraws the report was not delivered: {reason}"
        job.last_error = reason
        if retraction_of(session, job) is not None and not is_shown(session, job):
            tell_lost_note(session.get_one(Study, job.study_id), job)
        append(session, now, str(state), f"{claimed.stage}: {reason}", job.study_id, job.id, {"code": code})
        end(session, job, state, StudyState(state), now, code, reason, hint)


@contextmanager
def over(database: Database, job_ids: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Which of these jobs are over, for as long as the block runs: reported, withdrawn, or superseded before anything
    of them was composed. What an operator may have tried again is not.
    """
    wanted = list(job_ids)
    composed = select(Delivery.job_id)
    ended = or_(
        Job.state.in_((JobState.DONE, JobState.WITHDRAWN)),
        (Job.state == JobState.SUPERSEDED) & Job.id.not_in(composed),
    )
    found = select(Job.id).where(Job.id.in_(wanted), ended).order_by(Job.id)
    with database.reading() as session:
        is_any = session.scalar(found.limit(1)) is not None
    if not is_any:
        yield ()
        return
    with database.transaction() as session:
        yield tuple(session.scalars(found.with_for_update()))

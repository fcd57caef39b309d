"""The ledger's dead-letter shelf: studies without a finished report, each with its reason, and starting many again."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from pirtad.worker.contract import SHELVED, JobState, StudyState
from pirtad.worker.ledger import operating
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import ShipmentState
from pirtad.worker.ledger.tables import Job, Shipment, Study


@dataclass(frozen=True, slots=True)
class Shelved:
    """A study on the shelf. destinations: at which its delivery failed; delivered_to: those that have it."""

    study_uid: str
    state: StudyState
    since: float
    stage: str
    code: str
    reason: str
    hint: str
    destinations: tuple[str, ...]
    delivered_to: tuple[str, ...]


def shelved(database: Database, *, failed_only: bool = False, destination: str = "", code: str = "") -> list[Shelved]:
    """What is on the shelf, the oldest first. destination, code: only those that failed there, or for that reason."""
    states = [StudyState.FAILED] if failed_only else [StudyState(state) for state in SHELVED]
    newest = (
        select(Job.study_id, func.max(Job.created_at).label("at"))
        .where(Job.state != JobState.SUPERSEDED)
        .group_by(Job.study_id)
        .subquery()
    )
    query = (
        select(Study, Job)
        .join(newest, newest.c.study_id == Study.id)
        .join(Job, (Job.study_id == Study.id) & (Job.created_at == newest.c.at) & (Job.state != JobState.SUPERSEDED))
        .where(Study.state.in_(states), Job.state.in_([JobState(state) for state in states]))
        .order_by(Job.finished_at, Study.id)
    )
    with database.reading() as session:
        rows = [(study, job) for study, job in session.execute(query)]
        shares: dict[str, list[Shipment]] = {}
        of_these = query.with_only_columns(Job.id).order_by(None)
        for share in session.scalars(select(Shipment).where(Shipment.job_id.in_(of_these))):
            shares.setdefault(share.job_id, []).append(share)
    found = []
    for study, job in rows:
        failed = [one for one in shares.get(job.id, []) if one.state == ShipmentState.FAILED]
        if destination and destination not in {one.destination for one in failed}:
            continue
        if code and code != study.reason_code and code not in {one.code for one in failed}:
            continue
        found.append(
            Shelved(
                study_uid=study.study_uid,
                state=StudyState(study.state),
                since=job.finished_at if job.finished_at is not None else study.last_received_at,
                stage=job.stage,
                code=study.reason_code,
                reason=study.reason,
                hint=study.hint,
                destinations=tuple(sorted(one.destination for one in failed)),
                delivered_to=tuple(
                    sorted(one.destination for one in shares.get(job.id, []) if one.state == ShipmentState.DONE)
                ),
            )
        )
    return found


def retry_all(database: Database, study_uids: list[str], now: float) -> tuple[list[str], dict[str, str]]:
    """Start these studies again; (those that were, why not by study). One that changed meanwhile stops no other."""
    done, not_possible = [], {}
    for study_uid in study_uids:
        try:
            operating.retry(database, study_uid, now)
        except operating.NotPossible as error:
            not_possible[study_uid] = str(error)
        else:
            done.append(study_uid)
    return done, not_possible

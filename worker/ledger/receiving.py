"""Studies that are being received: what is known of each, and complete ones become jobs."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import (
    SHELVED,
    UNFINISHED,
    JobState,
    Priority,
    Stage,
    StartedBy,
    job_key,
    redraft_key,
)
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import is_partly_delivered, is_shown, queue_again, retraction_of, tell_lost_note
from pirtad.worker.ledger.looks import Look, look_at
from pirtad.worker.ledger.priority import BY_OPERATOR, set_due
from pirtad.worker.ledger.removed import missing_images
from pirtad.worker.ledger.rounds import JobFacts, Opened, Outcome, current_of, outcome_of
from pirtad.worker.ledger.tables import Instance, Job, JobInstance, Study

_HAD_BEEN_REMOVED = "had been removed: kept, and not reported"


class Standing(StrEnum):
    """What a study that is being received has already."""

    NEW = "new"  # no job, or none that what comes now could be held against
    HAS_PAIR = "has_pair"  # a report, or a job on its way to one, and the images that it is drafted from are known
    DELIVERING = "delivering"  # its objects, or the note that withdraws some, are being delivered


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is still being received. used_key: of its job, see `contract.used_key`; "" while not known."""

    study_uid: str
    calling_ae: str
    open_since: float
    last_received_at: float
    priority: Priority = Priority.ROUTINE
    is_priority_settled: bool = False  # by an operator
    standing: Standing = Standing.NEW
    used_key: str = ""
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """Why a job is opened, and by when its report should be there, after its last image: (routine, STAT).

    quiet_since: when the last image came, as far as whoever calls the study quiet knows; POSIX seconds.
    """

    started_by: StartedBy = StartedBy.QUIET
    objectives_s: tuple[float, float] | None = None
    quiet_since: float | None = None


def open_studies(database: Database) -> list[OpenStudy]:
    """Studies with images that no job has taken up yet."""
    with database.reading() as session:
        rows = session.scalars(select(Study).where(Study.open_since.is_not(None))).all()
        return [_open_study(session, study, study.open_since) for study in rows if study.open_since is not None]


def _open_study(session: Session, study: Study, open_since: float) -> OpenStudy:
    facts = _facts(session, _jobs(session, study), frozenset())
    current = current_of(facts)
    standing = Standing.NEW
    if any(job.is_withdrawing for job in facts) or (current is not None and current.is_delivering):
        standing = Standing.DELIVERING
    elif current is not None and current.used_key and (current.is_unfinished or current.state == JobState.DONE):
        standing = Standing.HAS_PAIR
    return OpenStudy(
        study_uid=study.study_uid,
        calling_ae=study.calling_ae,
        open_since=open_since,
        last_received_at=study.last_received_at,
        priority=Priority(study.priority),
        is_priority_settled=study.priority_because.startswith(BY_OPERATOR),
        standing=standing,
        used_key="" if current is None else current.used_key,
        look=look_at(session, study),
    )


def open_job(database: Database, study_uid: str, now: float, opening: Opening = Opening()) -> tuple[Opened, str]:
    """Close the study's round of receiving and make its job ready to be published; returns (what, id of the job meant).

    What is done is `rounds.outcome_of`'s decision; with HELD alone the round stays open, and no job may be meant ("").
    """
    with database.transaction() as session:
        study = session.scalars(select(Study).where(Study.study_uid == study_uid).with_for_update()).one()
        newest = _newest_instances(session, study)
        key = _content_key(study, newest)
        jobs = {job.id: job for job in session.scalars(_of_study(study).with_for_update())}
        # The same content may have been drafted anew after a withdrawal: then it is the newest job on it.
        keys = frozenset({key, *(redraft_key(key, job_id) for job_id in jobs)})
        facts = _facts(session, list(jobs.values()), keys)
        look = look_at(session, study)
        if _is_overtaken(study, look, opening):
            return Opened.HELD, ""
        current = current_of(facts)
        replaced = current is not None and _since(session, current.job_id, newest).replaced > 0
        outcome = outcome_of(facts, look, replaced=replaced)
        meant = outcome.job_id or ""
        missing = missing_images(session, study)
        if missing and outcome.opened not in (Opened.NOTHING_NEW, Opened.HELD):
            meant = meant or ("" if current is None else current.job_id)
            told = f"images came after {_images(missing)} of the study {_HAD_BEEN_REMOVED}"
            _set_note(session, study, jobs.values(), "; ".join((*_other_parts(study), told)))
            append(session, now, "late_images", f"{told}; send the whole study again", study.id, meant or None)
            study.open_since = None
            return Opened.LATE, meant
        if _HAD_BEEN_REMOVED in study.note:
            _set_note(session, study, jobs.values(), "; ".join(_other_parts(study)))  # all came again
        match outcome.opened:
            case Opened.HELD:
                return outcome.opened, meant
            case Opened.NOTHING_NEW:
                append(session, now, "nothing_new", "all images had been received before; no second report", study.id)
            case Opened.UNCHANGED:
                added = _images(_since(session, meant, newest).added)
                append(session, now, "other_images", f"{added} that the draft is not made from", study.id, meant)
            case Opened.LATE:
                told = _late(jobs[meant], _since(session, meant, newest), look)
                _set_note(session, study, jobs.values(), told)
                append(session, now, "late_images", told, study.id, meant)
            case Opened.OPENED | Opened.REOPENED | Opened.REVISED:
                _supersede(session, study, jobs.values(), now)
                meant = _open(session, study, jobs.get(meant), key, newest, outcome, now)
                _note_opening(session, study, session.get_one(Job, meant), look, opening, len(newest), now)
        study.open_since = None
        return outcome.opened, meant


def _is_overtaken(study: Study, look: Look | None, opening: Opening) -> bool:
    """Whether images came since the decision that speak against it: it is made anew, from what there is now."""
    if opening.started_by is StartedBy.WHOLE:
        return look is None or not look.holds
    return opening.quiet_since is not None and study.last_received_at > opening.quiet_since


def _of_study(study: Study) -> Select[tuple[Job]]:
    return select(Job).where(Job.study_id == study.id).order_by(Job.created_at.desc())


def _jobs(session: Session, study: Study) -> list[Job]:
    return list(session.scalars(_of_study(study)))


def _facts(session: Session, jobs: Sequence[Job], keys: frozenset[str]) -> list[JobFacts]:
    return [
        JobFacts(
            job_id=job.id,
            state=JobState(job.state),
            stage=Stage(job.stage),
            used_key=job.used_key,
            revises=job.revises,
            is_partly_delivered=is_partly_delivered(session, job),
            is_same=job.job_key in keys,
            is_withdrawing=job.state in UNFINISHED and retraction_of(session, job) is not None,
        )
        for job in jobs
    ]


def _other_parts(study: Study) -> list[str]:
    """Of the study's note, what is not about removed images: it may say that the patient is another one."""
    return [part for part in study.note.split("; ") if part and _HAD_BEEN_REMOVED not in part]


def _set_note(session: Session, study: Study, jobs: Iterable[Job], told: str) -> None:
    """What the study's note tells of its images; of withdrawals that were given up it goes on telling."""
    study.note = told
    for job in jobs:
        if job.state in SHELVED and retraction_of(session, job) is not None and not is_shown(session, job):
            tell_lost_note(study, job)


def _supersede(session: Session, study: Study, jobs: Iterable[Job], now: float) -> None:
    for job in jobs:
        if job.state in UNFINISHED and retraction_of(session, job) is None:  # a note is never called back
            job.state, job.finished_at, job.owner, job.lease_until = JobState.SUPERSEDED, now, None, None
            append(session, now, "superseded", "more images came before the report was composed", study.id, job.id)


def _open(
    session: Session, study: Study, same: Job | None, key: str, newest: dict[str, Instance], outcome: Outcome,
    now: float,
) -> str:  # fmt: skip
    """A new job, or the one that was opened on the same content before; its id."""
    job = same or Job(id=uuid.uuid4().hex, study_id=study.id, job_key=key, created_at=now)
    job.revises = outcome.revises
    if same is None:
        _add(session, study, job, newest, now)
    else:
        queue_again(session, study, job, now)
    return job.id


def _note_opening(
    session: Session, study: Study, job: Job, look: Look | None, opening: Opening, images: int, now: float
) -> None:
    """Keep what the job was started by and is drafted from, and by when its report should be there."""
    is_seen = look is not None and look.holds and look.used_key != ""
    job.started_by = opening.started_by
    job.used_key = look.used_key if look is not None and is_seen else ""
    job.images_at = look.used_at if look is not None and is_seen else study.last_received_at
    job.missed_at = None
    if opening.objectives_s is not None:
        set_due(job, opening.objectives_s[Priority(study.priority)])
    told = f"{_images(images)}; queued"
    if opening.started_by is StartedBy.WHOLE:
        told += ", since DWI and ADC are whole"
    if job.revises is not None:
        told += "; its report will revise the one that is out"
    append(session, now, "complete", told, study.id, job.id, {"started_by": str(opening.started_by)})


def draft_anew(session: Session, study: Study, withdrawn: Job, now: float) -> Job:
    """Within the caller's transaction, another job on all the study's images, after its result was withdrawn."""
    newest = _newest_instances(session, study)
    key = redraft_key(_content_key(study, newest), withdrawn.id)
    job = Job(id=uuid.uuid4().hex, study_id=study.id, job_key=key, created_at=now, started_by=StartedBy.OPERATOR)
    earlier = _jobs(session, study)
    # Where the newest report alone was withdrawn, this one takes the place of the one that is out still.
    out = (one for one in earlier if one.state == JobState.DONE and retraction_of(session, one) is None)
    job.revises = next((one.id for one in out), None)
    study.open_since = None  # this job takes up whatever came since, too
    _set_note(session, study, earlier, "")
    _add(session, study, job, newest, now)
    return job


def _newest_instances(session: Session, study: Study) -> dict[str, Instance]:
    newest: dict[str, Instance] = {}
    for instance in session.scalars(select(Instance).where(Instance.study_id == study.id).order_by(Instance.id)):
        newest[instance.sop_instance_uid] = instance
    return newest


def _content_key(study: Study, newest: dict[str, Instance]) -> str:
    return job_key(study.study_uid, ((uid, instance.sha256) for uid, instance in newest.items()))


def _add(session: Session, study: Study, job: Job, newest: dict[str, Instance], now: float) -> None:
    queue_again(session, study, job, now)
    session.add(job)
    session.flush()
    session.add_all(JobInstance(job_id=job.id, instance_id=instance.id) for instance in newest.values())


@dataclass(frozen=True, slots=True)
class _Since:
    """What came after a job was opened: new images, and images with other bytes than it was opened on."""

    added: int
    replaced: int


def _since(session: Session, job_id: str, newest: dict[str, Instance]) -> _Since:
    used = {
        instance.sop_instance_uid: instance.sha256
        for instance in session.scalars(
            select(Instance)
            .join(JobInstance, JobInstance.instance_id == Instance.id)
            .where(JobInstance.job_id == job_id)
        )
    }
    replaced = sum(uid in used and used[uid] != instance.sha256 for uid, instance in newest.items())
    return _Since(sum(uid not in used for uid in newest), replaced)


def _late(job: Job, since: _Since, look: Look | None) -> str:
    """What came after the job's images, for people; a replaced image may mean a corrected patient."""
    ended = {JobState.CANCELLED: "the study was cancelled", JobState.WITHDRAWN: "the report was withdrawn"}
    after = ended.get(JobState(job.state), "the report was drafted")
    told = [f"{_images(since.added)} came after {after}: kept, and not reported"] if since.added else []
    if since.replaced:
        told.append(
            f"{_images(since.replaced)} REPLACED after {after}: check that the draft still belongs to this patient"
        )
    if job.state == JobState.DONE and look is not None and look.holds and look.reason_code:
        told.append(f"with them the study would be set aside: CHECK the draft; {look.reason}")
    return "; ".join(told)


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"

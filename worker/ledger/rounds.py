"""What becomes of a round of receiving, given the jobs that the study has and the look at its headers. Pure.

The two errors that count: images that would change a report are taken in silence, and a study gets two reports that
nothing joins. So a report that is out is followed by another one only as its revision, which names it; and by none
where a person has to decide: images were replaced, the study would be refused, or nobody knows what the report was
drafted from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from pirtad.worker.contract import UNFINISHED, JobState, Stage
from pirtad.worker.ledger.looks import Look


class Opened(StrEnum):
    """What `open_job` did."""

    OPENED = "opened"
    REOPENED = "reopened"  # the same content was shelved before
    REVISED = "revised"  # the report is out, and its DWI or ADC are others now: another report that names it
    NOTHING_NEW = "nothing_new"  # a job for this content is under way or done
    UNCHANGED = "unchanged"  # what came is not of the pair: the report, or the job under way, stands
    LATE = "late"  # the images are kept and noted, and a person decides
    HELD = "held"  # the round stays open: a report is being delivered or withdrawn, or the look is behind


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job of the study. is_same: opened on exactly the content that is there now."""

    job_id: str
    state: JobState
    stage: Stage
    used_key: str
    revises: str | None
    is_partly_delivered: bool
    is_same: bool
    is_withdrawing: bool = False  # a note about an earlier delivery is on its way in its place

    @property
    def is_unfinished(self) -> bool:
        """Whether it is still worked on."""
        return self.state in UNFINISHED

    @property
    def is_delivering(self) -> bool:
        """Whether its objects are on their way, and it is known what they were drafted from."""
        return self.is_unfinished and self.stage is Stage.DELIVER and self.used_key != ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to do. job_id: the job that it is about; None where none is there. revises: for the job to be opened."""

    opened: Opened
    job_id: str | None = None
    revises: str | None = None


def outcome_of(jobs: Sequence[JobFacts], look: Look | None, *, replaced: bool) -> Outcome:
    """jobs: of the study, newest first. replaced: images that its job was opened on are there with other bytes."""
    for job in jobs:
        if job.is_withdrawing:
            return Outcome(Opened.HELD, job.job_id)  # nothing is decided before the note is out, or is given up
    same = next((job for job in jobs if job.is_same), None)
    if same is not None and (same.is_unfinished or same.state in (JobState.DONE, JobState.WITHDRAWN)):
        return Outcome(Opened.NOTHING_NEW, same.job_id)
    current = current_of(jobs)
    revised = {job.revises for job in jobs if job.state != JobState.SUPERSEDED}
    for job in jobs:
        if job.job_id in revised or (job.state == JobState.WITHDRAWN and job is not current):
            continue  # another report has taken its place; or an operator asked for another draft since
        if job.is_delivering:
            return Outcome(Opened.HELD, job.job_id)
        if job.state == JobState.DONE:
            return _after_the_report(job, look, replaced)
        is_on_its_way = job.is_unfinished and job.stage is Stage.DELIVER
        if is_on_its_way or job.state == JobState.CANCELLED or (not job.is_same and job.is_partly_delivered):
            return Outcome(Opened.LATE, job.job_id)
    if current is not None and current.is_unfinished and current.used_key and look is not None and not replaced:
        if not look.holds:
            return Outcome(Opened.HELD, current.job_id)
        if look.used_key == current.used_key:
            return Outcome(Opened.UNCHANGED, current.job_id)
    revises = None if current is None else current.revises
    if same is not None:
        return Outcome(Opened.REOPENED, same.job_id, revises)
    return Outcome(Opened.OPENED if revises is None else Opened.REVISED, None, revises)


def current_of(jobs: Sequence[JobFacts]) -> JobFacts | None:
    """The job that the study's state tells of. jobs: newest first."""
    return next((job for job in jobs if job.state != JobState.SUPERSEDED), None)


def _after_the_report(job: JobFacts, look: Look | None, replaced: bool) -> Outcome:
    if look is None or not job.used_key or replaced:
        return Outcome(Opened.LATE, job.job_id)
    if not look.holds:
        return Outcome(Opened.HELD, job.job_id)
    if look.used_key == job.used_key:
        return Outcome(Opened.UNCHANGED, job.job_id)
    if not look.used_key:
        return Outcome(Opened.LATE, job.job_id)
    return Outcome(Opened.REVISED, None, job.job_id)

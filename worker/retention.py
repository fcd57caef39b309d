"""What may be removed from the disk, and what is removed now. Pure: facts of studies, free bytes and a time in.

The errors that count: an image is removed that a report still needs or that a person still has to look at, and the
disk fills up so that images are refused. The first is the worse one: in doubt a study is kept, with the reason told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pirtad.worker.contract import SHELVED, UNFINISHED, JobState
from pirtad.worker.retention_settings import RetentionSettings

DAY_S = 86_400.0
# Chosen: whatever is said of age and space, a study is left alone for so long after its last image or delivery: a
# sender that sends a study again is done by then, and files under way have their places.
REST_S = 600.0


class Why(StrEnum):
    """Why something is removed."""

    AGE = "age"
    WATERMARK = "watermark"  # too little space is free
    OPERATOR = "operator"


class Kept(StrEnum):
    """Why a study's images stay, whatever their age."""

    RECEIVING = "receiving"
    NO_REPORT = "no report yet"
    UNDER_WAY = "work under way"
    SHELVED = "set aside, failed or cancelled"
    RETRACTION = "a withdrawal not finished"
    WITHDRAWN = "its report withdrawn"
    NOT_DELIVERED = "not delivered everywhere"
    NOT_COMMITTED = "storage commitment asked for and not answered"
    NOTED = "a note on it for a person"
    RECENT = "delivered or received just now"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """One job of a study.

    is_delivered: every destination that was asked has every object. is_committed: none of them left a storage
    commitment unanswered. has_delivered: some destination has some object.
    """

    state: JobState
    is_delivered: bool
    is_committed: bool
    has_delivered: bool
    is_retracting: bool
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What is known of a study whose images are on the disk. jobs: newest first. images, size_bytes: what is there."""

    study_uid: str
    is_open: bool
    is_noted: bool
    last_received_at: float
    images: int
    size_bytes: int
    jobs: tuple[JobFacts, ...]

    @property
    def settled_at(self) -> float:
        """When the last of it was received or came to its end, POSIX seconds."""
        return max([self.last_received_at, *(job.finished_at for job in self.jobs if job.finished_at is not None)])


@dataclass(frozen=True, slots=True)
class Planned:
    """A study whose images are to be removed now."""

    study_uid: str
    why: Why
    images: int
    size_bytes: int


def why_kept(facts: StudyFacts, now: float) -> Kept | None:
    """Why the study's images must stay; None where they may go."""
    blocked = why_in_work(facts)
    if blocked is not None:
        return blocked
    # A job that is superseded, or was shelved before a later one took up its images and more: nothing comes of it.
    newest = next((job for job in facts.jobs if job.state != JobState.SUPERSEDED), None)
    if newest is None:
        return Kept.NO_REPORT
    if newest.state in SHELVED:
        return Kept.SHELVED
    if newest.state == JobState.WITHDRAWN:
        return Kept.WITHDRAWN  # the study has no report that holds; another one may be drafted from its images
    settled = [job for job in facts.jobs if job.state in (JobState.DONE, JobState.WITHDRAWN)]
    if any(job.has_delivered for job in facts.jobs if job not in settled):
        return Kept.NOT_DELIVERED
    if not all(job.is_delivered for job in settled):
        return Kept.NOT_DELIVERED
    if not all(job.is_committed for job in settled):
        return Kept.NOT_COMMITTED
    if facts.is_noted:
        return Kept.NOTED
    return Kept.RECENT if not facts.settled_at <= now - REST_S else None


def why_in_work(facts: StudyFacts) -> Kept | None:
    """Why not even an operator removes the study's images now."""
    if facts.is_open:
        return Kept.RECEIVING
    if any(job.is_retracting for job in facts.jobs):
        return Kept.RETRACTION
    return Kept.UNDER_WAY if any(job.state in UNFINISHED for job in facts.jobs) else None


def is_aged(settled_at: float, days: float, now: float) -> bool:
    """Whether so many days have passed; 0 days never have."""
    return days > 0 and settled_at <= now - days * DAY_S


def plan(studies: Iterable[StudyFacts], free_bytes: int, rule: RetentionSettings, now: float) -> tuple[Planned, ...]:
    """What to remove, the oldest delivered first: by age; then for space, until `free_below_bytes` would be free."""
    may_go = sorted(
        (one for one in studies if one.images and why_kept(one, now) is None),
        key=lambda one: (one.settled_at, one.study_uid),
    )
    planned = []
    for one in may_go:
        if is_aged(one.settled_at, rule.age_days, now):
            planned.append(_planned(one, Why.AGE))
        elif free_bytes < rule.free_below_bytes:
            planned.append(_planned(one, Why.WATERMARK))
        else:
            break
        free_bytes += one.size_bytes
    return tuple(planned)


def kept_counts(studies: Sequence[StudyFacts], now: float) -> dict[Kept, int]:
    """How many studies stay for which reason; reasons that there are."""
    reasons = [reason for one in studies if (reason := why_kept(one, now)) is not None]
    return {reason: reasons.count(reason) for reason in Kept if reason in reasons}


def _planned(facts: StudyFacts, why: Why) -> Planned:
    return Planned(facts.study_uid, why, facts.images, facts.size_bytes)

"""What daemon and worker agree on: stages, states, messages and job keys. Light: no torch, no DICOM.

A message carries ids only, as JSON, with a schema number; everything else is in the ledger and on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

MESSAGE_SCHEMA = 1


class Stage(StrEnum):
    """A job's stages, in order; each is a Celery queue of the same name."""

    PREPARE = "prepare"
    INFER = "infer"
    DELIVER = "deliver"


class JobState(StrEnum):
    """What a job is doing."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # for its next attempt
    DONE = "done"
    SET_ASIDE = "set_aside"  # the input can't be used
    FAILED = "failed"  # attempts exhausted, or a failure that no attempt mends
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"  # more images came before the report was composed
    WITHDRAWN = "withdrawn"  # the destination has the note that rejects its objects


UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)
SHELVED = (JobState.SET_ASIDE, JobState.FAILED, JobState.CANCELLED)


class StudyState(StrEnum):
    """What a person sees of a study."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    REPORTED = "reported"
    WITHDRAWING = "withdrawing"  # the note that rejects the report is on its way
    WITHDRAWN = "withdrawn"
    SET_ASIDE = "set_aside"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Priority(IntEnum):
    """How urgent a study is; the highest that anybody said of it holds, unless an operator says otherwise."""

    ROUTINE = 0
    STAT = 1


class StartedBy(StrEnum):
    """What made a job of a study's images."""

    WHOLE = "whole"  # DWI and ADC were whole by their own count, whatever else was still to come
    QUIET = "quiet"  # no new image for the quiet period
    CAP = "cap"  # the hard cap
    OPERATOR = "operator"  # drafted anew after a withdrawal


LOOK_QUEUE = "look"
"""Queue of the looks at studies that are being received; the prepare workers serve it."""


class MessageError(ValueError):
    """A queue message of another schema or shape; the ledger still has the job."""


@dataclass(frozen=True, slots=True)
class JobMessage:
    """The queue's only message."""

    job_id: str
    stage: Stage

    def to_json(self) -> dict[str, Any]:
        """The message as JSON-able dict."""
        return {"schema": MESSAGE_SCHEMA, "job_id": self.job_id, "stage": str(self.stage)}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> JobMessage:
        """The inverse of `to_json`; `MessageError` for anything else."""
        if raw.get("schema") != MESSAGE_SCHEMA:
            raise MessageError(f"message schema {raw.get('schema')!r}, this version reads {MESSAGE_SCHEMA}")
        try:
            return cls(str(raw["job_id"]), Stage(raw["stage"]))
        except (KeyError, ValueError) as error:
            raise MessageError(f"not a job message: {error}") from error


@dataclass(frozen=True, slots=True)
class LookMessage:
    """Asks for a look at what has come of a study: is there a DWI and an ADC map, and are they whole?"""

    study_uid: str

    def to_json(self) -> dict[str, Any]:
        """The message as JSON-able dict."""
        return {"schema": MESSAGE_SCHEMA, "study_uid": self.study_uid}

    @classmethod
    def from_json(cls, raw: dict[str, Any]) -> LookMessage:
        """The inverse of `to_json`; `MessageError` for anything else."""
        if raw.get("schema") != MESSAGE_SCHEMA or not isinstance(raw.get("study_uid"), str):
            raise MessageError(f"no look message of schema {MESSAGE_SCHEMA}")
        return cls(raw["study_uid"])


def job_key(study_uid: str, instances: Iterable[tuple[str, str]]) -> str:
    """Key of a study's content: sha256 over the study UID and its sorted (SOP Instance UID, file sha256) pairs."""
    digest = hashlib.sha256(study_uid.encode())
    for sop_uid, sha256 in sorted(instances):
        digest.update(f"\n{sop_uid} {sha256}".encode())
    return digest.hexdigest()


def used_key(instances: Iterable[tuple[str, str]]) -> str:
    """Key of the images that a draft is made from: sha256 over their sorted (SOP Instance UID, file sha256) pairs."""
    return job_key("used", instances)


def redraft_key(key: str, withdrawn_job_id: str) -> str:
    """Key of a job on content that was reported on before, and the result withdrawn: another job, with other objects.

    key: of the content alone.
    """
    return hashlib.sha256(f"{key}\nafter {withdrawn_job_id}".encode()).hexdigest()

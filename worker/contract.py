"""What daemon and worker agree on: stages, states, messages and job keys. Light: no torch, no DICOM.

A message carries ids only, as JSON, with a schema number; everything else is in the ledger and on disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
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


UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.WAITING)
SHELVED = (JobState.SET_ASIDE, JobState.FAILED, JobState.CANCELLED)


class StudyState(StrEnum):
    """What a person sees of a study."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    REPORTED = "reported"
    SET_ASIDE = "set_aside"
    FAILED = "failed"
    CANCELLED = "cancelled"


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


def job_key(study_uid: str, instances: Iterable[tuple[str, str]]) -> str:
    """Key of a study's content: sha256 over the study UID and its sorted (SOP Instance UID, file sha256) pairs."""
    digest = hashlib.sha256(study_uid.encode())
    for sop_uid, sha256 in sorted(instances):
        digest.update(f"\n{sop_uid} {sha256}".encode())
    return digest.hexdigest()

"""Registry facts that the hospital gave for a study: kept before the study comes or while it waits, never after its
draft was begun.

A giving is a row and is never changed: the newest counts, and the earlier ones tell who had given what. The facts are
patient data; events name the fields alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import SHELVED, JobState, Stage
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.events import append
from pirtad.worker.ledger.job_rows import is_partly_delivered, newest_job
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.tables import RegistryFacts, Study

# PS3.5 section 9.1, but for the zeros that some vendors begin a component with.
_UID = re.compile(r"[0-9]+(\.[0-9]+)+")
_UID_MAX = 64


@dataclass(frozen=True, slots=True)
class Giving:
    """One giving of facts. given_by: who says so, or where it came from; via: "api" or "cli"."""

    study_uid: str
    given_at: float
    given_by: str
    via: str
    facts: dict[str, Any] = field(repr=False)  # empty: taken back


def keep(database: Database, giving: Giving) -> str:
    """Keep the facts for the study's draft, in place of those given before; returns when they are used, in words.

    Raises NotPossible, with what can be done, once the draft is being written or is there; ValueError for what is no
    UID, unless a study came under it.
    """
    with database.transaction() as session:
        # A worker takes a job up under the same lock: what is kept here is seen by the draft, or refused here.
        locked = select(Study).where(Study.study_uid == giving.study_uid).with_for_update()
        study = session.scalar(locked)
        if study is None and not is_uid(giving.study_uid):
            raise ValueError("this is no Study Instance UID")
        told = _when_used(session, study)
        session.add(
            RegistryFacts(
                study_uid=giving.study_uid,
                given_at=giving.given_at,
                given_by=giving.given_by,
                via=giving.via,
                facts=json.dumps(giving.facts, ensure_ascii=False),
            )
        )
        what = ", ".join(sorted(giving.facts)) or "taken back"
        append(
            session,
            giving.given_at,
            "registry_given",
            f"{what}; by {giving.given_by} ({giving.via})",
            None if study is None else study.id,
            data={"study_uid": giving.study_uid},
        )
        return told


def newest(database: Database, study_uid: str) -> Giving | None:
    """The facts that count; None if none were given, or they were taken back."""
    with database.reading() as session:
        row = session.scalar(
            select(RegistryFacts).where(RegistryFacts.study_uid == study_uid).order_by(RegistryFacts.id.desc()).limit(1)
        )
        if row is None or not (facts := json.loads(row.facts)):
            return None
        return Giving(row.study_uid, row.given_at, row.given_by, row.via, facts)


def forget(session: Session, study_uid: str) -> None:
    """Delete every giving for the study, within the caller's transaction: for whoever deletes the study."""
    session.execute(delete(RegistryFacts).where(RegistryFacts.study_uid == study_uid))


def is_uid(text: str) -> bool:
    """Whether the text is a UID as they are met."""
    return len(text) <= _UID_MAX and _UID.fullmatch(text) is not None


def _when_used(session: Session, study: Study | None) -> str:
    if study is None:
        return "kept; the study has not come yet"
    job = newest_job(session, study)
    if job is None:
        return "kept; the study is being received"
    if job.state == JobState.WITHDRAWN:
        return "kept; used when the study is drafted anew"
    lost = f"study {study.study_uid}: these facts were not kept"
    if job.state == JobState.DONE or is_partly_delivered(session, job):
        raise NotPossible(
            f"{lost}, for its report, or a part of it, has arrived as it was drafted. Tell the radiologist who reads "
            "it; or withdraw the report (`pirtad retract`), give the facts again, and have it drafted anew "
            "(`pirtad retry`)"
        )
    if job.state in SHELVED:
        return "kept; used when the study is retried"
    if job.stage == Stage.DELIVER or (job.stage == Stage.INFER and job.state == JobState.RUNNING):
        raise NotPossible(
            f"{lost}, for its report is being drafted or on its way. `pirtad cancel` it while nothing has arrived, "
            "give the facts again, then `pirtad retry`"
        )
    return "kept; used for the draft to come"

"""The ledger's looks: what a worker saw in the headers of a study that is still being received.

One row a study, replaced by the next look. It says up to which instance it saw, so that what came since is known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pirtad.worker.contract import used_key
from pirtad.worker.ledger import tables
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.removed import present
from pirtad.worker.ledger.tables import Instance, Series, Study


class Counts(StrEnum):
    """What declared numbers of images say of a pair."""

    MET = "met"  # all that was declared has come, and it covers both volumes
    UNSTATED = "unstated"  # nothing is declared that would cover them
    SHORT = "short"  # more is declared than has come


@dataclass(frozen=True, slots=True)
class LookFile:
    """The newest version of an instance of a study. path: relative to the data directory."""

    instance_id: int
    sop_instance_uid: str
    series_uid: str
    path: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look found, in the worker's words.

    used_uids: SOP Instance UIDs of the pair that would be drafted from now; empty, with a reason, where there is none.
    is_clear: the pair is one that nothing still to come is likely to beat.
    """

    is_clear: bool
    counts: Counts
    used_uids: tuple[str, ...]
    known_series: frozenset[str]
    plain_series: frozenset[str]
    reason_code: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """The newest look at a study, and what came since.

    seen_all: whether every instance was there for it. since: series of the instances that were not.
    """

    at: float
    is_clear: bool
    counts: Counts
    used_key: str
    used_at: float | None
    known_series: frozenset[str]
    plain_series: frozenset[str]
    reason_code: str
    reason: str
    seen_all: bool
    since: frozenset[str]

    @property
    def holds(self) -> bool:
        """Whether the pair is still as it was seen: what came since is of series without diffusion."""
        return self.since <= self.plain_series


def files_of(database: Database, study_uid: str) -> tuple[LookFile, ...]:
    """The newest version of each instance of the study that is kept, by id; of the same SOP Instance UID the last
    received."""
    with database.reading() as session:
        rows = session.execute(
            select(Instance.id, Instance.sop_instance_uid, Series.series_uid, Instance.path)
            .join(Series, Series.id == Instance.series_id)
            .join(Study, Study.id == Instance.study_id)
            .where(Study.study_uid == study_uid, Instance.removed_at.is_(None))
            .order_by(Instance.id)
        )
        newest = {uid: LookFile(number, uid, series_uid, path) for number, uid, series_uid, path in rows}
    return tuple(sorted(newest.values(), key=lambda file: file.instance_id))


def keep_look(database: Database, study_uid: str, looked_at: Iterable[LookFile], seen: Seen, now: float) -> None:
    """Put a look in place of the one before, unless that one saw more; or images were removed since, or came again."""
    files = {file.sop_instance_uid: file.instance_id for file in looked_at}
    newest = max(files.values(), default=0)
    with database.transaction() as session:
        study = session.scalar(select(Study).where(Study.study_uid == study_uid).with_for_update())
        if study is None:
            return
        row = session.get(tables.Look, study.id)
        if (row is not None and row.seen_instance_id > newest) or present(session, study, newest) != files:
            return
        used = {files[uid] for uid in seen.used_uids}
        of_study = select(Instance).where(Instance.study_id == study.id)
        images = [image for image in session.scalars(of_study) if image.id in used]
        if row is None:
            row = tables.Look(study_id=study.id)
            session.add(row)
        row.seen_instance_id, row.at = newest, now
        row.is_clear, row.counts = int(seen.is_clear), seen.counts
        row.used_key = used_key((image.sop_instance_uid, image.sha256) for image in images) if images else ""
        row.used_at = max((image.received_at for image in images), default=None)
        row.known_series = json.dumps(sorted(seen.known_series))
        row.plain_series = json.dumps(sorted(seen.plain_series))
        row.reason_code, row.reason = seen.reason_code, seen.reason


def look_at(session: Session, study: Study) -> Look | None:
    """Within the caller's transaction, the newest look at the study; None if nobody has looked."""
    row = session.get(tables.Look, study.id, populate_existing=True)
    if row is None:
        return None
    later = (Instance.study_id == study.id, Instance.id > row.seen_instance_id, Instance.removed_at.is_(None))
    seen_all = not session.scalar(select(func.count()).select_from(Instance).where(*later))
    since: Iterable[str] = ()
    if not seen_all:
        since = session.scalars(
            select(Series.series_uid).join(Instance, Instance.series_id == Series.id).where(*later).distinct()
        )
    return Look(
        at=row.at,
        is_clear=bool(row.is_clear),
        counts=Counts(row.counts),
        used_key=row.used_key,
        used_at=row.used_at,
        known_series=frozenset(json.loads(row.known_series)),
        plain_series=frozenset(json.loads(row.plain_series)),
        reason_code=row.reason_code,
        reason=row.reason,
        seen_all=seen_all,
        since=frozenset(since),
    )

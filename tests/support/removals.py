"""What retention left: in the spool, in the ledger and in its journal."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from pirtad.worker.ledger import views
from pirtad.worker.ledger.tables import Instance, Job, Removal
from pirtad.worker.ledger.views import StudyDetail
from support.receiving import STUDY, Receiving, files


def instances(side: Receiving, study: str = STUDY) -> list[Instance]:
    with side.database.reading() as session:
        of_study = Instance.sop_instance_uid.startswith(f"{study}.2.")
        return list(session.scalars(select(Instance).where(of_study).order_by(Instance.id)))


def spooled(tmp_path: Path) -> list[Path]:
    return files(tmp_path / "spool")


def detail(side: Receiving, study: str = STUDY) -> StudyDetail:
    found = views.study(side.database, study)
    assert found is not None
    return found


def jobs(side: Receiving) -> list[Job]:
    with side.database.reading() as session:
        return list(session.scalars(select(Job).order_by(Job.created_at)))


def removals(side: Receiving) -> list[tuple[str, str, int, int, bool]]:
    with side.database.reading() as session:
        rows = session.scalars(select(Removal).order_by(Removal.id))
        return [(row.what, row.why, row.files, row.size_bytes, row.finished_at is not None) for row in rows]

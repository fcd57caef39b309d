"""A ledger to test on, and studies in it."""

from __future__ import annotations

from pathlib import Path

from pirtad.worker.ledger import registering
from pirtad.worker.ledger.database import Database, open_ledger
from pirtad.worker.ledger.registering import ReceivedInstance, Registration

STUDY = "1.2.840.99.1"


def new_ledger(directory: Path) -> Database:
    """A fresh SQLite ledger."""
    return open_ledger(f"sqlite:///{directory / 'ledger.sqlite'}")


def received(number: int = 1, *, study_uid: str = STUDY, content: str = "") -> ReceivedInstance:
    """Instance `number` of a study; another `content` has other bytes."""
    digest = f"{abs(hash((study_uid, number, content))):064x}"[:64]
    return ReceivedInstance(
        study_uid=study_uid,
        series_uid=f"{study_uid}.1",
        sop_instance_uid=f"{study_uid}.1.{number}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.4",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="MR",
        sha256=digest,
        size_bytes=1000,
        path=f"spool/{digest}.dcm",
        calling_ae="SCANNER",
    )


def receive(database: Database, *numbers: int, now: float = 0.0, study_uid: str = STUDY) -> list[Registration]:
    """Register several instances at one moment."""
    return [registering.register(database, received(n, study_uid=study_uid), now) for n in numbers]

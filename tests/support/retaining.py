"""Studies that are received into a real spool and reported, for the tests of retention."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pirtad.daemon.retention import Retention
from pirtad.worker.contract import JobMessage, JobState, Stage
from pirtad.worker.ledger import claiming, deliveries, looks, progress, receiving, revisions
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.rounds import Opened
from pirtad.worker.retention_settings import RetentionSettings
from pirtad.worker.settings import StorageSettings
from support.receiving import STUDY, Receiving, encoded, image
from support.shipping import write_object

PACS = "PACS"
DAY_S = 86_400.0


def send(side: Receiving, *numbers: int, study: str = STUDY) -> None:
    """A sender brings these images, and is told Success for each."""
    for number in numbers:
        content = encoded(image(number, study))
        assert side.receive(content, sop_instance_uid=f"{study}.2.{number}") == 0x0000


def close_round(side: Receiving, study: str = STUDY) -> tuple[Opened, str]:
    return receiving.open_job(side.database, study, side.clock.now)


def claim(database: Database, job_id: str, stage: Stage, now: float) -> ClaimedJob:
    claimed = claiming.claim(database, JobMessage(job_id, stage), "me", now, 1e9, lambda _owner: False)
    assert claimed is not None
    return claimed


def report(side: Receiving, job_id: str, used: Iterable[str], data_dir: Path, name: str = "2.25.1") -> None:
    """The workers do the job, and its one object is delivered."""
    now = side.clock.now
    prepare = claim(side.database, job_id, Stage.PREPARE, now)
    revisions.keep_used(side.database, prepare, used)
    progress.advance(side.database, prepare, Stage.DELIVER, now)
    deliver = claim(side.database, job_id, Stage.DELIVER, now)
    kept = write_object(data_dir, name)
    deliveries.keep(side.database, deliver, PACS, [kept])
    deliveries.mark_delivered(side.database, deliver, PACS, kept, 0x0000, now)
    progress.finish(side.database, deliver, PACS, now)


def reported(side: Receiving, data_dir: Path, *numbers: int, study: str = STUDY, name: str = "2.25.1") -> str:
    """A study with a delivered report, drafted from its first two images; the job's id."""
    send(side, *numbers, study=study)
    _, job_id = close_round(side, study)
    report(side, job_id, [f"{study}.2.{number}" for number in numbers[:2]], data_dir, name)
    return job_id


def failed(side: Receiving, *numbers: int, study: str = STUDY) -> str:
    """A study on the shelf; the job's id."""
    send(side, *numbers, study=study)
    _, job_id = close_round(side, study)
    prepare = claim(side.database, job_id, Stage.PREPARE, side.clock.now)
    progress.shelve(side.database, prepare, JobState.FAILED, "code", "why", "hint", side.clock.now)
    return job_id


def look(side: Receiving, *used: int, study: str = STUDY) -> None:
    """A worker looks at what is there, and takes these images for the pair."""
    seen = Seen(
        bool(used), Counts.MET, tuple(f"{study}.2.{number}" for number in used), frozenset({f"{study}.1"}), frozenset()
    )
    looks.keep_look(side.database, study, looks.files_of(side.database, study), seen, side.clock.now)


def retention(side: Receiving, data_dir: Path, **rule: float) -> Retention:
    """With a disk as full as `side.free_bytes` says."""
    return Retention(
        RetentionSettings(**rule), StorageSettings(data_dir=data_dir), side.database, side.clock,
        lambda: side.free_bytes,
    )  # fmt: skip

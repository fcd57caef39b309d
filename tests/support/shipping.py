"""Jobs at their last stage, with small objects on disk, and destinations that do as a test says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from pirtad.worker.commitment import Reference, Report, Request
from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.courier import Courier
from pirtad.worker.deliver import Outcome
from pirtad.worker.errors import DeliveryPending
from pirtad.worker.ledger import claiming, deliveries, progress, receiving, shipments
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.deliveries import KeptObject
from support.ledger import receive

T0 = 1000.0
AWAY = ("no-connection", "no TCP connection")


def write_object(data_dir: Path, sop_instance_uid: str, role: str = "narrative") -> KeptObject:
    """A small document on disk."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = BasicTextSRStorage, sop_instance_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.77", "2.25.78"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "PID", "Specimen^Ada", "SR"
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    path = data_dir / "results" / f"{sop_instance_uid}.dcm"
    path.parent.mkdir(exist_ok=True)
    dcmwrite(path, dataset, enforce_file_format=True)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return KeptObject(role, sop_instance_uid, digest, str(path.relative_to(data_dir)))


def claim(database: Database, job_id: str, now: float) -> ClaimedJob:
    """A worker takes the job's delivery up."""
    claimed = claiming.claim(database, JobMessage(job_id, Stage.DELIVER), "me", now, 1e9, lambda _: False)
    assert claimed is not None
    return claimed


def at_delivery(database: Database, study_uid: str = "1.2.840.99.1") -> ClaimedJob:
    """A claimed job at its last stage."""
    receive(database, 1, study_uid=study_uid)
    _, job_id = receiving.open_job(database, study_uid, 1.0)
    prepare = claiming.claim(database, JobMessage(job_id, Stage.PREPARE), "me", 2.0, 1e9, lambda _: False)
    assert prepare is not None
    progress.advance(database, prepare, Stage.DELIVER, 3.0)
    return claim(database, job_id, T0)


def load(database: Database, job: ClaimedJob, names: tuple[str, ...], *kept: KeptObject) -> dict[str, list[KeptObject]]:
    """The same objects for each of these destinations, on record."""
    for name in names:
        deliveries.keep(database, job, name, kept)
    return {name: list(kept) for name in names}


@dataclass
class Scripted:
    """A destination in the place of a `Target`: fails with what stands in `fails`, keeps what it was sent and asked."""

    name: str
    commitment: str = "off"
    fails: list[Exception] = field(default_factory=list)
    asking_fails: list[Exception] = field(default_factory=list)
    answers: Callable[[Request], Report] | None = None
    sent: list[bytes] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)
    longest_try_s: float = 1.0

    def send(self, path: Path, *, is_probe: bool) -> Outcome:
        if self.fails:
            raise self.fails.pop(0)
        again = path.read_bytes() in self.sent
        self.sent.append(path.read_bytes())
        return Outcome(0x0111 if again else 0x0000)

    def ask(self, request: Request, on_report: Callable[[Report], bool], is_answered: Callable[[], bool]) -> None:
        if self.asking_fails:
            raise self.asking_fails.pop(0)
        self.asked.append(request)
        if self.answers is not None:
            assert on_report(self.answers(request))
            assert is_answered()


def all_kept(request: Request) -> Report:
    return Report(request.transaction_uid, request.references)


def none_kept(request: Request, reason: int = 0x0112) -> Report:
    return Report(request.transaction_uid, (), dict.fromkeys(request.references, reason))


def reference(kept: KeptObject) -> Reference:
    return Reference(str(BasicTextSRStorage), kept.sop_instance_uid)


def pending(courier: Courier, job: ClaimedJob, loads: Any, now: float) -> DeliveryPending:
    """What an attempt that leaves a destination waiting raises."""
    with pytest.raises(DeliveryPending) as caught:
        courier.carry(job, loads, now)
    return caught.value


def share(database: Database, job: ClaimedJob, name: str) -> shipments.Share:
    """The job's share of that destination."""
    return shipments.open_shares(database, job, (name,))[name]

"""An engine that drafts one same report and a destination that stores it, for the tests of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from sqlalchemy import delete

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import Agreement
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.worker.deliver import Destination, Outcome
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.tables import Delivery, Shipment
from support.ledger import STUDY

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)  # more than any backoff
NO_COMMITMENT: dict[str, object] = {"commitment": "off"}
ROLES = {
    BasicTextSRStorage: "narrative",
    Comprehensive3DSRStorage: "measurements",
    SecondaryCaptureImageStorage: "picture",
    KeyObjectSelectionDocumentStorage: "retraction",
}
NOTE = "The ADC map was computed by pirtad from b 0 and 1000 s/mm2."
UNWEIGHTED, WEIGHTED, UNUSED = (f"{STUDY}.1.{number}" for number in (1, 2, 3))
MASK = np.arange(2 * 3 * 5).reshape(2, 3, 5) % 7 == 0
NETWORK_INPUT = NetworkInput(np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, bool), np.eye(4))
PREPARED = Prepared(NETWORK_INPUT, Registry(), 1000.0, (WEIGHTED,), (UNWEIGHTED, WEIGHTED), True, (NOTE,))


class Drafting:
    """An engine that drafts one same report, with the notes of the study it is given."""

    def draft(self, prepared: Prepared) -> tuple[Report, Analysis]:
        finding = "There is mild diffusion restriction."
        agreed = Agreement(Territory.ANTERIOR, Territory.ANTERIOR, None, ())
        report = Report(
            territory=Territory.ANTERIOR,
            clinical_presentation="Weakness.",
            nihss="7",
            past_medical_history="None.",
            findings=finding,
            impression="Acute infarction.",
            similar=(SimilarCase("c-1", 0.9, Territory.ANTERIOR, finding),),
            provenance=Provenance("vit", "a" * 64, "1", "b" * 64, "lm", "c" * 64, "d" * 64, "0.1.0"),
            image_notes=prepared.image_notes,
        )
        return report, Analysis({}, report.similar, None, None, MASK, agreed)


@dataclass
class Peer:
    """A destination that stores what it is sent, but for the roles that it answers with an error or dies at."""

    sent: list[tuple[str, Path, bytes]] = field(default_factory=list)
    fails: dict[str, BaseException] = field(default_factory=dict)

    def send(self, path: Path, _destination: Destination) -> Outcome:
        role = ROLES[dcmread(path, stop_before_pixels=True).SOPClassUID]
        if role in self.fails:
            raise self.fails[role]
        again = any(path == earlier for _, earlier, _ in self.sent)
        self.sent.append((role, path, path.read_bytes()))
        return Outcome(0x0111 if again else 0x0000)

    def roles(self) -> list[str]:
        return [role for role, *_ in self.sent]


def write_image(path: Path, sop_instance_uid: str, series: int) -> None:
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = MRImageStorage, sop_instance_uid
    image.StudyInstanceUID, image.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    image.PatientID, image.PatientName, image.SeriesNumber = "PID-1", "Specimen^Ada", series
    image.ensure_file_meta()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, image, enforce_file_format=True)


def forget_deliveries(database: Database) -> None:
    """As if nothing had been delivered: another draft may be made."""
    with database.transaction() as session:
        session.execute(delete(Delivery))
        session.execute(delete(Shipment))

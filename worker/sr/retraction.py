"""The withdrawal of a result that was sent: a Key Object Selection Document as IHE IOCM's rejection note (see ADR 11).

An archive that knows IOCM (IHE Radiology TF, Imaging Object Change Management) hides what the note references; any
other still shows a reader the note, its title and the reason. Nothing is deleted by it.

Sources: PS3.3 A.35.4 (IOD), C.17.6.1 and C.17.6.2 (series and document modules); PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from highdicom.ko import KeyObjectSelection
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from pirtad.inference.report.report import Provenance
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.equipment import add_general_equipment, contributing_equipment, device_observer
from pirtad.worker.sr.evidence import Reference, evidence_items
from pirtad.worker.sr.header import add_series_and_sop, composed_at, finished
from pirtad.worker.sr.identity import SERIES_NUMBER, SrIdentity, derive_uid
from pirtad.worker.sr.source import SourceStudy, copy_patient_and_study, request_items

RETRACTION_SERIES_NUMBER = SERIES_NUMBER + 2  # chosen: behind the report's and the picture's
SERIES_DESCRIPTION = "AI DRAFT WITHDRAWN"
_FORBIDDEN_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # PS3.5 6.1.3, as in the narrative
_NEW_LINE = re.compile("\r\n|\r|\n")


class RejectionReason(StrEnum):
    """Why a result is withdrawn; it decides the title, and with it what an archive does.

    PATIENT_SAFETY: it is or may be wrong about the patient; IOCM archives never show it again.
    QUALITY: it is of no use, though not wrong; IOCM archives may show it to those who ask for rejected objects.
    """

    PATIENT_SAFETY = "patient safety"
    QUALITY = "quality"


_TITLES = {  # CID 7010
    RejectionReason.PATIENT_SAFETY: Code("113037", "DCM", "Rejected for Patient Safety Reasons"),
    RejectionReason.QUALITY: Code("113001", "DCM", "Rejected for Quality Reasons"),
}


def retraction_identity(
    rejected: Sequence[Reference], reason: RejectionReason, description: str, *, content_datetime: datetime
) -> SrIdentity:
    """Identity from what is withdrawn and why: asked twice, it is the same note."""
    facts = json.dumps([sorted(set(rejected)), reason, description])
    return SrIdentity(
        sop_instance_uid=derive_uid("instance", "retraction", facts),
        series_instance_uid=derive_uid("series", "retraction", facts),
        content_datetime=content_datetime,
        series_number=RETRACTION_SERIES_NUMBER,
    )


def compose_retraction(
    rejected: Sequence[Reference],
    source: SourceStudy,
    reason: RejectionReason,
    description: str,
    *,
    provenance: Provenance,
    identity: SrIdentity,
) -> Dataset:
    """The rejection note with its file meta information, ready for `pirtad.worker.sr.picture.serialise_object`.

    rejected: every object of the withdrawn result, as (study, series, SOP class, SOP instance) UIDs.
    source: the study that the result was about; patient and study are copied from it.
    description: the operator's own words, which the note's reader sees. provenance: of the withdrawn result.
    Pure. Raises `NonConformant` when nothing is rejected, no reason is told, or an object is of another study.
    """
    objects = list(dict.fromkeys(rejected))
    told = _NEW_LINE.sub("\r\n", _FORBIDDEN_CONTROL.sub(" ", description)).strip()
    if not objects or not all(all(reference) for reference in objects):
        raise NonConformant("retraction-empty", f"{len(objects)} objects are to be withdrawn, or one lacks a UID")
    if not told:
        raise NonConformant("retraction-reason", "a retraction needs a reason in words")
    if any(study != source.lead.StudyInstanceUID for study, *_ in objects):
        raise NonConformant("retraction-study", "an object to be withdrawn is not of the study that was given")
    dataset = Dataset()
    moment = composed_at(source, identity)
    copy_patient_and_study(source, dataset)
    add_series_and_sop(
        dataset, identity, moment,
        sop_class_uid=KeyObjectSelectionDocumentStorage, modality="KO", description=SERIES_DESCRIPTION,
    )  # fmt: skip
    add_general_equipment(dataset, provenance)
    dataset.ContributingEquipmentSequence = contributing_equipment(provenance, moment.strftime("%Y%m%d%H%M%S%z"))
    named = [_named(reference) for reference in objects]
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence_items(named)
    requests = request_items(source)
    if requests:
        dataset.ReferencedRequestSequence = requests
    content = KeyObjectSelection(
        document_title=CodedConcept.from_code(_TITLES[reason]),
        referenced_objects=named,
        observer_device_context=device_observer(provenance),
        description=told,
    )
    for element in content[0]:
        dataset.add(element)
    dataset.ContinuityOfContent = "SEPARATE"  # a list, not a text in parts
    return finished(dataset, source, provenance)


def _named(reference: Reference) -> Dataset:
    """The reference as a dataset; highdicom tells an image, whose value type is another, by its rows and columns."""
    named = Dataset()
    named.StudyInstanceUID, named.SeriesInstanceUID, named.SOPClassUID, named.SOPInstanceUID = reference
    if named.SOPClassUID == SecondaryCaptureImageStorage:
        named.Rows = named.Columns = 1
    return named

"""The withdrawal of a result that was sent: a Key Object Selection Document as IHE IOCM's rejection note (see ADR 11).

An archive that knows IOCM (IHE Radiology TF, Imaging Object Change Management) hides what the note references; any
other still shows a reader the note, its title and the reason. Nothing is deleted by it.

Patient, study and order are copied from the withdrawn objects themselves: the note is about exactly what the archive
has. No model had a part in it, so none is named as contributing equipment.

Sources: PS3.3 A.35.4 (IOD), C.17.6.1 and C.17.6.2 (series and document modules); PS3.16 TID 2010, CID 7010.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime

from highdicom.ko import KeyObjectSelection
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage, SecondaryCaptureImageStorage

from pirtad.inference.report.report import Provenance
from pirtad.worker.errors import NonConformant
from pirtad.worker.rejection import TITLES, RejectionReason
from pirtad.worker.sr.equipment import add_general_equipment, device_observer
from pirtad.worker.sr.evidence import Reference, evidence_items
from pirtad.worker.sr.header import add_series_and_sop, composed_at, finished
from pirtad.worker.sr.identity import SERIES_NUMBER, SrIdentity, derive_uid
from pirtad.worker.sr.source import SourceStudy, copied_element, copy_patient_and_study, quiet

RETRACTION_SERIES_NUMBER = SERIES_NUMBER + 2  # chosen: behind the report's and the picture's
SERIES_DESCRIPTION = "AI DRAFT WITHDRAWN"
_FORBIDDEN_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")  # PS3.5 6.1.3, as in the narrative
_NEW_LINE = re.compile("\r\n|\r|\n")


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


def reference_to(withdrawn: Dataset) -> Reference:
    """An object as the note names it; what it lacks is an empty string."""
    with quiet():
        study, series, sop_class, sop = (
            str(withdrawn.get(keyword, ""))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
        )
    return study, series, sop_class, sop


def compose_retraction(
    withdrawn: Sequence[Dataset],
    reason: RejectionReason,
    description: str,
    *,
    pirtad_version: str,
    identity: SrIdentity,
) -> Dataset:
    """The rejection note with its file meta information, ready for `pirtad.worker.sr.picture.serialise_object`.

    withdrawn: every delivered object of the result, pixels not needed; the first one's patient and study are copied.
    description: the operator's own words, which the note's reader sees. pirtad_version: of the program that withdraws.
    Pure. Raises `NonConformant` when nothing is withdrawn, no reason is told, or the objects are of more than one study
    or patient.
    """
    told = _NEW_LINE.sub("\r\n", _FORBIDDEN_CONTROL.sub(" ", description)).strip()
    if not told:
        raise NonConformant("retraction-reason", "a retraction needs a reason in words")
    objects = list(dict.fromkeys(map(reference_to, withdrawn)))
    if not objects or not all(all(reference) for reference in objects):
        raise NonConformant("retraction-empty", f"{len(objects)} objects are to be withdrawn, or one lacks a UID")
    # What holds the images of a result together holds its objects together: one study, one patient.
    source = SourceStudy(dwi=withdrawn, adc=withdrawn, adc_is_computed=True)
    maker = _maker(pirtad_version)
    dataset = Dataset()
    copy_patient_and_study(source, dataset)
    add_series_and_sop(
        dataset, identity, composed_at(source, identity),
        sop_class_uid=KeyObjectSelectionDocumentStorage, modality="KO", description=SERIES_DESCRIPTION,
    )  # fmt: skip
    add_general_equipment(dataset, maker)
    named = [_named(reference) for reference in objects]
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence_items(named)
    orders = (copied_element(one, "ReferencedRequestSequence") for one in withdrawn)
    order = next((one for one in orders if one is not None), None)
    if order is not None:
        dataset.add(order)
    title = TITLES[reason]
    content = KeyObjectSelection(
        document_title=CodedConcept(title.code, "DCM", title.meaning),
        referenced_objects=named,
        observer_device_context=device_observer(maker),
        description=told,
    )
    for element in content[0]:
        dataset.add(element)
    dataset.ContinuityOfContent = "SEPARATE"  # a list, not a text in parts
    return finished(dataset, source, maker)


def _maker(pirtad_version: str) -> Provenance:
    """This program as a device by itself, without the models that made the result."""
    return Provenance(
        encoder_name="", encoder_sha256="", preprocessing_version="", case_base_sha256="",
        language_model="", language_model_digest="", prompt_sha256="", pirtad_version=pirtad_version,
    )  # fmt: skip


def _named(reference: Reference) -> Dataset:
    """The reference as a dataset; highdicom tells an image, whose value type is another, by its rows and columns."""
    named = Dataset()
    named.StudyInstanceUID, named.SeriesInstanceUID, named.SOPClassUID, named.SOPInstanceUID = reference
    if named.SOPClassUID == SecondaryCaptureImageStorage:
        named.Rows = named.Columns = 1
    return named

"""The header that every SR document of a result has, and what finishes any object: time zone, character set, file meta.

Sources: PS3.3 C.17.1 (SR Document Series), C.17.2 (SR Document General), C.12.1 (SOP Common).
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import ExplicitVRLittleEndian

from pirtad.inference.report.report import DRAFT_MARK, Provenance, Report
from pirtad.inference.report.wording import NO_RELIABLE_DRAFT
from pirtad.worker.sr import charset, codes
from pirtad.worker.sr.check import check
from pirtad.worker.sr.equipment import (
    IMPLEMENTATION_CLASS_UID,
    add_general_equipment,
    contributing_equipment,
    implementation_version_name,
)
from pirtad.worker.sr.evidence import evidence_items, predecessor_items
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.source import SourceStudy, copy_patient_and_study, request_items


def document_header(report: Report, source: SourceStudy, *, identity: SrIdentity, sop_class_uid: str) -> Dataset:
    """A document without its content; `closed` makes it whole. Raises `NonConformant`."""
    dataset = Dataset()
    moment = composed_at(source, identity)
    copy_patient_and_study(source, dataset)
    add_series_and_sop(dataset, identity, moment, sop_class_uid=sop_class_uid, modality="SR", description=DRAFT_MARK)
    add_general_equipment(dataset, report.provenance)
    _add_document(dataset, report, source, identity)
    dataset.ContributingEquipmentSequence = contributing_equipment(report.provenance, moment.strftime("%Y%m%d%H%M%S%z"))
    return dataset


def closed(dataset: Dataset, report: Report, source: SourceStudy) -> Dataset:
    """The same dataset with the character set that carries its text and its file meta information, checked.

    Raises `NonConformant`.
    """
    finished(dataset, source, report.provenance)
    check(dataset, source=source)
    return dataset


def finished(dataset: Dataset, source: SourceStudy, provenance: Provenance) -> Dataset:
    """The same dataset with time zone, the character set that carries its text, and file meta information."""
    offset = source.utc_offset()
    if offset is not None:
        dataset.TimezoneOffsetFromUTC = offset
    terms = charset.choose(charset.declared(source.lead), dataset)
    if terms:
        dataset.SpecificCharacterSet = terms[0] if len(terms) == 1 else list(terms)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = implementation_version_name(provenance)
    dataset.file_meta = meta
    return dataset


def composed_at(source: SourceStudy, identity: SrIdentity) -> datetime:
    """The moment in the source's time zone, which TimezoneOffsetFromUTC says of all dates and times in the object."""
    offset = source.utc_offset()
    if offset is None:
        return identity.content_datetime
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    return identity.content_datetime.astimezone(zone)


def add_series_and_sop(
    dataset: Dataset, identity: SrIdentity, moment: datetime, *, sop_class_uid: str, modality: str, description: str
) -> None:
    """Series and SOP Common of a document: what it is of, when, and as which instance."""
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    dataset.Modality = modality
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.SeriesNumber = identity.series_number
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.SeriesDescription = description
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence([])  # type 2: no MPPS
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceNumber = identity.instance_number
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time


def _add_document(dataset: Dataset, report: Report, source: SourceStudy, identity: SrIdentity) -> None:
    """SR Document General (C.17.2): complete as a draft, partial where there is none; read by nobody yet."""
    dataset.CompletionFlag = "COMPLETE" if report.is_draft else "PARTIAL"
    if not report.is_draft:
        dataset.CompletionFlagDescription = NO_RELIABLE_DRAFT
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence_items(source.images())
    dataset.PerformedProcedureCodeSequence = DicomSequence([])  # type 2
    requests = request_items(source)
    if requests:
        dataset.ReferencedRequestSequence = requests
    if identity.predecessor is not None:
        dataset.PredecessorDocumentsSequence = predecessor_items(identity.predecessor)
    scheme = Dataset()  # C.12.1: what the private designator means
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeName = "pirtad report headings"
    scheme.CodingSchemeResponsibleOrganization = "pirtad"
    dataset.CodingSchemeIdentificationSequence = [scheme]

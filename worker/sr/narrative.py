"""A drafted report as a DICOM Basic Text SR document that every PACS shows: see ADR 6.

Sources: PS3.3 A.35.1 (Basic Text SR IOD), C.17.1 to C.17.3 (SR modules), C.12.1 (SOP Common); PS3.16 TID 2000.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian

from pirtad.inference.report.report import DRAFT_MARK, Report
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
from pirtad.worker.sr.tree import content_tree


def compose_narrative(report: Report, source: SourceStudy, *, identity: SrIdentity) -> Dataset:
    """The report as a Basic Text SR dataset with its file meta information, checked and ready for `serialise`.

    Pure: the same arguments give the same dataset. Raises `NonConformant`.
    """
    dataset = Dataset()
    composed_at = _composed_at(source, identity)
    copy_patient_and_study(source, dataset)
    _add_series_and_sop(dataset, identity, composed_at)
    add_general_equipment(dataset, report.provenance)
    _add_document(dataset, source, identity, composed_at)
    dataset.ContributingEquipmentSequence = contributing_equipment(
        report.provenance, composed_at.strftime("%Y%m%d%H%M%S%z")
    )
    for element in content_tree(report, source):
        dataset.add(element)
    _add_character_set(dataset, source)
    dataset.file_meta = _file_meta(report, identity)
    check(dataset, source=source)
    return dataset


def _composed_at(source: SourceStudy, identity: SrIdentity) -> datetime:
    """The moment in the source's time zone, which TimezoneOffsetFromUTC says of all dates and times in the object."""
    offset = source.utc_offset()
    if offset is None:
        return identity.content_datetime
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    zone = timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes))
    return identity.content_datetime.astimezone(zone)


def _add_series_and_sop(dataset: Dataset, identity: SrIdentity, composed_at: datetime) -> None:
    date, time = composed_at.strftime("%Y%m%d"), composed_at.strftime("%H%M%S")
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = identity.series_instance_uid
    dataset.SeriesNumber = identity.series_number
    dataset.SeriesDate, dataset.SeriesTime = date, time
    dataset.SeriesDescription = DRAFT_MARK
    dataset.ReferencedPerformedProcedureStepSequence = DicomSequence([])  # type 2: no MPPS
    dataset.SOPClassUID = BasicTextSRStorage
    dataset.SOPInstanceUID = identity.sop_instance_uid
    dataset.InstanceNumber = identity.instance_number
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time


def _add_document(dataset: Dataset, source: SourceStudy, identity: SrIdentity, composed_at: datetime) -> None:
    """SR Document General (C.17.2): complete as a draft, read by nobody yet."""
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.CurrentRequestedProcedureEvidenceSequence = evidence_items(source.images())
    dataset.PerformedProcedureCodeSequence = DicomSequence([])  # type 2
    requests = request_items(source)
    if requests:
        dataset.ReferencedRequestSequence = requests
    if identity.predecessor is not None:
        dataset.PredecessorDocumentsSequence = predecessor_items(identity.predecessor)
    offset = source.utc_offset()
    if offset is not None:
        dataset.TimezoneOffsetFromUTC = offset
    scheme = Dataset()  # C.12.1: what the private designator means
    scheme.CodingSchemeDesignator = codes.PRIVATE_SCHEME
    scheme.CodingSchemeName = "pirtad report headings"
    scheme.CodingSchemeResponsibleOrganization = "pirtad"
    dataset.CodingSchemeIdentificationSequence = [scheme]


def _add_character_set(dataset: Dataset, source: SourceStudy) -> None:
    terms = charset.choose(charset.declared(source.lead), dataset)
    if terms:
        dataset.SpecificCharacterSet = terms[0] if len(terms) == 1 else list(terms)


def _file_meta(report: Report, identity: SrIdentity) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = BasicTextSRStorage
    meta.MediaStorageSOPInstanceUID = identity.sop_instance_uid
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = implementation_version_name(report.provenance)
    return meta

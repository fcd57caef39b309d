"""A result's numbers and codes for machines, as a DICOM Comprehensive 3D SR document: see ADR 10.

Sources: PS3.3 A.35.13 (Comprehensive 3D SR IOD), C.17.3 (SR Document Content); PS3.16 TID 1500 "Measurement Report"
and the templates it includes; IHE AI Results.
"""

from __future__ import annotations

from highdicom.sr import (
    CodedConcept,
    ContentItem,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from pirtad.inference.report.report import DRAFT_MARK, NOT_ASSESSED, Report
from pirtad.worker.sr import codes
from pirtad.worker.sr.equipment import device_observer
from pirtad.worker.sr.header import closed, document_header
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.image_library import image_library
from pirtad.worker.sr.measurement_groups import measurement_groups
from pirtad.worker.sr.source import SourceStudy


def compose_measurements(report: Report, source: SourceStudy, *, identity: SrIdentity) -> Dataset:
    """The result as a Comprehensive 3D SR dataset with its file meta information, checked and ready for `serialise`.

    Pure: the same arguments give the same dataset. Raises `NonConformant`.
    """
    dataset = document_header(report, source, identity=identity, sop_class_uid=Comprehensive3DSRStorage)
    for element in _content(report, source, identity):
        dataset.add(element)
    return closed(dataset, report, source)


def _content(report: Report, source: SourceStudy, identity: SrIdentity) -> Dataset:
    """The root content item with everything below it: TID 1500, and comments that say what it is before anything."""
    (root,) = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device_observer(report.provenance)),
        procedure_reported=codes.MR_BRAIN,
        imaging_measurements=measurement_groups(report, source, identity),
        title=codes.MEASUREMENT_REPORT,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(
            CodedConcept.from_code(codes.ENGLISH)
        ),
    )
    *context, measurements = root.ContentSequence
    said = (
        DRAFT_MARK,
        report.caution(),
        *report.assessed,
        *report.beside_impression,
        NOT_ASSESSED,
        *report.abstained_because,
    )
    content: Dataset = root
    content.ContentSequence = [*context, *map(_comment, said), image_library(source), measurements]
    return content


def _comment(text: str) -> ContentItem:
    return TextContentItem(name=codes.COMMENT, value=text, relationship_type="CONTAINS")

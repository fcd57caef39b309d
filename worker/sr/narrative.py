"""A drafted report as a DICOM Basic Text SR document that every PACS shows: see ADR 6.

Sources: PS3.3 A.35.1 (Basic Text SR IOD), C.17.3 (SR Document Content); PS3.16 TID 2000.
"""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage

from pirtad.inference.report.report import Report
from pirtad.worker.sr.header import closed, document_header
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.source import SourceStudy
from pirtad.worker.sr.tree import content_tree


def compose_narrative(report: Report, source: SourceStudy, *, identity: SrIdentity) -> Dataset:
    """The report as a Basic Text SR dataset with its file meta information, checked and ready for `serialise`.

    Pure: the same arguments give the same dataset. Raises `NonConformant`.
    """
    dataset = document_header(report, source, identity=identity, sop_class_uid=BasicTextSRStorage)
    for element in content_tree(report, source):
        dataset.add(element)
    return closed(dataset, report, source)

"""Hierarchical references to SOP instances (PS3.3 table C.17-3, Hierarchical SOP Instance Reference Macro)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom.dataset import Dataset

from pirtad.worker.sr.identity import Predecessor

Reference = tuple[str, str, str, str]  # study, series, SOP class and SOP instance UID


def evidence_items(images: Iterable[Dataset]) -> list[Dataset]:
    """Items for CurrentRequestedProcedureEvidenceSequence: every image once, grouped by study and series."""
    return _items(
        (str(i.StudyInstanceUID), str(i.SeriesInstanceUID), str(i.SOPClassUID), str(i.SOPInstanceUID)) for i in images
    )


def predecessor_items(predecessor: Predecessor) -> list[Dataset]:
    """Items for PredecessorDocumentsSequence."""
    p = predecessor
    return _items([(p.study_instance_uid, p.series_instance_uid, p.sop_class_uid, p.sop_instance_uid)])


def references(items: Iterable[Dataset]) -> Iterator[Reference]:
    """The inverse of `evidence_items`; what an item lacks comes back as an empty string."""
    for study in items:
        for series in study.get("ReferencedSeriesSequence") or []:
            for sop in series.get("ReferencedSOPSequence") or []:
                yield (
                    str(study.get("StudyInstanceUID", "")),
                    str(series.get("SeriesInstanceUID", "")),
                    str(sop.get("ReferencedSOPClassUID", "")),
                    str(sop.get("ReferencedSOPInstanceUID", "")),
                )


def _items(wanted: Iterable[Reference]) -> list[Dataset]:
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for study_uid, series_uid, sop_class_uid, sop_uid in dict.fromkeys(wanted):
        sop = Dataset()
        sop.ReferencedSOPClassUID = sop_class_uid
        sop.ReferencedSOPInstanceUID = sop_uid
        studies.setdefault(study_uid, {}).setdefault(series_uid, []).append(sop)
    items = []
    for study_uid, all_series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study_uid
        item.ReferencedSeriesSequence = []
        for series_uid, sops in all_series.items():
            series = Dataset()
            series.SeriesInstanceUID = series_uid
            series.ReferencedSOPSequence = sops
            item.ReferencedSeriesSequence.append(series)
        items.append(item)
    return items

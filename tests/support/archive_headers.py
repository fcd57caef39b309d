"""A hospital's headers (SOOP, OpenNeuro ds004889, CC0) as header-only data sets.

dcm2niix wrote each as a JSON file next to the volume that it converted. What it keeps of the DICOM header is put back
under its DICOM name; times, which JSON has in seconds, are turned back into milliseconds. What it does not keep, b
values above all, is not invented.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset

from support.shared import shared_data

_KEPT = (
    *("Modality", "SoftwareVersions", "SeriesDescription", "ProtocolName", "SequenceName", "BodyPartExamined"),
    *("PatientPosition", "ImageComments", "MRAcquisitionType", "SliceThickness"),
    *("SpacingBetweenSlices", "FlipAngle", "EchoTrainLength", "PixelBandwidth", "NumberOfAverages"),
)
_LISTS = ("ScanningSequence", "SequenceVariant", "ScanOptions")
_SECONDS = ("EchoTime", "RepetitionTime", "InversionTime")
_MAKERS = {"Philips": "Philips Medical Systems", "GE": "GE MEDICAL SYSTEMS", "Siemens": "SIEMENS"}
_NAMES = ("SeriesDescription", "ProtocolName", "ImageComments", "PerformedProcedureStepDescription")


@dataclass(frozen=True)
class ArchiveRow:
    """path: the JSON's place in the archive. label: "trace", "adc" or "anatomy", by the folder and file it lies in."""

    path: str
    label: str
    header: Dataset

    def nameless(self) -> Dataset:
        """The header without anything in which people name a series."""
        blank = Dataset()
        blank.update({tag: self.header.get_item(tag) for tag in self.header.keys()})  # noqa: SIM118
        for keyword in _NAMES:
            if keyword in blank:
                setattr(blank, keyword, "")
        return blank


def archive_rows() -> Iterator[ArchiveRow]:
    """All 6860 rows; skips where the archive is absent."""
    with gzip.open(shared_data("soop/sidecars.jsonl.gz"), "rt") as lines:
        for line in lines:
            row = json.loads(line)
            path = row["_path"]
            label = "adc" if "_rec-ADC_" in path else "trace" if "_rec-TRACE_" in path else "anatomy"
            yield ArchiveRow(path, label, _header(row))


def _header(row: dict[str, object]) -> Dataset:
    header = Dataset()
    header.ImageType = row["ImageType"]
    header.Manufacturer = _MAKERS[str(row["Manufacturer"])]
    header.ManufacturerModelName = row["ManufacturersModelName"]
    for keyword in _KEPT:
        if keyword in row:
            setattr(header, keyword, row[keyword])
    if "ProcedureStepDescription" in row:
        header.PerformedProcedureStepDescription = row["ProcedureStepDescription"]
    for keyword in _LISTS:
        if keyword in row:
            setattr(header, keyword, str(row[keyword]).split("\\"))
    for keyword in _SECONDS:
        if keyword in row:
            setattr(header, keyword, float(str(row[keyword])) * 1000)
    header.ImageOrientationPatient = row["ImageOrientationPatientDICOM"]
    if "InternalPulseSequenceName" in row:
        block = header.private_block(0x0019, "GEMS_ACQU_01", create=True)
        block.add_new(0x9E, "LO", row["InternalPulseSequenceName"])
    return header

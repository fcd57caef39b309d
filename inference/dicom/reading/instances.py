"""One file to its instance and frames."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage

from pirtad.inference.dicom.attributes import MALFORMED, text
from pirtad.inference.dicom.frames import Frame, Instance, Layout
from pirtad.inference.dicom.identity import patient_identity
from pirtad.inference.dicom.meaning.diffusion import diffusion_of
from pirtad.inference.dicom.plain import plain_number, plain_text, plain_whole
from pirtad.inference.dicom.reading.grid import is_grid, unpack_grid
from pirtad.inference.dicom.reading.layouts import Place, Unpacked, unsupported
from pirtad.inference.dicom.reading.mosaic import is_mosaic, unpack_mosaic
from pirtad.inference.dicom.reading.multiframe import unpack_multi_frame
from pirtad.inference.dicom.reading.part10 import MR_IMAGES, read_header
from pirtad.inference.dicom.reading.planes import plane_of
from pirtad.inference.dicom.reading.scaling import scaling_of
from pirtad.inference.dicom.reading.usability import problem_of

_FUNCTIONAL_GROUPS = frozenset({EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
_MALFORMED = (*MALFORMED, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, eq=False)
class ReadFile:
    """An instance and the planes in its pixel data, by index, then by tile; none if it is no image."""

    instance: Instance
    frames: tuple[Frame, ...]


def read_file(path: Path) -> ReadFile | None:
    """Read one file's header; None for a DICOMDIR.

    Raises:
        StudyNotUsable: "unreadable_instance", see `read_header`.
    """
    read = read_header(path)
    if read is None:
        return None
    header = read.header
    syntax = plain_text(read.meta, "TransferSyntaxUID")
    unpacked = _unpack(header, read.has_pixels)
    problem = problem_of(header, syntax) or unpacked.problem
    instance = Instance(
        path=path,
        study_uid=plain_text(header, "StudyInstanceUID"),
        series_uid=plain_text(header, "SeriesInstanceUID"),
        sop_instance_uid=plain_text(header, "SOPInstanceUID"),
        sop_class_uid=plain_text(header, "SOPClassUID"),
        transfer_syntax_uid=syntax,
        modality=plain_text(header, "Modality").upper(),
        identity=patient_identity(header),
        description=text(header, "SeriesDescription") or text(header, "ProtocolName"),
        series_number=plain_number(header, "SeriesNumber") or 0.0,
        body_part=plain_text(header, "BodyPartExamined"),
        manufacturer=text(header, "Manufacturer"),
        layout=unpacked.layout,
        problem=problem,
    )
    return ReadFile(instance, tuple(_frames(instance, unpacked.places)))


def _unpack(header: Dataset, has_pixels: bool) -> Unpacked:
    sop_class = plain_text(header, "SOPClassUID")
    try:
        if not has_pixels:
            return Unpacked(Layout.SINGLE, ())
        if sop_class in _FUNCTIONAL_GROUPS:
            return unpack_multi_frame(header)
        if (plain_whole(header, "NumberOfFrames") or 1) > 1:
            return unsupported(Layout.SINGLE, header, "several frames in an image without functional groups")
        if sop_class in MR_IMAGES and is_mosaic(header):
            return unpack_mosaic(header)
        if sop_class in MR_IMAGES and is_grid(header):
            return unpack_grid(header)
    except _MALFORMED as error:
        # A private or nested value that cannot be parsed where the packing rests on it.
        return unsupported(Layout.SINGLE, header, f"its frames cannot be told apart ({type(error).__name__})")
    return Unpacked(Layout.SINGLE, (Place(0, None, plane_of(header), header),))


def _frames(instance: Instance, places: Iterable[Place]) -> Iterable[Frame]:
    described: Frame | None = None
    header: Dataset | None = None
    for place in places:
        # The tiles of an image share one header: it is read once.
        if described is None or place.header is not header:
            header = place.header
            described = Frame(
                instance=instance,
                index=place.index,
                tile=place.tile,
                diffusion=diffusion_of(header),
                plane=place.plane,
                scaling=scaling_of(header),
                temporal_position=_first_whole(header, "TemporalPositionIndex", "TemporalPositionIdentifier"),
                moment=moment_of(header),
                acquisition=_first_text(header, "FrameAcquisitionNumber", "AcquisitionNumber"),
            )
            yield described
        else:
            yield replace(described, index=place.index, tile=place.tile, plane=place.plane)


def moment_of(header: Dataset) -> str:
    """When a frame was acquired, so that text compares as time does: 'YYYYMMDDHHMMSS.ffffff', or 'HHMMSS.ffffff' where
    no date is stated, or "" where no time is. A UTC offset is left out: within a study it is one."""
    both = _first_text(header, "FrameAcquisitionDateTime", "AcquisitionDateTime")
    if found := _DATE_TIME.match(both):
        return f"{found[1]}.{(found[2] or '').ljust(6, '0')}"
    if found := _TIME.match(plain_text(header, "AcquisitionTime")):
        date = plain_text(header, "AcquisitionDate")
        return f"{date if _DATE.fullmatch(date) else ''}{found[1]}.{(found[2] or '').ljust(6, '0')}"
    return ""


# PS3.5 table 6.2-1, VR DT, TM and DA; whole seconds at least.
_DATE_TIME = re.compile(r"(\d{14})(?:\.(\d{1,6}))?")
_TIME = re.compile(r"(\d{6})(?:\.(\d{1,6}))?")
_DATE = re.compile(r"\d{8}")


def _first_text(header: Dataset, *keywords: str) -> str:
    return next((found for found in (plain_text(header, keyword) for keyword in keywords) if found), "")


def _first_whole(header: Dataset, *keywords: str) -> int | None:
    return next((found for found in (plain_whole(header, keyword) for keyword in keywords) if found is not None), None)

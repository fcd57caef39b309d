"""Files in, series out; pixel data is not read."""

from __future__ import annotations

import struct
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import MediaStorageDirectoryStorage, MRImageStorage

from pirtad.inference.dicom.attributes import number, text
from pirtad.inference.dicom.diffusion import Diffusion, Kind, b_values_in_name, diffusion_of, series_name
from pirtad.inference.errors import StudyNotUsable

_CANNOT_PARSE = (
    *(InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(NotImplementedError, struct.error, zlib.error, OverflowError, RecursionError),
)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_RESEND = "Send the study again from its source, then retry."


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance; `header` is everything before the pixel data."""

    path: Path
    sop_instance_uid: str
    transfer_syntax_uid: str
    diffusion: Diffusion
    header: Dataset = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Series:
    """The instances of one series, by SOP Instance UID, so that the order of arrival or of names never shows."""

    study_uid: str
    series_uid: str
    modality: str
    sop_class_uid: str
    description: str = field(repr=False)
    instances: tuple[Instance, ...] = field(repr=False)

    @property
    def kind(self) -> Kind:
        """The kind of all its images, or MIXED."""
        kinds = {instance.diffusion.kind for instance in self.instances}
        return kinds.pop() if len(kinds) == 1 else Kind.MIXED

    @property
    def b_values_s_per_mm2(self) -> tuple[float, ...]:
        """The distinct b values that its images state, ascending."""
        stated = (instance.diffusion.b_value_s_per_mm2 for instance in self.instances)
        return tuple(sorted({b_value for b_value in stated if b_value is not None}))

    @property
    def b_value(self) -> float | None:
        """The b value in s/mm2 of its diffusion-weighted images where they have one and the same, else None."""
        b_values = self.b_values_s_per_mm2
        return b_values[0] if len(b_values) == 1 else None


def read_series(paths: Iterable[Path]) -> list[Series]:
    """Read the headers of DICOM Part 10 files and group them; the result does not depend on the files' order.

    Raises:
        StudyNotUsable: "unreadable_instance" for a file that is no DICOM file, ends inside its header, or lacks one
            of the UIDs that say where it belongs. One lost image is reason enough to stop: what it was is unknown.

    A DICOMDIR describes other files and is passed over.
    """
    groups: dict[tuple[str, str, str, str], list[Instance]] = defaultdict(list)
    for path in paths:
        instance = _read(path)
        if instance is not None:
            header = instance.header
            groups[
                text(header, "StudyInstanceUID"),
                text(header, "SeriesInstanceUID"),
                text(header, "Modality").upper(),
                text(header, "SOPClassUID"),
            ].append(instance)
    made = [_series(key, instances) for key, instances in groups.items()]
    # As a reader knows them: by series number; UIDs break ties.
    return sorted(made, key=lambda one: (_series_number(one), one.series_uid, one.sop_class_uid, one.study_uid))


def _series(key: tuple[str, str, str, str], instances: list[Instance]) -> Series:
    ordered = sorted(instances, key=lambda instance: (instance.sop_instance_uid, instance.path.name))
    dwi = [instance for instance in ordered if instance.diffusion.kind is Kind.DWI]
    named = b_values_in_name(ordered[0].header)
    # A b value in the name counts only where no image states its own and the name speaks of exactly one.
    if dwi and len(named) == 1 and all(instance.diffusion.b_value_s_per_mm2 is None for instance in dwi):
        ordered = [_with_b_value(instance, named[0]) for instance in ordered]
    return Series(*key, series_name(ordered[0].header), tuple(ordered))


def _with_b_value(instance: Instance, b_value_s_per_mm2: float) -> Instance:
    if instance.diffusion.kind is not Kind.DWI:
        return instance
    return replace(instance, diffusion=replace(instance.diffusion, b_value_s_per_mm2=b_value_s_per_mm2))


def _series_number(series: Series) -> float:
    return number(series.instances[0].header, "SeriesNumber") or 0.0


def _read(path: Path) -> Instance | None:
    try:
        return _instance(path)
    except _CANNOT_PARSE as error:
        raise _unreadable(path, "", f"cannot be parsed as DICOM ({type(error).__name__})") from error


def _instance(path: Path) -> Instance | None:
    reached_pixels = False

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal reached_pixels
        # (7FE0,0001) and on: extended offsets, float and integer pixel data.
        reached_pixels = tag >= 0x7FE00001
        return reached_pixels

    with path.open("rb") as file:
        header = read_partial(file, stop_when=at_pixels)
    meta_cut = _cut_element(header.file_meta)
    sop_uid = "" if meta_cut else text(header.file_meta, "MediaStorageSOPInstanceUID")
    if text(header.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    cut = meta_cut or _cut_element(header)
    if cut:
        raise _unreadable(path, sop_uid, f"ends inside attribute {cut}")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not text(header, keyword):
            raise _unreadable(path, sop_uid, f"has no {keyword}")
    sop_uid = text(header, "SOPInstanceUID")
    if text(header, "SOPClassUID") == MRImageStorage and not reached_pixels:
        raise _unreadable(path, sop_uid, "ends before its pixel data")
    return Instance(
        path=path,
        sop_instance_uid=sop_uid,
        transfer_syntax_uid=text(header.file_meta, "TransferSyntaxUID"),
        diffusion=diffusion_of(header),
        header=header,
    )


def _cut_element(header: Dataset) -> str:
    """The tag of an element whose value is shorter than declared, or "". pydicom itself passes it over."""
    for tag in header.keys():  # noqa: SIM118 - iterating the dataset itself would convert every value
        raw = header.get_item(tag, keep_deferred=True)
        if not isinstance(raw, RawDataElement) or raw.value is None or raw.length == _UNDEFINED_LENGTH:
            continue
        if len(raw.value) < raw.length:
            return str(tag)
    return ""


def _unreadable(path: Path, sop_uid: str, what: str) -> StudyNotUsable:
    named = f"instance {sop_uid}" if sop_uid else f"file {path.name}"
    return StudyNotUsable("unreadable_instance", f"{named} {what}", _RESEND)

"""One DICOM Part 10 file (PS3.10 section 7) to its header; pixel data is not read."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MediaStorageDirectoryStorage,
    MRImageStorage,
)

from pirtad.inference.dicom.plain import plain_text
from pirtad.inference.dicom.reading.scan import PIXEL_TAGS, Scanned, Unscannable, scan
from pirtad.inference.errors import StudyNotUsable

MR_IMAGES = frozenset({MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage})
"""SOP classes whose pixels are used."""

CANNOT_PARSE = (
    *(InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(NotImplementedError, struct.error, zlib.error, OverflowError, RecursionError),
)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_FIRST_BYTES = 64 * 1024
"""Most classic headers end within; Siemens' take up to 200 kB, those of multi-frame objects some MB."""
_MOST_BYTES = 64 * 1024 * 1024
"""A longer header is left to pydicom, which reads piece by piece. Chosen."""


def read_header(path: Path) -> Scanned | None:
    """Everything before the pixel data; None for a DICOMDIR, which describes other files.

    Raises:
        StudyNotUsable: "unreadable_instance" for a file that is no DICOM file, ends inside its header, lacks one of
            the UIDs that say where it belongs, or is an MR image without pixels.
    """
    try:
        scanned = _scanned(path)
        # The walk has already refused what ends too early.
        return _checked(path, scanned, "") if scanned else _parsed(path)
    except OSError as error:
        if error.errno is not None:  # the disk's; pydicom's own say that nested items make no sense
            raise
        raise _unreadable(path, "", "cannot be parsed as DICOM") from error
    except CANNOT_PARSE as error:
        raise _unreadable(path, "", f"cannot be parsed as DICOM ({type(error).__name__})") from error


def _scanned(path: Path) -> Scanned | None:
    wanted = _FIRST_BYTES
    with path.open("rb", buffering=0) as file:
        content = file.read(wanted) or b""
        while True:
            whole = len(content) < wanted
            try:
                return scan(content, whole)
            except Unscannable:
                if whole or wanted >= _MOST_BYTES:
                    return None
            content += file.read(3 * wanted) or b""
            wanted *= 4


def _parsed(path: Path) -> Scanned | None:
    """The same with pydicom, which takes every byte order and much that is not quite right."""
    has_pixels = False

    def at_pixels(tag: int, vr: str | None, length: int) -> bool:
        nonlocal has_pixels
        has_pixels = tag >= PIXEL_TAGS
        return has_pixels

    with path.open("rb") as file:
        header = read_partial(file, stop_when=at_pixels)
    meta_cut = _cut_element(header.file_meta)
    if meta_cut:
        raise _unreadable(path, "", f"ends inside attribute {meta_cut}")
    return _checked(path, Scanned(header.file_meta, header, has_pixels), _cut_element(header))


def _checked(path: Path, read: Scanned, cut: str) -> Scanned | None:
    if plain_text(read.meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    if cut:
        sop_uid = plain_text(read.meta, "MediaStorageSOPInstanceUID")
        raise _unreadable(path, sop_uid, f"ends inside attribute {cut}")
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not plain_text(read.header, keyword):
            raise _unreadable(path, plain_text(read.meta, "MediaStorageSOPInstanceUID"), f"has no {keyword}")
    if plain_text(read.header, "SOPClassUID") in MR_IMAGES and not read.has_pixels:
        raise _unreadable(path, plain_text(read.header, "SOPInstanceUID"), "ends before its pixel data")
    return read


def _cut_element(dataset: Dataset) -> str:
    """The tag of an element whose value is shorter than declared, or "". pydicom itself passes it over."""
    for tag, raw in dataset.items():
        if not isinstance(raw, RawDataElement) or raw.value is None or raw.length == _UNDEFINED_LENGTH:
            continue
        if len(raw.value) < raw.length:
            return str(tag)
    return ""


def _unreadable(path: Path, sop_uid: str, what: str) -> StudyNotUsable:
    named = f"instance {sop_uid}" if sop_uid else f"file {path.name}"
    return StudyNotUsable("unreadable_instance", f"{named} {what}", "Send the study again from its source, then retry.")

"""One image file to its stored pixel values."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

from pirtad.inference.dicom.attributes import text, whole
from pirtad.inference.dicom.headers import Instance
from pirtad.inference.errors import StudyNotUsable

_UNDECODABLE = (
    *(InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, LookupError, AttributeError),
    *(NotImplementedError, RuntimeError, ArithmeticError, struct.error),
)


def stored_values(instance: Instance) -> NDArray[np.float64]:
    """Stored values of one uncompressed single-frame image, without rescale, as float64 (rows, columns).

    Raises:
        StudyNotUsable: "truncated_instance" when the file ends inside its pixel data, "undecodable_instance" when it
            cannot be decoded for another reason, "changed_instance" when it is no longer the file whose header was
            read. The text names the SOP Instance UID.
    """
    uid = instance.sop_instance_uid
    try:
        dataset = dcmread(instance.path)
    except _UNDECODABLE as error:
        raise _unusable("undecodable_instance", f"instance {uid} cannot be read ({type(error).__name__})") from error
    if text(dataset, "SOPInstanceUID") != uid:
        raise _unusable("changed_instance", f"the file of instance {uid} now holds another instance")
    rows, columns, bits = (whole(dataset, keyword) for keyword in ("Rows", "Columns", "BitsAllocated"))
    if not rows or not columns or not bits:
        raise _unusable("undecodable_instance", f"instance {uid} has no Rows, Columns or BitsAllocated")
    expected = rows * columns * bits // 8
    found = len(dataset.PixelData) if "PixelData" in dataset and dataset.PixelData is not None else 0
    if found < expected:
        raise _unusable("truncated_instance", f"instance {uid} has {found} of {expected} bytes of pixel data")
    try:
        values = np.asarray(dataset.pixel_array, dtype=np.float64)
    except _UNDECODABLE as error:
        raise _unusable("undecodable_instance", f"instance {uid} cannot be decoded ({type(error).__name__})") from error
    if values.shape != (rows, columns):
        raise _unusable("undecodable_instance", f"instance {uid} decodes to shape {values.shape}, not one grey image")
    return values


def _unusable(code: str, reason: str) -> StudyNotUsable:
    return StudyNotUsable(code, reason, "Send the series again from its source, then retry.")

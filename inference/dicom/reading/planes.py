"""Where one plane of pixels lies, as its header says it (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from pirtad.inference.dicom.frames import Plane, Problem
from pirtad.inference.dicom.geometry import COSINE_TOLERANCE
from pirtad.inference.dicom.plain import plain_numbers, plain_text, plain_whole


def plane_of(header: Dataset) -> Plane | Problem:
    """The plane of a whole image, or "broken_geometry" with what is missing."""
    return _plane(header, plain_numbers(header, "ImagePositionPatient", 3))


def plane_without_position(header: Dataset) -> Plane | Problem:
    """The same for an image whose position stands elsewhere; its own is set to zero."""
    return _plane(header, (0.0, 0.0, 0.0))


def no_plane(what: str) -> Problem:
    """The problem of a frame that has no place."""
    return Problem("broken_geometry", f"broken geometry: {what}")


def _plane(header: Dataset, position: tuple[float, ...] | None) -> Plane | Problem:
    rows, columns = plain_whole(header, "Rows"), plain_whole(header, "Columns")
    spacing = plain_numbers(header, "PixelSpacing", 2)
    orientation = plain_numbers(header, "ImageOrientationPatient", 6)
    if not rows or not columns or rows < 0 or columns < 0:
        return no_plane("an image without Rows or Columns")
    if spacing is None or min(spacing) <= 0:
        return no_plane("an image without usable PixelSpacing")
    if orientation is None or position is None:
        return no_plane("an image without usable ImageOrientationPatient or ImagePositionPatient")
    (a, b, c), (d, e, f) = orientation[:3], orientation[3:]
    lengths = (a * a + b * b + c * c) ** 0.5, (d * d + e * e + f * f) ** 0.5
    if max(abs(length - 1) for length in lengths) > COSINE_TOLERANCE or abs(a * d + b * e + c * f) > COSINE_TOLERANCE:
        return no_plane("ImageOrientationPatient is not two perpendicular unit vectors")
    cosines = np.array(orientation).reshape(2, 3)
    return Plane(
        (rows, columns),
        (spacing[0], spacing[1]),
        cosines,
        np.array(position),
        plain_text(header, "FrameOfReferenceUID"),
    )

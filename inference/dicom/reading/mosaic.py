"""Siemens mosaics: the slices of a volume as tiles of one square image, row by row.

The private CSA header says in which direction the tiles follow each other (SliceNormalVector): with or against the
normal of the image plane, by how the slices were numbered at the console. The image's own position is that of a slice
as large as the whole mosaic about the same centre (nibabel, "DICOM mosaics"), so that the first slice begins half the
difference further in.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from pirtad.inference.dicom.frames import Layout, Plane, Problem
from pirtad.inference.dicom.meaning.vendors.csa import csa_numbers, csa_octets, csa_tags
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements
from pirtad.inference.dicom.plain import plain_number, plain_texts
from pirtad.inference.dicom.reading.layouts import Place, Unpacked, tile_corners, unsupported
from pirtad.inference.dicom.reading.planes import plane_of

_PARALLEL = 1e-3
"""How far the CSA normal may be from the plane's, as a sine or a missing bit of cosine. Chosen, as for cosines."""
_MOST_TILES = 1024
"""Far more slices than any volume has. Chosen."""


def is_mosaic(header: Dataset) -> bool:
    """Whether ImageType calls it one."""
    return "MOSAIC" in {token.upper() for token in plain_texts(header, "ImageType")}


def unpack_mosaic(header: Dataset) -> Unpacked:
    """The slices of a mosaic. Its size, spacing and orientation are the header's, and so is what else it says."""
    private = PrivateElements(header)
    csa = csa_tags(csa_octets(private))
    count = _count(private, csa)
    plane = plane_of(header)
    if count is None:
        return unsupported(Layout.MOSAIC, header, "a mosaic that does not say how many slices it holds")
    side = math.isqrt(count - 1) + 1
    if isinstance(plane, Problem):
        return Unpacked(Layout.MOSAIC, (Place(0, None, plane, header),))
    if plane.size[0] % side or plane.size[1] % side:
        return unsupported(
            Layout.MOSAIC, header, f"a mosaic of {count} slices that does not divide into {side} by {side}"
        )
    spacing_mm = plain_number(header, "SpacingBetweenSlices")
    normal = _direction(csa, plane)
    if normal is None or spacing_mm is None or spacing_mm <= 0:
        lacks = "SpacingBetweenSlices" if normal is not None else "a usable SliceNormalVector in its CSA header"
        return unsupported(Layout.MOSAIC, header, f"a mosaic without {lacks}: its slices have no place")
    size = plane.size[0] // side, plane.size[1] // side
    first = (
        plane.position
        + plane.cosines[0] * plane.spacing_mm[1] * (plane.size[1] - size[1]) / 2
        + plane.cosines[1] * plane.spacing_mm[0] * (plane.size[0] - size[0]) / 2
    )
    return Unpacked(
        Layout.MOSAIC,
        tuple(
            Place(
                0,
                corner,
                Plane(
                    size,
                    plane.spacing_mm,
                    plane.cosines,
                    first + at * spacing_mm * normal,
                    plane.frame_of_reference_uid,
                ),
                header,
            )
            for at, corner in enumerate(tile_corners(plane.size, (side, side), count))
        ),
    )


def _count(private: PrivateElements, csa: dict[str, list[object]]) -> int | None:
    stated = [*private.numbers(0x0019, "SIEMENS MR HEADER", 0x0A, "US"), *csa_numbers(csa, "NumberOfImagesInMosaic")]
    if not stated or not stated[0].is_integer() or not 1 <= stated[0] <= _MOST_TILES:
        return None
    return int(stated[0])


def _direction(csa: dict[str, list[object]], plane: Plane) -> NDArray[np.float64] | None:
    """The unit vector (3,) from one tile to the next: the plane's normal or its opposite; None where not known."""
    stated = np.array(csa_numbers(csa, "SliceNormalVector"))
    if stated.shape != (3,):
        return None
    normal = np.cross(plane.cosines[0], plane.cosines[1])
    along = float(stated @ normal)
    if abs(abs(along) - 1) > _PARALLEL or np.linalg.norm(stated - along * normal) > 10 * _PARALLEL:
        return None
    return np.asarray(normal * np.sign(along))

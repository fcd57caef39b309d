"""United Imaging's "VFRAME": the slices of a volume as tiles of one image, each with a position of its own.

(0065,1050) is the number of slices, (0065,1051) a sequence with an item a slice: ImagePositionPatient, times. Tiles go
row by row over as many columns as the root of their number, rounded up, and no more rows than that takes: 20 slices of
64 x 64 make an image of 4 x 5 tiles, 256 x 320.
"""

from __future__ import annotations

import math

import numpy as np
from pydicom import Dataset, Sequence
from pydicom.values import convert_SQ

from pirtad.inference.dicom.frames import Layout, Plane, Problem
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements
from pirtad.inference.dicom.plain import plain_numbers, plain_text, plain_texts
from pirtad.inference.dicom.reading.layouts import Place, Unpacked, tile_corners, unsupported
from pirtad.inference.dicom.reading.planes import no_plane, plane_without_position

_CREATOR = "Image Private Header"


def is_grid(header: Dataset) -> bool:
    """Whether ImageType calls it one."""
    return "VFRAME" in {token.upper() for token in plain_texts(header, "ImageType")}


def unpack_grid(header: Dataset) -> Unpacked:
    """The slices of a grid; each shares the header, with the earliest of the slices' times where it has none itself."""
    private = PrivateElements(header)
    slices = _slices(header, private)
    count = private.numbers(0x0065, _CREATOR, 0x50, "DS")
    if not slices or (count and count[0] != len(slices)):
        stated = f"{count[0]:g}" if count else "no"
        return unsupported(Layout.GRID, header, f"a grid that states {stated} slices and the places of {len(slices)}")
    plane = plane_without_position(header)
    if isinstance(plane, Problem):
        return Unpacked(Layout.GRID, (Place(0, None, plane, header),))
    across = math.isqrt(len(slices) - 1) + 1
    down = -(-len(slices) // across)
    if plane.size[0] % down or plane.size[1] % across:
        why = f"a grid of {len(slices)} slices that does not divide into {down} by {across}"
        return unsupported(Layout.GRID, header, why)
    size = plane.size[0] // down, plane.size[1] // across
    flat = _with_time(header, slices)
    places = []
    for item, corner in zip(slices, tile_corners(plane.size, (down, across), len(slices)), strict=True):
        position = plain_numbers(item, "ImagePositionPatient", 3)
        if position is None:
            where: Plane | Problem = no_plane("a tile without usable ImagePositionPatient")
        else:
            where = Plane(size, plane.spacing_mm, plane.cosines, np.array(position), plane.frame_of_reference_uid)
        places.append(Place(0, corner, where, flat))
    return Unpacked(Layout.GRID, tuple(places))


def _slices(header: Dataset, private: PrivateElements) -> list[Dataset]:
    tag = private.find(0x0065, _CREATOR, 0x51)
    if tag is None:
        return []
    value = header[tag].value
    if isinstance(value, bytes):
        # What implicit VR leaves of an unknown attribute, and what UN holds: items in implicit VR (PS3.5 6.2.2 note 2).
        value = convert_SQ(value, True, True)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def _with_time(header: Dataset, slices: list[Dataset]) -> Dataset:
    if plain_text(header, "AcquisitionDateTime") or plain_text(header, "AcquisitionTime"):
        return header
    times = sorted(filter(None, (plain_text(item, "AcquisitionDateTime") for item in slices)))
    if not times:
        return header
    flat = Dataset(dict(header.items()))
    flat.set_original_encoding(*header.original_encoding, header.original_character_set)
    flat.AcquisitionDateTime = times[0]
    return flat

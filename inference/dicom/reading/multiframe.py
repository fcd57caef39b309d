"""Enhanced and Legacy Converted Enhanced MR: functional groups to one flat header a frame (PS3.3 C.7.6.16).

A frame's header is the image's own attributes, then what the shared, then what its per-frame functional groups say,
lifted out of their sequences, so that the rest of the program reads it as it reads a classic image:
    FrameType is put in place of ImageType, the MR Diffusion macro (C.8.13.5.9) at the top level,
    a Real World Value Mapping stays a sequence, as it is one in classic images,
    private macros are there both as they are and with their private attributes lifted.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import items
from pirtad.inference.dicom.frames import Layout
from pirtad.inference.dicom.plain import plain_texts, plain_whole
from pirtad.inference.dicom.reading.layouts import Place, Unpacked, unsupported
from pirtad.inference.dicom.reading.planes import plane_of

_Elements = dict[BaseTag, RawDataElement | DataElement]

_SHARED, _PER_FRAME = 0x52009229, 0x52009230
_LIFTED = (
    0x00189117,  # MR Diffusion
    0x00189226,  # MR Image Frame Type
    0x00209111,  # Frame Content
    0x00209113,  # Plane Position
    0x00209116,  # Plane Orientation
    0x00289110,  # Pixel Measures
    0x00289145,  # Pixel Value Transformation
    0x00189112,  # MR Timing and Related Parameters
    0x00189114,  # MR Echo
    0x00189119,  # MR Averages
    0x00189006,  # MR Imaging Modifier
    0x00209170,  # Unassigned Shared Converted Attributes
    0x00209171,  # Unassigned Per-Frame Converted Attributes
)
_KEPT = frozenset({0x00409096})  # Real World Value Mapping
_GRADIENT = 0x00189076  # Diffusion Gradient Direction, within MR Diffusion
_FRAME_TYPE, _IMAGE_TYPE = 0x00089007, 0x00080008


def unpack_multi_frame(header: Dataset) -> Unpacked:
    """Every frame of a multi-frame image.

    Frames without a usable place have a problem there; the whole image has one ("unsupported_layout") where its number
    of frames is not that of the per-frame items, since then nobody knows which item is whose.
    """
    frames = plain_whole(header, "NumberOfFrames")
    per_frame = list(items(header, "PerFrameFunctionalGroupsSequence"))
    flat = _Flat(header)
    for item in items(header, "SharedFunctionalGroupsSequence"):
        flat.lift(item)
    if frames is None or frames < 1 or frames != len(per_frame):
        stated = "no number of frames" if frames is None else f"{frames} frames"
        why = f"a multi-frame image with {stated} and functional groups for {len(per_frame)}"
        return unsupported(Layout.MULTI_FRAME, flat.dataset(), why)
    places = []
    for index, item in enumerate(per_frame):
        own = flat.copy()
        own.lift(item)
        dataset = own.dataset()
        places.append(Place(index, None, plane_of(dataset), dataset))
    return Unpacked(Layout.MULTI_FRAME, tuple(places))


class _Flat:
    """A header in the making."""

    def __init__(self, source: Dataset, elements: _Elements | None = None) -> None:
        self._source = source
        if elements is None:
            elements = {tag: element for tag, element in source.items() if tag not in {_SHARED, _PER_FRAME}}
        self._elements = elements

    def copy(self) -> _Flat:
        return _Flat(self._source, dict(self._elements))

    def dataset(self) -> Dataset:
        made = Dataset(self._elements)
        made.set_original_encoding(*self._source.original_encoding, self._source.original_character_set)
        frame_type = plain_texts(made, "FrameType")
        if frame_type:
            made[_IMAGE_TYPE] = DataElement(_IMAGE_TYPE, "CS", list(frame_type))
        return made

    def lift(self, groups: Dataset) -> None:
        """Add what one item of functional groups says; it wins over what is there already."""
        for tag in _LIFTED:
            for macro in _first(groups, tag):
                self._elements.update((at, element) for at, element in macro.items() if not at.is_private)
                self._lift_private(macro)
                for gradient in _first(macro, _GRADIENT):
                    self._elements.update(gradient.items())
        for tag in _KEPT:
            if tag in groups:
                self._elements[BaseTag(tag)] = groups.get_item(tag)
        self._lift_private(groups)
        for tag in [tag for tag in groups.keys() if tag.is_private]:  # noqa: SIM118 - the dataset itself would convert
            for macro in _first(groups, tag):
                self._lift_private(macro)

    def _lift_private(self, source: Dataset) -> None:
        """Add private elements, each in its creator's block here, which need not be the one it had there."""
        blocks = {tag: _text(element) for tag, element in source.items() if tag.is_private_creator}
        for tag, element in source.items():
            if not tag.is_private or tag.is_private_creator:
                continue
            creator = blocks.get(BaseTag(tag & 0xFFFF0000 | tag >> 8 & 0xFF))
            block = self._block(tag.group, creator) if creator else None
            if block is not None:
                moved = BaseTag(tag.group << 16 | block << 8 | tag & 0xFF)
                self._elements[moved] = _at(element, moved)

    def _block(self, group: int, creator: str) -> int | None:
        for block in range(0x10, 0x100):
            at = BaseTag(group << 16 | block)
            there = self._elements.get(at)
            if there is None:
                self._elements[at] = DataElement(at, "LO", creator)
                return block
            if _text(there) == creator:
                return block
        return None


def _first(dataset: Dataset, tag: int) -> Iterable[Dataset]:
    """The first item of a sequence, as a list of one or none."""
    if tag not in dataset:
        return []
    found = dataset.get_item(tag)
    if isinstance(found, RawDataElement) and found.VR not in {"SQ", None, "UN"}:
        return []
    return [item for item in dataset[tag].value[:1] if isinstance(item, Dataset)] if _is_sequence(dataset, tag) else []


def _is_sequence(dataset: Dataset, tag: int) -> bool:
    return dataset[tag].VR == "SQ" and dataset[tag].value is not None


def _text(element: RawDataElement | DataElement) -> str:
    value = element.value
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")).strip(" \0")


def _at(element: RawDataElement | DataElement, tag: BaseTag) -> RawDataElement | DataElement:
    if isinstance(element, RawDataElement):
        return element._replace(tag=tag)
    return DataElement(tag, element.VR, element.value)

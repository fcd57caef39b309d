"""Private elements by their creators, and the form in which every vendor's file hands over what it read.

A private element (gggg,xxee) belongs to the creator whose name stands in (gggg,00xx); which block xx it is, is up to
whoever wrote the file (PS3.5 section 7.8.1), and it may move when another system adds elements of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.tag import BaseTag

from pirtad.inference.dicom.attributes import raw_numbers, raw_texts
from pirtad.inference.dicom.kinds import Kind

MAX_PLAUSIBLE_B_S_PER_MM2 = 100_000.0
"""Beyond it, and below 0, a number is a placeholder: Philips fills unset floating point elements with 7.23e75, and
some writers use -1. Research gradients reach 30,000 (github.com/rordenlab/dcm2niix, issue 602)."""

_CREATORS_MASK, _CREATORS = 0x1FF00, 0x10000
"""Tags (odd group, 00xx), as bits of the tag."""
_USUAL_BLOCK = 0x10


@dataclass(frozen=True, slots=True)
class Stated:
    """What one source says about an image; None and "" where it says nothing.

    b_value_s_per_mm2: the b value the image was made with, from the attribute `b_source`.
    nominal_b_s_per_mm2: what was asked for, as told by a sequence's name or the protocol; rounded, so that it only
        counts where no b value is stated, or to see a contradiction.
    isotropic: True for a trace, False for a single direction; `shape_source` says it.
    direction: not normalised, None where it is missing or zero.
    diffusion: whether this is an image of a diffusion sequence at all; `diffusion_source` says it.
    kind: what the image is, where the source says it outright; `kind_source` says it.
    """

    b_value_s_per_mm2: float | None = None
    b_source: str = ""
    nominal_b_s_per_mm2: float | None = None
    nominal_source: str = ""
    isotropic: bool | None = None
    shape_source: str = ""
    direction: tuple[float, float, float] | None = None
    diffusion: bool | None = None
    diffusion_source: str = ""
    kind: Kind | None = None
    kind_source: str = ""


class PrivateElements:
    """The private elements of one header, found by creator, decoded by their known type."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._blocks: dict[tuple[int, str], list[int]] = {}
        self.groups: set[int] = set()
        for tag in dataset.keys():  # noqa: SIM118 -- iterating the data set itself converts every element
            if tag & _CREATORS_MASK == _CREATORS:
                creator = "".join(raw_texts(dataset, tag, "LO")[:1]).upper()
                self._blocks.setdefault((tag >> 16, creator), []).append(tag & 0xFF)
            elif tag & 0x10000:
                self.groups.add(tag >> 16)

    def made_by(self, beginning: str) -> bool:
        """Whether a creator's name begins so (upper case)."""
        return any(creator.startswith(beginning) for _, creator in self._blocks)

    def find(self, group: int, creator: str, element: int) -> BaseTag | None:
        """The tag under which the creator's element `element` (two hexadecimal digits) stands, or None.

        Anonymisers drop creators and keep their elements. Where nobody reserved the usual block of the group, it is
        taken for the creator's: the vendor's file asks only about headers of that manufacturer.
        """
        if group not in self.groups:
            return None
        for block in self._blocks.get((group, creator.upper()), ()):
            tag = BaseTag(group << 16 | block << 8 | element)
            if tag in self._dataset:
                return tag
        usual = BaseTag(group << 16 | _USUAL_BLOCK << 8 | element)
        return usual if BaseTag(group << 16 | _USUAL_BLOCK) not in self._dataset and usual in self._dataset else None

    def numbers(self, group: int, creator: str, element: int, vr: str) -> tuple[float, ...]:
        """All values as finite numbers; () where absent or malformed. `vr` is the element's documented type."""
        tag = self.find(group, creator, element)
        return raw_numbers(self._dataset, tag, vr) if tag is not None else ()

    def text(self, group: int, creator: str, element: int, vr: str = "LO") -> str:
        """The first value as text; "" where absent or malformed."""
        tag = self.find(group, creator, element)
        found = raw_texts(self._dataset, tag, vr) if tag is not None else ()
        return found[0] if found else ""

    def octets(self, group: int, creator: str, element: int) -> bytes:
        """The bytes of an element that is no text; b"" where absent."""
        tag = self.find(group, creator, element)
        if tag is None:
            return b""
        held = self._dataset.get_item(tag, keep_deferred=True)
        return held.value if held is not None and isinstance(held.value, bytes) else b""


def plausible_b(values: tuple[float, ...]) -> float | None:
    """The first value, if it can be a b value in s/mm2."""
    return values[0] if values and 0 <= values[0] <= MAX_PLAUSIBLE_B_S_PER_MM2 else None


def vector(values: tuple[float, ...]) -> tuple[float, float, float] | None:
    """Three numbers that make a direction, or None; -1 to 1 each, with 5 % for what scanners round."""
    if len(values) != 3 or not any(values) or any(abs(value) > 1.05 for value in values):
        return None
    return values[0], values[1], values[2]


def unit(direction: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """The direction with length 1; None for one too short to be a direction."""
    if direction is None:
        return None
    length = math.hypot(*direction)
    if length < 1e-3:
        return None
    x, y, z = (value / length for value in direction)
    return x, y, z

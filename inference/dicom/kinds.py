"""What an image is to diffusion imaging, as far as its header tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an image, or a whole series, is."""

    B0 = "b0"
    """No diffusion weighting (b up to `MAX_B0_S_PER_MM2`), part of a diffusion acquisition."""
    DIRECTION = "direction"
    """Weighted along a single gradient direction."""
    TRACE = "trace"
    """Isotropically weighted: the trace or the geometric mean of directions, made by the scanner."""
    DWI = "dwi"
    """Diffusion-weighted; the header does not say whether it is a trace or one direction."""
    ADC = "adc"
    """Map of the apparent diffusion coefficient."""
    EADC = "eadc"
    """Exponential ADC map: a ratio of images, no diffusivity."""
    EXPONENTIAL = "exponential"
    """Another exponential image of a diffusion acquisition."""
    CALCULATED_DWI = "calculated_dwi"
    """A diffusion-weighted image at a b value that was calculated and never acquired."""
    FA = "fa"
    COLOUR_FA = "colour_fa"
    TENSOR = "tensor"
    """Tensor elements, eigenvalues and what else a tensor fit leaves behind, its fitted b0 included."""
    PERFUSION = "perfusion"
    UNCLEAR = "unclear"
    """The header contradicts itself about what the image is; nothing is guessed."""
    OTHER = "other"
    MIXED = "mixed"
    """A series that holds images of several kinds; never of a single image."""


WEIGHTED = frozenset({Kind.DIRECTION, Kind.TRACE, Kind.DWI})
"""Kinds with a b value above `MAX_B0_S_PER_MM2`."""

MAX_B0_S_PER_MM2 = 20.0
"""b up to here counts as none: real headers state 0.001 to 0.004 (Philips) and 1.25 (UIH) for it. At b 20 tissue of
1e-3 mm2/s keeps 98 % of its signal. Chosen; see docs/adr/0002-choosing-dwi-and-adc.md."""
SAME_B_VALUE_S_PER_MM2 = 10.0
"""b values this close are one b value: scanners report the one they reached, not the one asked for."""


@dataclass(frozen=True, slots=True)
class Diffusion:
    """What one image's header says.

    b_value_s_per_mm2: None where it is not stated, or has no meaning for the kind. An unclear image keeps the b value
        that its header states without contradiction.
    direction: gradient direction as three numbers, normalised, in whatever frame the vendor uses: good for telling
        directions apart, not for geometry. None where not stated or none.
    inferred: told by silence or by the series' free-text name alone, not by an attribute: a b 0 image by either, a
        trace by its name, even where its b value is an attribute's. What an attribute calls a trace is not.
    because: the attribute that decided and what it says, e.g. "ImageType ADC", "SequenceName *ep_b1000t"; a free-text
        name is not quoted in full. For the table that `pirtad inspect` prints.
    """

    kind: Kind
    b_value_s_per_mm2: float | None = None
    direction: tuple[float, float, float] | None = None
    because: str = ""
    inferred: bool = False


def b_in_words(b_value_s_per_mm2: float) -> str:
    """A b value for people: whole, or with one decimal."""
    return f"{b_value_s_per_mm2:.1f}".removesuffix(".0")

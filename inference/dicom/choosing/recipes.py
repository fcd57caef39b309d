"""How a volume comes out of frames: as the scanner sent it, or computed. Headers decide; pixels come later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.choosing.layers import Layers
from pirtad.inference.dicom.frames import Frame
from pirtad.inference.dicom.geometry import SliceStack


@dataclass(frozen=True, slots=True, eq=False)
class _OfLayers:
    layers: Layers

    @property
    def stack(self) -> SliceStack:
        """Where the volume lies."""
        return self.layers.stack

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What it is made from."""
        return self.layers.frames


class AsSent(_OfLayers):
    """One frame a slice, its values as the scanner made them."""


class GeometricMean(_OfLayers):
    """A trace image: the geometric mean of images weighted along directions that cover space evenly.

    With one b value, that is S0 exp(-b trace(D)/3) wherever diffusion is Gaussian (Basser & Pierpaoli, J Magn Reson B
    111:209-219, 1996).
    """


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """The images of one b value: what an ADC fit takes one point of its line from.

    averaged: several unweighted images are averaged; weighted ones enter as their geometric mean.
    """

    b_value_s_per_mm2: float
    layers: Layers
    averaged: bool


@dataclass(frozen=True, slots=True, eq=False)
class AdcFit:
    """An ADC map: minus the slope of ln S over b (Stejskal & Tanner, J Chem Phys 42:288, 1965), by least squares over
    all levels; with two of them that is ln(S_low / S_high) / (b_high - b_low)."""

    levels: tuple[Level, ...]

    @property
    def stack(self) -> SliceStack:
        """Where the volume lies."""
        return self.levels[0].layers.stack

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What it is made from."""
        return tuple(frame for level in self.levels for frame in level.layers.frames)

    @property
    def b_values_s_per_mm2(self) -> tuple[float, ...]:
        """Of the levels, ascending."""
        return tuple(level.b_value_s_per_mm2 for level in self.levels)


Recipe = AsSent | GeometricMean | AdcFit

MIN_DIRECTIONS = 3
MIN_EVENNESS = 0.15
"""Least eigenvalue of the mean of g g^T over the directions g; 1/3 where they cover space evenly, 0 where they lie in
one plane. Chosen; see docs/adr/0002-choosing-dwi-and-adc.md."""


def why_no_trace(directions: Sequence[tuple[float, float, float] | None]) -> str | None:
    """Why the geometric mean over these gradient directions is no trace, or None if it is one."""
    if len(directions) < MIN_DIRECTIONS:
        return f"{len(directions)} gradient direction(s), at least {MIN_DIRECTIONS} are needed"
    known = np.array([one for one in directions if one is not None], dtype=np.float64).reshape(-1, 3)
    if len(known) < len(directions):
        return f"the directions of {len(directions) - len(known)} of {len(directions)} images are not stated"
    evenness = float(np.linalg.eigvalsh(_spread(known))[0])
    if evenness < MIN_EVENNESS:
        return f"{len(directions)} gradient directions that do not cover space (evenness {evenness:.2f} of 0.33)"
    times = _times_acquired(known)
    if times[0] != times[-1]:
        return f"some directions are there {times[0]} times, others {times[-1]} times"
    return None


SAME_AXIS_COSINE = 0.9998
"""Of about one degree: directions this close to a line are one. Chosen."""


def _times_acquired(directions: NDArray[np.float64]) -> list[int]:
    """How often each axis occurs among unit vectors (N, 3), ascending; a direction and its opposite are one axis."""
    same = np.abs(directions @ directions.T) >= SAME_AXIS_COSINE
    return sorted(int(times) for times in same.sum(axis=1))


def _spread(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of g g^T, float64 (3, 3), over unit vectors (N, 3)."""
    return np.asarray(directions.T @ directions / len(directions))

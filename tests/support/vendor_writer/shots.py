"""What a scanner makes of a head: volumes, each with its diffusion weighting."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.raster import Raster

_GOLDEN = (1 + 5**0.5) / 2
_LENGTH = (1 + _GOLDEN**2) ** 0.5
_A, _B = 1 / _LENGTH, _GOLDEN / _LENGTH

DIRECTIONS = {
    3: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    6: ((0.0, _A, _B), (0.0, -_A, _B), (_A, _B, 0.0), (-_A, _B, 0.0), (_B, 0.0, _A), (_B, 0.0, -_A)),
}
"""Even sets: the mean of (g . v)^2 over a set is 1/3 for every unit vector v."""


class Role(StrEnum):
    """What a volume is."""

    B0 = "b0"
    DIRECTION = "direction"
    TRACE = "trace"
    ADC = "adc"


@dataclass(frozen=True)
class Shot:
    """One volume.

    b_value: None for ADC maps. number: 1-based, of the direction; repeat: of the acquisition. moment, position: its
    1-based acquisition number, also its second, and its temporal position; None where no header says it. undeclared:
    no header says along which direction.
    """

    role: Role
    b_value: float | None = None
    direction: tuple[float, float, float] | None = None
    number: int = 1
    repeat: int = 1
    moment: int | None = 1
    position: int | None = None
    undeclared: bool = False

    def values(self, anatomy: Anatomy, where: Raster) -> NDArray[np.float64]:
        """True values (slices, rows, columns): signal, or mm2/s for a map."""
        points = where.points()
        if self.role is Role.ADC:
            return anatomy.adc(points)
        if self.direction is not None:
            return anatomy.weighted(points, self.b_value or 0.0, self.direction)
        return anatomy.trace(points, self.b_value or 0.0)


def raw_shots(b_values: tuple[float, ...], directions: int) -> list[Shot]:
    """b0 and single directions at every b value above 0."""
    shots = [Shot(Role.B0, 0.0)]
    for b_value in b_values:
        shots += [
            Shot(Role.DIRECTION, b_value, direction, number)
            for number, direction in enumerate(DIRECTIONS[directions], start=1)
        ]
    return shots


def trace_shots(b_values: tuple[float, ...], *, with_b0: bool) -> list[Shot]:
    """The traces that a scanner computes itself, with or without the b0 among them."""
    return [Shot(Role.B0, 0.0)] * with_b0 + [Shot(Role.TRACE, b_value) for b_value in b_values]


def repeated(shots: list[Shot], times: int) -> tuple[Shot, ...]:
    """The same volumes, acquired several times over."""
    return tuple(replace(shot, repeat=repeat) for repeat in range(1, times + 1) for shot in shots)

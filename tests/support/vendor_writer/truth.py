"""Whether an assembled pair shows the head it was made of, voxel by voxel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.volume import DiffusionPair, Volume
from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.study import points_of

ADC_TOLERANCE_MM2_PER_S = 0.02e-3
"""A fluid voxel's signal at b 2000 is about 28, so that rounding is 2 %, or 0.01e-3 mm2/s. Marks differ by far more."""
SIGNAL_TOLERANCE = 0.02
"""Of the brain's mean signal."""


def assert_pair_shows(pair: DiffusionPair, anatomy: Anatomy, b_values: tuple[float, ...]) -> None:
    """The DWI is the trace of an acquired b value within limits (to one factor all over), the map is the true ADC."""
    fault = fault_of(pair, anatomy, b_values)
    assert not fault, fault


def fault_of(pair: DiffusionPair, anatomy: Anatomy, b_values: tuple[float, ...]) -> str:
    """What is wrong with a pair; "" if nothing is. b_values: those acquired, in s/mm2."""
    usable = [b_value for b_value in b_values if 800.0 <= b_value <= 1500.0]
    if not any(abs(pair.b_value_s_per_mm2 - b_value) < 10.0 for b_value in usable):
        return f"b value {pair.b_value_s_per_mm2} was not acquired or is out of range"
    nearest = min(usable, key=lambda b_value: abs(b_value - pair.b_value_s_per_mm2))
    dwi, points = pair.dwi.array.astype(np.float64), _points(pair.dwi)
    truth = anatomy.trace(points, nearest)
    inside = anatomy.steady(points)
    if inside.sum() < 1000:
        return "the DWI does not cover the brain"
    factor = float((dwi[inside] * truth[inside]).sum() / (truth[inside] ** 2).sum())
    worst = np.abs(dwi - factor * truth)[inside].max() / (factor * truth[inside].mean())
    if not (factor > 0 and worst < SIGNAL_TOLERANCE):
        return f"the DWI is not the trace of b {nearest:g}: off by {worst:.1%}"
    points = _points(pair.adc_mm2_per_s)
    inside = anatomy.steady(points)
    if inside.sum() < 1000:
        return "the ADC map does not cover the brain"
    off = np.abs(pair.adc_mm2_per_s.array.astype(np.float64) - anatomy.adc(points))[inside].max()
    if not off < ADC_TOLERANCE_MM2_PER_S:
        return f"the ADC map is off by {off:.3g} mm2/s"
    return ""


def _points(volume: Volume) -> NDArray[np.float64]:
    i, j, k = volume.array.shape
    return points_of((i, j, k), volume.affine)

"""What differs between healthy brains and scanners that the simulator's one template does not show.

Found by looking at what the network took for infarcts in healthy volunteers of three makers: a cerebellum brighter
than the cerebrum, white matter with an ADC of 0.55e-3 mm2/s, signal piled up above the orbits to three times normal, a
scan of 64 mm. None of them is an infarct: the change is wide, or the same on both sides, or leaves the ADC alone.
Everything works on the list of a brain's voxels and keeps what stands out against its surroundings.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.preprocess.grid import SHAPE, SPACING_MM
from pirtad.inference.preprocess.scale import ADC_CEILING, DWI_CEILING
from pirtad.inference.training.voxels import BrainVoxels

_SPACING = np.asarray(SPACING_MM, dtype=np.float32)
_LEAST_OF_LESION = 0.7


def vary_anatomy(case: BrainVoxels, rng: np.random.Generator) -> BrainVoxels:
    """The same case with another scanner's and another healthy brain's habits; the class stays."""
    if rng.random() < 0.2:
        case = _slab(case, rng)
    where_mm = case.place * _SPACING
    dwi, adc = case.dwi.copy(), case.adc.copy()
    adc *= np.float32(rng.uniform(0.76, 1.15))
    for _ in range(int(rng.integers(0, 4))):
        _wide_region(where_mm, dwi, adc, rng)
    if rng.random() < 0.5:
        _posterior_fossa(where_mm, dwi, adc, rng)
    for _ in range(int(rng.integers(0, 5))):
        _both_sides(where_mm, dwi, adc, rng)
    for _ in range(int(rng.choice(4, p=(0.35, 0.3, 0.2, 0.15)))):
        _pile_up(where_mm, dwi, adc, rng)
    dwi /= np.median(dwi)
    return dataclasses.replace(case, dwi=dwi.clip(1e-3, DWI_CEILING), adc=adc.clip(0, ADC_CEILING))


def _slab(case: BrainVoxels, rng: np.random.Generator) -> BrainVoxels:
    """Only 60 to 120 mm along the body were scanned; the grid is centred on what is left, as preprocessing does."""
    height = case.place[:, 2]
    depth = int(rng.integers(15, 31))
    low, high = int(height.min()), int(height.max())
    if high - low <= depth:
        return case
    start = int(rng.integers(low, high - depth + 1))
    kept = (height >= start) & (height < start + depth)
    whole = int(case.lesion.sum())
    if not kept.any() or case.lesion[kept].sum() < _LEAST_OF_LESION * whole:
        return case
    place = case.place[kept].copy()
    middle = (np.asarray(SHAPE) - 1) / 2
    place += np.rint(middle - place.mean(axis=0)).astype(np.int16)
    inside = ((place >= 0) & (place < np.asarray(SHAPE, dtype=np.int16))).all(axis=1)
    return dataclasses.replace(
        case,
        place=place[inside],
        dwi=case.dwi[kept][inside],
        adc=case.adc[kept][inside],
        lesion=case.lesion[kept][inside],
        territories=case.territories[kept][inside],
    )


def _bump(where_mm: NDArray[np.float32], centre_mm: NDArray[np.float32], width_mm: float) -> NDArray[np.float32]:
    """A Gaussian of height 1, float32 (N,)."""
    squared = ((where_mm - centre_mm) ** 2).sum(axis=1)
    return np.asarray(np.exp(-0.5 * squared / np.float32(width_mm**2), dtype=np.float32))


def _somewhere(where_mm: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    return np.asarray(where_mm[int(rng.integers(len(where_mm)))], dtype=np.float32)


def _wide_region(
    where_mm: NDArray[np.float32], dwi: NDArray[np.float32], adc: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Coil sensitivity that was not corrected, and lobes that differ; 25 to 60 mm wide."""
    weight = _bump(where_mm, _somewhere(where_mm, rng), rng.uniform(25, 60))
    dwi *= np.exp(np.float32(rng.uniform(-0.35, 0.4)) * weight)
    adc *= np.exp(np.float32(rng.uniform(-0.18, 0.10)) * weight)


def _posterior_fossa(
    where_mm: NDArray[np.float32], dwi: NDArray[np.float32], adc: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Cerebellum and brainstem brighter, and their ADC lower, than those of the cerebrum."""
    low, high = where_mm.min(axis=0), where_mm.max(axis=0)
    share = (where_mm - low) / np.maximum(high - low, 1)
    # The tentorium rises from back to front; k ascends to superior, j to posterior.
    below = rng.uniform(0.28, 0.40) - share[:, 2] + 0.15 * (share[:, 1] - 0.7)
    weight = (1 / (1 + np.exp(-below / 0.03)) * (share[:, 1] > rng.uniform(0.35, 0.5))).astype(np.float32)
    dwi *= 1 + np.float32(rng.uniform(-0.1, 0.5)) * weight
    adc *= 1 - np.float32(rng.uniform(-0.02, 0.22)) * weight


def _both_sides(
    where_mm: NDArray[np.float32], dwi: NDArray[np.float32], adc: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Tracts and cortex that are bright in health: the same left and right, but for a little."""
    centre = _somewhere(where_mm, rng)
    mirrored = centre.copy()
    mirrored[0] = where_mm[:, 0].min() + where_mm[:, 0].max() - centre[0]
    width = rng.uniform(5, 16)
    brighter, lower = rng.uniform(0.0, 0.4), rng.uniform(0.0, 0.25)
    for one in (centre, mirrored):
        weight = _bump(where_mm, one, width)
        dwi *= 1 + np.float32(brighter * rng.uniform(0.8, 1.2)) * weight
        adc *= 1 - np.float32(lower * rng.uniform(0.8, 1.2)) * weight


def _pile_up(
    where_mm: NDArray[np.float32], dwi: NDArray[np.float32], adc: NDArray[np.float32], rng: np.random.Generator
) -> None:
    """Signal heaped up or lost at the brain's border by susceptibility, mostly low and in front"""
    low, high = where_mm.min(axis=0), where_mm.max(axis=0)
    share = (where_mm - low) / np.maximum(high - low, 1)
    rim = np.flatnonzero((np.abs(share - 0.5).max(axis=1) > 0.38) & (share[:, 2] < 0.6))
    if len(rim) == 0:
        return
    centre = where_mm[rim[int(rng.integers(len(rim)))]]
    away = np.abs(where_mm - centre) / np.asarray(rng.uniform(5, 14, size=3), dtype=np.float32)
    weight = np.exp(-0.5 * (away**2).sum(axis=1), dtype=np.float32)
    dwi *= 1 + np.float32(rng.uniform(-0.6, 2.4)) * weight
    adc *= 1 + np.float32(rng.uniform(-0.05, 0.5)) * weight

"""Variations of preprocessed cases, cheap enough to be made anew for every batch.

`vary` changes what a scanner and a position change; `insert_infarct` puts an infarct into a normal case, on the
network's grid.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.preprocess.grid import SHAPE, SPACING_MM
from pirtad.inference.preprocess.scale import ADC_CEILING, DWI_CEILING
from pirtad.inference.simulation.atlas import LABEL_OF
from pirtad.inference.simulation.lesions import TYPE_ODDS, VOLUME_ML
from pirtad.inference.simulation.study import LEAST_SHARE_IN_TERRITORY, STRONG_FROM
from pirtad.inference.training.voxels import BrainVoxels

_ML_PER_VOXEL = math.prod(SPACING_MM) / 1000
_SPACING = np.asarray(SPACING_MM, dtype=np.float32)
_FLUID_ADC = 1.4
_ATTEMPTS = 6
_SHIFT_VOXELS = (4, 4, 2)


def vary(case: BrainVoxels, rng: np.random.Generator) -> BrainVoxels:
    """Mirrored or not, moved by a few voxels, other gain, contrast, ADC scale and noise. The class stays; what a move
    takes off the grid is gone."""
    place = case.place.copy()
    if rng.random() < 0.5:
        place[:, 0] = SHAPE[0] - 1 - place[:, 0]
    place += np.array([rng.integers(-limit, limit + 1) for limit in _SHIFT_VOXELS], dtype=np.int16)
    kept = ((place >= 0) & (place < np.asarray(SHAPE, dtype=np.int16))).all(axis=1)
    count = len(place)
    dwi = np.float32(rng.uniform(0.9, 1.1)) * case.dwi ** np.float32(rng.uniform(0.8, 1.25))
    dwi += np.float32(rng.uniform(0.0, 0.04)) * rng.standard_normal(count, dtype=np.float32)
    adc = np.float32(rng.uniform(0.92, 1.08)) * case.adc
    adc += np.float32(rng.uniform(0.0, 0.04)) * rng.standard_normal(count, dtype=np.float32)
    return BrainVoxels(
        place=place[kept],
        dwi=dwi.clip(1e-3, DWI_CEILING)[kept],
        adc=adc.clip(0, ADC_CEILING)[kept],
        lesion=case.lesion[kept],
        territories=case.territories[kept],
        finding=case.finding,
    )


def insert_infarct(case: BrainVoxels, territory: Territory, rng: np.random.Generator) -> BrainVoxels:
    """The normal case with one infarct of the territory; the case itself where none could be placed.

    Wedges are left to the full simulation. Raises ValueError when the case is not normal, or the territory is.
    """
    if case.finding.territory is not Territory.NORMAL or territory is Territory.NORMAL:
        raise ValueError("an infarct goes into a normal case")
    odds = {
        infarct_type: weight
        for infarct_type, weight in TYPE_ODDS[territory].items()
        if infarct_type is not InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL
    }
    weights = np.array(list(odds.values()))
    infarct_type = tuple(odds)[int(rng.choice(len(odds), p=weights / weights.sum()))]
    low, high = VOLUME_ML[infarct_type]
    volume_ml = math.exp(rng.uniform(math.log(low), math.log(high)))
    home = np.flatnonzero((case.territories == LABEL_OF[territory]) & (case.adc < _FLUID_ADC))
    for _ in range(_ATTEMPTS if len(home) else 0):
        core, margin = _grow(case, home, volume_ml, rng)
        if (case.territories[core] == LABEL_OF[territory]).mean() >= LEAST_SHARE_IN_TERRITORY:
            return _restrict_diffusion(case, territory, infarct_type, (core, margin), rng)
    return case


def _grow(
    case: BrainVoxels, home: NDArray[np.int64], volume_ml: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the voxels nearest to a random seed at home in a stretched, crooked metric, and of the next few."""
    seed = case.place[home[rng.integers(len(home))]]
    voxels = max(1, min(round(volume_ml / _ML_PER_VOXEL), len(home) // 3))
    reach_mm = 1.6 * (volume_ml * 1000) ** (1 / 3) + 8
    away = (case.place - seed) * _SPACING
    near = np.flatnonzero((np.abs(away) < reach_mm).all(axis=1) & (case.adc < _FLUID_ADC))
    stretched = away[near] / rng.uniform(0.7, 1.5, size=3)
    bumps = rng.standard_normal((6, 6, 6)) * rng.uniform(0.1, 0.4)
    cell = ((away[near] / reach_mm + 1) * 3).astype(np.int64).clip(0, 5)
    cost = np.linalg.norm(stretched, axis=1) * np.exp(bumps[tuple(cell.T)])
    order = near[np.argsort(cost)]
    edge = voxels + max(2, round(1.5 * voxels ** (2 / 3)))
    return order[:voxels], order[voxels:edge]


def _restrict_diffusion(
    case: BrainVoxels,
    territory: Territory,
    infarct_type: InfarctType,
    grown: tuple[NDArray[np.int64], NDArray[np.int64]],
    rng: np.random.Generator,
) -> BrainVoxels:
    core, margin = grown
    contrast = rng.uniform(1.35, STRONG_FROM) if rng.random() < 0.4 else rng.uniform(STRONG_FROM, 2.8)
    strong = contrast >= STRONG_FROM
    infarct_adc = rng.uniform(0.30, 0.60) if strong else rng.uniform(0.45, 0.65)
    weight = np.zeros(len(case.dwi), dtype=np.float32)
    weight[core], weight[margin] = 0.9, 0.4
    wet = ((case.adc - 1.2) / 1.2).clip(0, 1)  # fluid in the voxel keeps its diffusion
    lesion = np.zeros(len(case.dwi), dtype=np.bool_)
    lesion[core] = True
    return dataclasses.replace(
        case,
        dwi=(case.dwi * (1 + np.float32(contrast - 1) * weight)).clip(0, DWI_CEILING),
        adc=case.adc - weight * (1 - wet) * (case.adc - np.float32(infarct_adc)),
        lesion=lesion,
        finding=Finding(territory, SignalClass.STRONG if strong else SignalClass.MILD, infarct_type),
    )

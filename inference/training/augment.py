"""Variations of preprocessed cases, cheap enough to be made anew for every batch.

`vary` changes what a scanner and a position change; `insert_infarct` puts an infarct into a normal case, on the
network's grid. Both keep the array exactly 0 outside the brain.
"""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.preprocess.grid import SPACING_MM
from pirtad.inference.preprocess.scale import ADC_CEILING, DWI_CEILING
from pirtad.inference.simulation.atlas import LABEL_OF
from pirtad.inference.simulation.lesions import TYPE_ODDS, VOLUME_ML
from pirtad.inference.simulation.study import LEAST_SHARE_IN_TERRITORY, STRONG_FROM
from pirtad.inference.training.cases import SimulatedCase

_ML_PER_VOXEL = math.prod(SPACING_MM) / 1000
_FLUID_ADC = 1.7
_ATTEMPTS = 6
_SHIFT_VOXELS = (4, 4, 2)


def vary(case: SimulatedCase, rng: np.random.Generator) -> SimulatedCase:
    """Mirrored or not, moved by a few voxels, other gain, contrast, ADC scale and noise. The class stays."""
    flip = bool(rng.random() < 0.5)
    shifts = [int(rng.integers(-limit, limit + 1)) for limit in _SHIFT_VOXELS]

    def move(volume: NDArray[np.generic]) -> NDArray[np.generic]:
        turned = volume[..., ::-1, :, :] if flip else volume
        return np.roll(turned, shifts, axis=(-3, -2, -1))

    array = move(case.array).astype(np.float32)
    brain = array[0] != 0
    dwi, adc = array[0], array[1]
    dwi = rng.uniform(0.9, 1.1) * dwi ** rng.uniform(0.8, 1.25)
    dwi += _noise(dwi.shape, rng.uniform(0.0, 0.07), rng)
    adc = rng.uniform(0.92, 1.08) * adc + _noise(adc.shape, rng.uniform(0.0, 0.07), rng)
    varied = np.stack([dwi.clip(1e-3, DWI_CEILING), adc.clip(0, ADC_CEILING)]) * brain
    side = {"left": "right", "right": "left"}.get(case.side, case.side) if case.side and flip else case.side
    return SimulatedCase(
        seed=case.seed,
        array=varied.astype(np.float16),
        lesion=move(case.lesion).astype(np.bool_),
        territories=move(case.territories).astype(np.uint8),
        finding=case.finding,
        side=side,
        volume_ml=case.volume_ml,
    )


def _noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(sigma)


def insert_infarct(case: SimulatedCase, territory: Territory, rng: np.random.Generator) -> SimulatedCase:
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
    for _ in range(_ATTEMPTS):
        lesion = _grow(case, LABEL_OF[territory], volume_ml, rng)
        labels = case.territories[lesion]
        if lesion.any() and (labels == LABEL_OF[territory]).mean() >= LEAST_SHARE_IN_TERRITORY:
            break
    else:
        return case
    contrast = rng.uniform(1.25, STRONG_FROM) if rng.random() < 0.4 else rng.uniform(STRONG_FROM, 2.8)
    strong = contrast >= STRONG_FROM
    lesion_adc = rng.uniform(0.30, 0.60) if strong else rng.uniform(0.45, 0.65)
    soft = _soften(lesion)
    dwi, adc = case.array.astype(np.float32)
    dwi = (dwi * (1 + (contrast - 1) * soft)).clip(0, DWI_CEILING)
    wet = ((adc - 1.2) / 1.2).clip(0, 1)  # fluid in the voxel keeps its diffusion
    adc = adc * (1 - soft) + soft * (lesion_adc * (1 - wet) + adc * wet)
    x_mm = np.nonzero(lesion)[0].mean() - np.nonzero(dwi)[0].mean()
    return SimulatedCase(
        seed=case.seed,
        array=np.stack([dwi, adc]).astype(np.float16),
        lesion=lesion,
        territories=case.territories,
        finding=Finding(territory, SignalClass.STRONG if strong else SignalClass.MILD, infarct_type),
        side="left" if x_mm > 0 else "right",
        volume_ml=float(lesion.sum() * _ML_PER_VOXEL),
    )


def _grow(case: SimulatedCase, label: int, volume_ml: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """The voxels nearest to a random seed of the territory in a stretched, crooked metric, fluid left out."""
    tissue = (case.array[0] > 0) & (case.array[1] < _FLUID_ADC)
    home = np.argwhere((case.territories == label) & tissue)
    lesion = np.zeros(tissue.shape, dtype=np.bool_)
    if len(home) == 0:
        return lesion
    seed = home[rng.integers(len(home))]
    voxels = min(round(volume_ml / _ML_PER_VOXEL), len(home) // 3)
    radius_mm = (volume_ml * 1000) ** (1 / 3)
    reach = np.ceil(1.6 * radius_mm / np.asarray(SPACING_MM)).astype(np.int64)
    low = np.maximum(seed - reach, 0)
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, seed + reach + 1, strict=True))
    near = np.argwhere(tissue[box])
    away = (near + low - seed) * np.asarray(SPACING_MM) / rng.uniform(0.7, 1.5, size=3)
    cells = rng.standard_normal((6, 6, 6)) * rng.uniform(0.1, 0.4)
    extent = np.maximum(np.asarray(lesion[box].shape) - 1, 1)
    crooked = cells[tuple((near * 5 // extent).T)]
    cost = np.linalg.norm(away, axis=1) * np.exp(crooked)
    chosen = near[np.argsort(cost)[:voxels]] + low
    lesion[tuple(chosen.T)] = True
    return lesion


def _soften(lesion: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Weight of the infarct: its mask with a margin of one voxel in the plane."""
    image = sitk.GetImageFromArray(lesion.astype(np.float32))
    return np.asarray(sitk.GetArrayFromImage(sitk.Mean(image, (0, 1, 1))), dtype=np.float32)

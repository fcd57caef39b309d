"""Variations that a healthy brain or another scanner makes must leave an infarct an infarct."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.scale import ADC_CEILING, DWI_CEILING
from pirtad.inference.training.normal_variation import vary_anatomy
from pirtad.inference.training.voxels import BrainVoxels


@pytest.fixture(scope="module")
def infarct() -> BrainVoxels:
    """An ellipsoid of normal tissue on the network's grid with one bright spot of low ADC."""
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij"), axis=-1)
    centred = (grid - (np.asarray(SHAPE) - 1) / 2) / np.array([36, 44, 20])
    place = grid[(centred**2).sum(axis=-1) < 1].astype(np.int16)
    spot = np.linalg.norm((place - np.array([30, 60, 26])) * np.array([2, 2, 4]), axis=1)
    lesion = spot < 10
    return BrainVoxels(
        place=place,
        dwi=np.where(lesion, 2.0, 1.0).astype(np.float32),
        adc=np.where(lesion, 0.4, 0.8).astype(np.float32),
        lesion=lesion,
        territories=np.ones(len(place), dtype=np.uint8),
        finding=Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.SMALL_DIFFUSION_RESTRICTION),
    )


def test_the_same_seed_gives_the_same_case(infarct: BrainVoxels) -> None:
    one, other = (vary_anatomy(infarct, np.random.default_rng(3)) for _ in range(2))
    for part in dataclasses.fields(BrainVoxels):
        np.testing.assert_array_equal(getattr(one, part.name), getattr(other, part.name))


@pytest.mark.parametrize("seed", range(16))
def test_an_infarct_stays_one(infarct: BrainVoxels, seed: int) -> None:
    before = [values.copy() for values in (infarct.place, infarct.dwi, infarct.adc)]

    varied = vary_anatomy(infarct, np.random.default_rng(seed))

    # The case itself is left alone, the numbers stay within what preprocessing can give
    for was, values in zip(before, (infarct.place, infarct.dwi, infarct.adc), strict=True):
        np.testing.assert_array_equal(was, values)
    assert varied.finding == infarct.finding
    assert varied.dwi.dtype == varied.adc.dtype == np.float32
    assert 0 < varied.dwi.min() <= varied.dwi.max() <= DWI_CEILING
    assert 0 <= varied.adc.min() <= varied.adc.max() <= ADC_CEILING
    assert (varied.place >= 0).all()
    assert (varied.place < np.asarray(SHAPE)).all()
    assert varied.lesion.sum() >= 0.7 * infarct.lesion.sum()
    # and next to the infarct is still tissue that is darker on DWI and of higher ADC
    middle = varied.place[varied.lesion].mean(axis=0)
    away_mm = np.linalg.norm((varied.place - middle) * np.array([2, 2, 4]), axis=1)
    around = ~varied.lesion & (away_mm < 18)
    assert np.median(varied.dwi[varied.lesion]) > 1.3 * np.median(varied.dwi[around])
    assert np.median(varied.adc[varied.lesion]) < 0.8 * np.median(varied.adc[around])


def test_healthy_brains_come_to_differ(infarct: BrainVoxels) -> None:
    medians = [float(np.median(vary_anatomy(infarct, np.random.default_rng(seed)).adc)) for seed in range(30)]
    assert min(medians) < 0.68
    assert max(medians) > 0.86

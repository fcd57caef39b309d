"""The check that the other tests rest on: it lets the true pair pass, and none that differs from it in a way that
matters. A check that sees nothing would pass everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.vendor_writer.anatomy import Anatomy
from support.vendor_writer.raster import raster
from support.vendor_writer.study import points_of
from support.vendor_writer.truth import fault_of

from pirtad.inference.volume import DiffusionPair, Volume

HEAD = Anatomy()


def volume(values: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(values.astype(np.float32), affine)


@pytest.fixture
def pair() -> DiffusionPair:
    where = raster()
    affine = np.eye(4)
    affine[:3, 0] = where.cosines[0] * where.spacing_mm[1]
    affine[:3, 1] = where.cosines[1] * where.spacing_mm[0]
    affine[:3, 2] = where.normal * where.gap_mm
    affine[:3, 3] = where.positions[0]
    points = points_of((where.size[1], where.size[0], where.slices), affine)
    return DiffusionPair(volume(HEAD.trace(points, 1000.0), affine), volume(HEAD.adc(points), affine), 1000.0)


def test_the_true_pair_passes_in_any_order_of_voxels_and_at_any_brightness(pair: DiffusionPair):
    assert fault_of(pair, HEAD, (1000.0,)) == ""
    flip = np.diag([-1.0, 1, 1, 1])
    flip[0, 3] = pair.dwi.array.shape[0] - 1
    other = volume(3 * pair.dwi.array[::-1], pair.dwi.affine @ flip)
    assert fault_of(replace(pair, dwi=other), HEAD, (1000.0,)) == ""


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_or_shifted_axis_is_seen(pair: DiffusionPair, axis: int):
    for damaged in (np.flip, lambda array, axis: np.roll(array, 1, axis)):
        dwi = volume(damaged(pair.dwi.array, axis), pair.dwi.affine)
        adc = volume(damaged(pair.adc_mm2_per_s.array, axis), pair.dwi.affine)
        assert "DWI" in fault_of(replace(pair, dwi=dwi), HEAD, (1000.0,))
        assert "ADC" in fault_of(replace(pair, adc_mm2_per_s=adc), HEAD, (1000.0,))


@pytest.mark.parametrize("b_value", [0.0, 500.0, 900.0, 1100.0, 2000.0])
def test_another_b_value_is_seen(pair: DiffusionPair, b_value: float):
    points = points_of(pair.dwi.array.shape, pair.dwi.affine)
    dwi = volume(HEAD.trace(points, b_value), pair.dwi.affine)
    assert "DWI" in fault_of(replace(pair, dwi=dwi), HEAD, (1000.0,))


def test_a_single_direction_is_no_trace(pair: DiffusionPair):
    points = points_of(pair.dwi.array.shape, pair.dwi.affine)
    dwi = volume(HEAD.weighted(points, 1000.0, (0.0, 0.0, 1.0)), pair.dwi.affine)
    assert "DWI" in fault_of(replace(pair, dwi=dwi), HEAD, (1000.0,))


@pytest.mark.parametrize("factor", [1e3, 1e-3, 1.05, 0.0])
def test_another_unit_is_seen(pair: DiffusionPair, factor: float):
    adc = volume(pair.adc_mm2_per_s.array * factor, pair.dwi.affine)
    assert "ADC" in fault_of(replace(pair, adc_mm2_per_s=adc), HEAD, (1000.0,))


def test_another_patient_is_seen(pair: DiffusionPair):
    assert fault_of(pair, Anatomy(mirrored=True), (1000.0,))
    assert fault_of(pair, Anatomy(tissue_factor=1.2), (1000.0,))


def test_a_b_value_that_was_not_acquired_is_seen(pair: DiffusionPair):
    assert "b value" in fault_of(replace(pair, b_value_s_per_mm2=1300.0), HEAD, (1000.0,))
    assert "b value" in fault_of(replace(pair, b_value_s_per_mm2=2000.0), HEAD, (2000.0,))

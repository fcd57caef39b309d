"""Computed trace and ADC against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pirtad.inference.dicom.volumes.computed import adc_fit, arithmetic_mean, geometric_mean

SHAPE = (3, 4, 5)


def test_geometric_mean_of_a_tensor_along_three_axes_is_its_trace() -> None:
    # Given an anisotropic voxel, S = S0 exp(-b g'Dg)
    eigenvalues = np.array([1.6e-3, 0.4e-3, 0.3e-3])
    signals = [np.full(SHAPE, 1000 * np.exp(-1000 * d), dtype=np.float32) for d in eigenvalues]
    # When the geometric mean is taken, then it is S0 exp(-b trace(D)/3)
    expected = 1000 * np.exp(-1000 * eigenvalues.mean())
    np.testing.assert_allclose(geometric_mean(signals), expected, rtol=1e-6)


def test_geometric_mean_is_zero_where_one_image_has_no_signal() -> None:
    dark = np.full(SHAPE, 100.0, dtype=np.float32)
    dark[0, 0, 0], dark[0, 0, 1] = 0.0, -3.0
    mean = geometric_mean([dark, np.full(SHAPE, 100.0, dtype=np.float32)])
    assert mean[0, 0, 0] == mean[0, 0, 1] == 0
    np.testing.assert_allclose(mean[1:], 100)


def test_arithmetic_mean() -> None:
    one, three = np.full(SHAPE, 1.0, dtype=np.float32), np.full(SHAPE, 3.0, dtype=np.float32)
    np.testing.assert_array_equal(arithmetic_mean(iter([one, three])), 2)


@given(
    adc=arrays(np.float64, SHAPE, elements=st.floats(1e-5, 3e-3)),
    b_values=st.lists(st.integers(0, 1500), min_size=2, max_size=5, unique=True),
)
def test_the_fit_gives_back_what_the_signals_were_made_from(adc, b_values) -> None:
    signals = [1000 * np.exp(-b * adc) for b in b_values]
    np.testing.assert_allclose(adc_fit(b_values, signals), adc, rtol=1e-6, atol=1e-9)


def test_with_two_b_values_the_fit_is_the_logarithm_of_the_ratio() -> None:
    low, high = np.full(SHAPE, 900.0), np.full(SHAPE, 300.0)
    np.testing.assert_allclose(adc_fit([0, 1000], [low, high]), np.log(3) / 1000)


def test_the_fit_is_zero_where_it_means_nothing() -> None:
    low, high = np.full(SHAPE, 900.0), np.full(SHAPE, 300.0)
    high[0, 0, 0] = 0.0
    high[0, 0, 1] = 1800.0
    low[0, 0, 2] = -1.0
    adc = adc_fit([0, 1000], [low, high])
    assert adc[0, 0, 0] == adc[0, 0, 1] == adc[0, 0, 2] == 0
    assert np.isfinite(adc).all()


@pytest.mark.parametrize(("b_values", "count"), [([0], 1), ([1000, 1000], 2), ([0, 1000], 1)])
def test_no_line_no_fit(b_values, count) -> None:
    with pytest.raises(ValueError, match="no line"):
        adc_fit(b_values, [np.ones(SHAPE)] * count)


def test_means_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no volumes"):
        geometric_mean([])
    with pytest.raises(ValueError, match="no volumes"):
        arithmetic_mean([])

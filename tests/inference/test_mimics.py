"""Mimics look like what they are called, on the images that the scanner makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.simulation.mimics import MimicKind, simulate_mimic


def network_input(kind: MimicKind, seed: int = 2) -> np.ndarray:
    return preprocess(simulate_mimic(seed, kind)).array


def test_a_mimic_is_a_function_of_its_seed() -> None:
    one, same, other = (simulate_mimic(seed, MimicKind.SPHERE) for seed in (4, 4, 6))
    np.testing.assert_array_equal(one.dwi.array, same.dwi.array)
    assert one.dwi.array.shape != other.dwi.array.shape or not np.allclose(one.dwi.array, other.dwi.array)


@pytest.mark.parametrize("kind", [MimicKind.SPHERE, MimicKind.ABDOMEN, MimicKind.KNEE, MimicKind.LOW_B])
def test_every_pair_is_finite_on_one_grid(kind: MimicKind) -> None:
    pair = simulate_mimic(2, kind)
    assert pair.dwi.array.shape == pair.adc_mm2_per_s.array.shape
    np.testing.assert_array_equal(pair.dwi.affine, pair.adc_mm2_per_s.affine)
    assert np.isfinite(pair.dwi.array).all()
    assert np.isfinite(pair.adc_mm2_per_s.array).all()
    assert pair.dwi.array.max() > 0


def test_b_values_are_what_no_protocol_of_ours_has() -> None:
    assert 50 <= simulate_mimic(2, MimicKind.LOW_B).b_value_s_per_mm2 <= 400
    assert 2000 <= simulate_mimic(2, MimicKind.HIGH_B).b_value_s_per_mm2 <= 3000


def test_a_haematoma_has_a_core_dark_on_both_images() -> None:
    # Given the same head with a haematoma and with an abscess
    dark = {}
    for kind in (MimicKind.HAEMATOMA, MimicKind.ABSCESS):
        dwi, adc = network_input(kind)
        inside = (dwi != 0) | (adc != 0)
        dark[kind] = ((dwi < 0.5) & (adc < 1.0) & inside).sum()
    # Then the blood takes the signal away and the pus does not
    assert dark[MimicKind.HAEMATOMA] > dark[MimicKind.ABSCESS] + 50


def test_an_abscess_is_bright_with_a_low_adc_in_oedema() -> None:
    dwi, adc = network_input(MimicKind.ABSCESS)
    core = (dwi > 1.8) & (adc > 0.1) & (adc < 0.75)
    assert core.sum() * 0.016 > 2


def test_hypoxic_ischaemic_injury_is_on_both_sides() -> None:
    dwi, adc = network_input(MimicKind.HYPOXIC_ISCHAEMIC)
    restricted = (dwi > 1.2) & (adc < 0.65) & (adc > 0)
    left, right = restricted[48:].sum(), restricted[:48].sum()
    assert min(left, right) > 0.5 * max(left, right) > 50


def test_a_phantom_of_one_fluid_is_uniform() -> None:
    # Water at room temperature, or a polymer solution, has one diffusivity throughout: nothing like a brain's fluid
    # beside tissue.
    pair = simulate_mimic(2, MimicKind.SPHERE)
    ball = pair.dwi.array > 0.5 * np.median(pair.dwi.array[pair.dwi.array > pair.dwi.array.mean()])
    low, high = np.percentile(pair.adc_mm2_per_s.array[ball], (25, 75))
    assert high - low < 0.4e-3

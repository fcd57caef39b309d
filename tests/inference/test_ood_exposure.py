"""Outlier exposure and one-class distance on plain numbers, and heads put upright."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pirtad.inference.ood.exposure import Exposure
from pirtad.inference.ood.one_class import OneClass
from pirtad.inference.ood.samples import MIMIC_FITTING_SEEDS, MIMIC_SEEDS
from pirtad.inference.ood.symmetry import upright

NAMES = ("dwi_noise", "adc_asymmetry", "dark_body_radius_mm", "volume_ml")


def rows(count: int, seed: int, shift: tuple[float, float, float, float] = (0, 0, 0, 0)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, len(NAMES))) + np.array(shift)


@pytest.fixture(scope="module")
def exposure() -> Exposure:
    """Two kinds on opposite sides of what is known, so that no single line tells both of them."""
    return Exposure.fit(rows(200, 0), {"low_b": rows(16, 1, (-4, 0, 0, 0)), "high_b": rows(16, 2, (4, 0, 0, 0))})


def test_kinds_on_opposite_sides_are_both_told(exposure: Exposure) -> None:
    inside = exposure.scores(rows(100, 3))
    for shift in (-4, 4):
        outside = exposure.scores(rows(50, 4, (shift, 0, 0, 0)))
        assert (outside[None] > inside[:, None]).mean() > 0.97
    assert (inside > 0).all()


def test_likeness_names_the_kind_and_the_feature(exposure: Exposure) -> None:
    kind, speaking = exposure.likeness(np.array([4.0, 0.1, 0.0, 0.0]))
    assert kind == "high_b"
    assert NAMES[speaking[0][0]] == "dwi_noise"
    assert speaking[0][1] == pytest.approx(4, abs=0.5)


def test_one_absurd_number_is_bounded(exposure: Exposure) -> None:
    far, absurd = np.array([[5.0, 0, 0, 0]]), np.array([[1e9, 0, 0, 0]])
    assert exposure.scores(absurd)[0] == pytest.approx(exposure.scores(far)[0])


def test_what_is_written_reads_back(exposure: Exposure) -> None:
    again = Exposure.from_dict(json.loads(json.dumps(exposure.to_dict())))
    assert again.kinds == exposure.kinds
    np.testing.assert_allclose(again.scores(rows(20, 5)), exposure.scores(rows(20, 5)), rtol=1e-3)
    cut = exposure.to_dict() | {"intercepts": [0.0]}
    with pytest.raises(ValueError, match="fit together"):
        Exposure.from_dict(cut)


def test_a_single_kind_is_enough_and_none_is_not() -> None:
    known = rows(100, 0)
    model = Exposure.fit(known, {"tumour": rows(10, 1, (0, 0, 5, 0))})
    assert model.scores(rows(20, 2, (0, 0, 5, 0))).min() > np.median(model.scores(known))
    with pytest.raises(ValueError, match="kinds"):
        Exposure.fit(known, {})
    with pytest.raises(ValueError, match="kinds"):
        Exposure.fit(known, {"tumour": np.zeros((0, 4))})


def test_the_one_class_distance_notices_what_nobody_simulated() -> None:
    model = OneClass.fit(NAMES, rows(200, 0))
    inside, outside = model.scores(rows(100, 1)), model.scores(rows(20, 2, (0, 0, 0, 12)))
    assert inside.max() < 1 < outside.min()
    index, standard = model.farthest(np.array([0.0, 0, 0, 12]))[0]
    assert NAMES[index] == "volume_ml"
    assert standard > 6
    again = OneClass.from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_allclose(again.scores(rows(20, 5)), model.scores(rows(20, 5)), rtol=1e-3)
    with pytest.raises(ValueError, match="fit together"):
        OneClass.from_dict(model.to_dict() | {"limits": []})


def leaning(lean: float, turn: float) -> np.ndarray:
    """An ellipsoid brighter on one side, (2, 96, 112, 48), sheared along i by so many voxels a slice and a row."""
    i, j, k = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (96, 112, 48)), indexing="ij")
    i = i - np.round(lean * k + turn * j + 3)
    inside = (i / 30) ** 2 + (j / 38) ** 2 + (k / 16) ** 2 < 1
    return np.where(inside, np.stack([1 + 0.2 * (i > 0), np.full(i.shape, 0.8)]), 0).astype(np.float32)


@pytest.mark.parametrize(("lean", "turn"), [(0.0, 0.0), (0.4, 0.0), (-0.3, 0.15)])
def test_a_head_that_leans_and_turns_is_put_upright(lean: float, turn: float) -> None:
    dwi, adc, inside = upright(leaning(lean, turn))
    # The plane between the sides is the one that flipping keeps, up to a voxel of rounding.
    assert (inside ^ inside[::-1]).sum() / inside.sum() < 0.04
    middle = len(dwi) // 2
    assert dwi[inside][np.nonzero(inside)[0] > middle + 1].min() > 1.1
    assert dwi[inside][np.nonzero(inside)[0] < middle - 2].max() < 1.1
    assert dwi.shape == adc.shape == inside.shape


def test_putting_upright_does_not_tell_left_from_right() -> None:
    array = leaning(0.3, 0.1)
    for one, mirrored in zip(upright(array), upright(array[:, ::-1].copy()), strict=True):
        np.testing.assert_array_equal(one, mirrored[::-1])


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        upright(np.zeros((2, 96, 112, 48), dtype=np.float32))


def test_no_mimic_serves_both_fitting_and_measuring() -> None:
    assert not set(MIMIC_FITTING_SEEDS) & set(MIMIC_SEEDS)

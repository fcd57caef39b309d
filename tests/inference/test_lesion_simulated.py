"""Left is left from the simulator to the measurement."""

from __future__ import annotations

import pytest

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.measure import measure_mask
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.simulation.study import simulate


@pytest.mark.parametrize(("seed", "territory"), [(770_000, Territory.ANTERIOR), (770_001, Territory.DEEP_GRAY_MATTER)])
def test_side_class_and_volume_are_the_truths(seed: int, territory: Territory) -> None:
    # Given simulated studies, one with its infarct on the right, one on the left
    study = simulate(seed, territory)
    truth = study.truth

    measured, _ = measure_mask(truth.lesion_mask, preprocess(study.pair), study.pair)

    assert truth.side in {"left", "right"}
    assert measured.side == ("bilateral" if truth.bilateral else truth.side)
    assert measured.dominant is territory
    assert measured.volume_ml == pytest.approx(truth.volume_ml, rel=0.1)

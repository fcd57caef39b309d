"""A pair that is not what its headers call it is told by its fluid."""

from __future__ import annotations

import numpy as np
import pytest

from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.findings import Territory
from pirtad.inference.preprocess.plausibility import check_plausible
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.simulation.study import simulate
from pirtad.inference.volume import DiffusionPair, Volume


def test_a_pair_is_plausible_and_its_b0_image_is_no_dwi() -> None:
    # Given a pair, and the unweighted image that it was made from
    study = simulate(413, Territory.NORMAL)
    adc = study.adc_mm2_per_s
    weighting = np.exp(study.b_value_s_per_mm2 * adc.array)
    unweighted = Volume((study.dwi.array * weighting).astype(np.float32), adc.affine)

    # Then the pair is preprocessed, and the unweighted image in place of the DWI is refused
    preprocess(study.pair)
    with pytest.raises(StudyNotUsable) as caught:
        preprocess(DiffusionPair(unweighted, adc, 1000.0))
    assert caught.value.code == "dwi_implausible"
    assert caught.value.hint


def test_exchanged_images_are_refused() -> None:
    study = simulate(413, Territory.NORMAL)
    bright = study.dwi.array[study.dwi.array > study.dwi.array.mean()]
    looks_like_adc = (study.dwi.array * (0.85e-3 / np.median(bright))).astype(np.float32)
    exchanged = DiffusionPair(study.adc_mm2_per_s, Volume(looks_like_adc, study.dwi.affine), 1000.0)
    with pytest.raises(StudyNotUsable) as caught:
        preprocess(exchanged)
    assert caught.value.code in ("adc_implausible", "dwi_implausible", "adc_out_of_range")


def test_a_map_without_tissue_is_refused() -> None:
    brain = np.ones((4, 4, 4), dtype=np.bool_)
    dwi = np.ones((4, 4, 4), dtype=np.float32)
    with pytest.raises(StudyNotUsable, match="tissue"):
        check_plausible(dwi, np.full((4, 4, 4), 3e-3, dtype=np.float32), brain)

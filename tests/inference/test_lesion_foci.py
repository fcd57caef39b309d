"""Which bright foci of the lesion map are believed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pirtad.inference.lesion.foci import suspected_lesion
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.volume import Volume

AFFINE = np.diag([2.0, 2.0, 4.0, 1.0])  # 0.016 ml a voxel


def mapped(core: float, margin: float, voxels: int) -> NDArray[np.float32]:
    """A cube of `voxels` a side with the probability `core`, in a margin five voxels wide."""
    probability = np.zeros(SHAPE, dtype=np.float32)
    low, high = 30, 30 + voxels
    probability[low - 5 : high + 5, low - 5 : high + 5, 20 : 20 + voxels] = margin
    probability[low:high, low:high, 20 : 20 + voxels] = core
    return probability


@pytest.mark.parametrize(
    ("core", "margin", "voxels", "believed"),
    [
        (0.8, 0.0, 3, True),  # 0.43 ml, sure enough
        (0.8, 0.0, 2, False),  # 0.13 ml
        (0.6, 0.0, 8, False),  # 8 ml, never sure
        (0.99, 0.55, 5, True),  # a core of 2 ml in a wide margin that draws the mean down
        (0.99, 0.55, 3, False),  # a core of 0.43 ml in the same
    ],
)
def test_a_focus_counts_when_the_network_is_sure_of_it(core: float, margin: float, voxels: int, believed: bool) -> None:
    dwi = Volume(np.ones(SHAPE, dtype=np.float32), AFFINE)
    probability = mapped(core, margin, voxels)
    suspected = suspected_lesion(probability, AFFINE, dwi)
    assert bool(suspected.any()) is believed
    if believed:
        # Then all of it counts, its margin too
        np.testing.assert_array_equal(suspected, probability >= 0.5)

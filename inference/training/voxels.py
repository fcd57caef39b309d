"""A case as a list of its brain's voxels: a sixth of the grid, so variations of it cost a sixth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Finding
from pirtad.inference.training.cases import SimulatedCase


@dataclass(frozen=True, slots=True)
class BrainVoxels:
    """place: int16 (N, 3), voxel on the network's grid. dwi, adc: float32 (N,), NetworkInput.array there.
    lesion: bool (N,). territories: uint8 (N,), simulation.atlas.LABEL_OF or 0."""

    place: NDArray[np.int16]
    dwi: NDArray[np.float32]
    adc: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    territories: NDArray[np.uint8]
    finding: Finding


def voxels_of(case: SimulatedCase) -> BrainVoxels:
    """The voxels of a case where its array is not zero."""
    brain = np.nonzero((case.array != 0).any(axis=0))
    return BrainVoxels(
        place=np.stack(brain, axis=1).astype(np.int16),
        dwi=case.array[0][brain].astype(np.float32),
        adc=case.array[1][brain].astype(np.float32),
        lesion=case.lesion[brain],
        territories=case.territories[brain],
        finding=case.finding,
    )

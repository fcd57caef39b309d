"""How well the encoder's lesion map meets the lesion, both on the network's grid (2 x 2 x 4 mm)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.preprocess.grid import SHAPE, SPACING_MM, grid_affine
from pirtad.inference.simulation.atlas import load_atlas

THRESHOLD = 0.5
_ML_PER_VOXEL = math.prod(SPACING_MM) / 1000
_MIDDLE = SHAPE[0] // 2


@dataclass(frozen=True, slots=True)
class MapScore:
    """dice: nan without a lesion on the grid. volume_ml, true_volume_ml: of map and lesion on the grid. side: "left",
    "right" (of the larger part of the map) or None where it is empty."""

    dice: float
    volume_ml: float
    true_volume_ml: float
    side: str | None


def score_map(probability: NDArray[np.float32], lesion: NDArray[np.bool_]) -> MapScore:
    """probability: (96, 112, 48), of acute infarct, a voxel counting from THRESHOLD; lesion: (96, 112, 48)."""
    found = probability >= THRESHOLD
    both, either = int((found & lesion).sum()), int(found.sum()) + int(lesion.sum())
    return MapScore(
        dice=2 * both / either if lesion.any() else math.nan,
        volume_ml=int(found.sum()) * _ML_PER_VOXEL,
        true_volume_ml=int(lesion.sum()) * _ML_PER_VOXEL,
        side=side_of(found),
    )


def side_of(mask: NDArray[np.bool_]) -> str | None:
    """The patient's side with the larger part of a mask on the grid, whose middle is the brain's and whose first axis
    runs to the left; None for an empty one."""
    if not mask.any():
        return None
    left = int(mask[_MIDDLE:].sum())
    return "left" if 2 * left > int(mask.sum()) else "right"


def share_in_posterior_fossa(lesion: NDArray[np.bool_]) -> float:
    """Share of the lesion (96, 112, 48) in the atlas's cerebellum and brainstem, the atlas laid over the grid centre of
    mass on centre of mass: good to about a centimetre, as the head's size and tilt vary. 0 without a lesion."""
    return float(_hindbrain()[lesion].mean()) if lesion.any() else 0.0


@lru_cache(maxsize=1)
def _hindbrain() -> NDArray[np.bool_]:
    atlas = load_atlas()
    centre = atlas.affine[:3, :3] @ np.argwhere(atlas.brain.numpy()).mean(axis=0) + atlas.affine[:3, 3]
    to_atlas = np.linalg.inv(atlas.affine) @ grid_affine(centre)
    index = np.indices(SHAPE).reshape(3, -1)
    place = np.rint(to_atlas[:3, :3] @ index + to_atlas[:3, 3:]).astype(np.int64)
    inside = ((place >= 0) & (place < np.asarray(atlas.shape)[:, None])).all(axis=0)
    there = np.zeros(index.shape[1], dtype=np.bool_)
    there[inside] = atlas.hindbrain.numpy()[tuple(place[:, inside])] > 0.5
    return there.reshape(SHAPE)

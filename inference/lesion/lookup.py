"""Points and the voxels they fall into."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def transformed(points: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, 3) through an affine (4, 4)."""
    moved: NDArray[np.float64] = points @ matrix[:3, :3].T + matrix[:3, 3]
    return moved


def nearest(array: NDArray[Any], affine: NDArray[np.float64], points_mm: NDArray[np.float64]) -> NDArray[Any]:
    """Values (N,) of a volume (I, J, K) in the voxels that hold the points (N, 3); 0 outside the volume."""
    to_voxels = np.asarray(np.linalg.inv(affine), dtype=np.float64)
    index = np.rint(transformed(points_mm, to_voxels)).astype(np.int64)
    inside = ((index >= 0) & (index < array.shape)).all(axis=1)
    values = np.zeros(len(points_mm), dtype=array.dtype)
    values[inside] = array[tuple(index[inside].T)]
    return values

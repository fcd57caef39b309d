"""The network's grid: 96 x 112 x 48 voxels of 2 x 2 x 4 mm (PIRTA section 2.3.1), axes along DICOM LPS."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHAPE = (96, 112, 48)
SPACING_MM = (2.0, 2.0, 4.0)


def grid_affine(centre_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Affine (4, 4) to LPS of the grid with its middle at `centre_mm`; i to the left, j to posterior, k to superior."""
    spacing = np.asarray(SPACING_MM)
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    affine[:3, 3] = centre_mm - spacing * (np.asarray(SHAPE) - 1) / 2
    return affine


def centroid_mm(mask: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centre of mass (3,) of a mask that is not empty, in the coordinates that `affine` leads to."""
    index = np.array([voxels.mean() for voxels in np.nonzero(mask)])
    middle: NDArray[np.float64] = affine[:3, :3] @ index + affine[:3, 3]
    return middle


def share_inside(mask: NDArray[np.bool_], affine: NDArray[np.float64], grid: NDArray[np.float64]) -> float:
    """Share of the mask's voxel centres that lie within the box of the network's grid at `grid`."""
    index = np.stack(np.nonzero(mask)).astype(np.float64)
    to_grid = np.linalg.inv(grid) @ affine
    where = to_grid[:3, :3] @ index + to_grid[:3, 3:]
    limits = np.asarray(SHAPE)[:, None] - 0.5
    return float(((where >= -0.5) & (where <= limits)).all(axis=0).mean())

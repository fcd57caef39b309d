"""Put a head upright, so that what lies opposite a voxel is what a mirror would show there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Rows of the brain shorter than this, in voxels, say little of where the middle is; as many rows are needed.
_LEAST_WIDTH = 20
_TRIMMINGS = 4


def upright(array: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """DWI, ADC and brain mask (I, J, K) of a network input (2, 96, 112, 48), cut to the brain and sheared along i by
    whole voxels until the plane that best halves the brain is the one that flipping i keeps.

    The plane is fitted to the middles of the brain's rows; it follows a head that is turned or leans to a side, which
    a mere shift does not. Mirrored input gives mirrored output. Raises ValueError when the input is 0 everywhere.
    """
    brain = (array != 0).any(axis=0)
    if not brain.any():
        raise ValueError("the input shows nothing")
    images = np.concatenate([array, brain[None].astype(np.float32)])
    _, j, k = (slice(int(along.min()), int(along.max()) + 1) for along in np.nonzero(brain))
    images = images[:, :, j, k]
    length = images.shape[1]
    move = np.round((length - 1) / 2 - _middles(images[2] != 0)).astype(np.int64)
    room = int(np.abs(move).max())
    places = np.arange(length + 2 * room)[:, None, None] - (room + move)
    valid = (places >= 0) & (places < length)
    places = np.clip(places, 0, length - 1)
    dwi, adc, mask = (np.where(valid, np.take_along_axis(image, places, axis=0), np.float32(0)) for image in images)
    filled = np.nonzero(mask.any(axis=(1, 2)))[0]
    # The same from both ends keeps the middle plane.
    edge = min(int(filled[0]), len(mask) - 1 - int(filled[-1]))
    kept = slice(edge, len(mask) - edge)
    return dwi[kept], adc[kept], mask[kept] != 0


def _middles(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Where along i the middle plane meets each row, (J, K)."""
    length = inside.shape[0]
    widths = inside.sum(axis=0)
    used = widths >= _LEAST_WIDTH
    if used.sum() < _LEAST_WIDTH:
        return np.full(widths.shape, float(np.nonzero(inside)[0].mean()))
    found = (inside.argmax(axis=0) + length - 1 - inside[::-1].argmax(axis=0)) / 2
    j, k = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in widths.shape), indexing="ij")
    design = np.stack([np.ones_like(j), j, k], axis=-1)
    middle = np.zeros(widths.shape)
    for _ in range(_TRIMMINGS):
        middle = design @ np.linalg.lstsq(design[used], found[used], rcond=None)[0]
        apart = np.abs(found - middle)
        used = used & (apart <= max(2.5 * float(np.median(apart[used])), 1.0))
    return middle

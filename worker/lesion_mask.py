"""The measured lesion's mask, which the infer stage hands to the deliver stage."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.prepared import write_whole


def save_mask(path: Path, mask: NDArray[np.bool_] | None) -> None:
    """Write a bool mask (I, J, K), bit-packed along its last axis; without one, remove an earlier attempt's."""
    if mask is None:
        path.unlink(missing_ok=True)
        return
    content = BytesIO()
    np.savez(content, bits=np.packbits(mask, axis=-1), slices=mask.shape[-1])
    write_whole(path, content.getvalue())


def load_mask(path: Path) -> NDArray[np.bool_] | None:
    """The inverse of `save_mask`; None where there is none."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as saved:
        return np.unpackbits(saved["bits"], axis=-1, count=int(saved["slices"])).astype(np.bool_)

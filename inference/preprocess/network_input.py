"""What the encoder takes, and its file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.preprocess.grid import SHAPE

# Raised whenever the same images would give another array; weights and case bases carry the one they were made with.
PREPROCESSING_VERSION = "1"


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """A preprocessed pair.

    array: float32 (2, 96, 112, 48); channel 0 DWI over its brain median, channel 1 ADC in 1e-3 mm2/s; 0 outside the
        brain; i to the patient's left, j to posterior, k to superior; 2 x 2 x 4 mm.
    mask: bool (96, 112, 48), the brain.
    affine: float64 (4, 4), voxel centres to DICOM LPS in mm.
    version: of the preprocessing that made it.
    """

    array: NDArray[np.float32]
    mask: NDArray[np.bool_]
    affine: NDArray[np.float64]
    version: str = PREPROCESSING_VERSION

    def __post_init__(self) -> None:
        if self.array.shape != (2, *SHAPE) or self.mask.shape != SHAPE or self.affine.shape != (4, 4):
            raise ValueError(f"array {self.array.shape}, mask {self.mask.shape}, affine {self.affine.shape}")

    def save(self, path: Path) -> None:
        """Write an npz file; `path` appears whole or not at all."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with part.open("wb") as out:
            np.savez_compressed(
                out, array=self.array, mask=self.mask, affine=self.affine, version=np.array(self.version)
            )
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> NetworkInput:
        """The inverse of `save`. Raises ModelMismatch when another version of the preprocessing wrote the file."""
        with np.load(path, allow_pickle=False) as stored:
            version = str(stored["version"])
            if version != PREPROCESSING_VERSION:
                raise ModelMismatch(
                    "preprocessing_version",
                    f"the file was preprocessed by version {version}, this is version {PREPROCESSING_VERSION}",
                    "preprocess the study again",
                )
            return cls(stored["array"], stored["mask"], stored["affine"], version)

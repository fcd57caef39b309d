"""A volume: array and geometry travel together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Volume:
    """Voxels and where they lie.

    array: float32 (I, J, K); i runs along an image row (columns), j down the rows, k along the slices.
    affine: float64 (4, 4); maps (i, j, k, 1) to patient coordinates in mm, DICOM LPS
        (+x to the patient's left, +y to posterior, +z to superior), voxel centres.
    """

    array: NDArray[np.float32]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.affine.shape != (4, 4):
            raise ValueError(f"a volume of shape {self.array.shape} with an affine of shape {self.affine.shape}")

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k."""
        x, y, z = (float(n) for n in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    def to_sitk(self) -> sitk.Image:
        """The same volume as a SimpleITK image (LPS as well; its index order is i, j, k)."""
        image = sitk.GetImageFromArray(np.ascontiguousarray(self.array.transpose(2, 1, 0)))
        spacing = self.spacing_mm
        image.SetSpacing(spacing)
        image.SetDirection((self.affine[:3, :3] / np.asarray(spacing)).ravel().tolist())
        image.SetOrigin(self.affine[:3, 3].tolist())
        return image

    @classmethod
    def from_sitk(cls, image: sitk.Image) -> Volume:
        """The inverse of `to_sitk`."""
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        array = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
        return cls(np.ascontiguousarray(array, dtype=np.float32), affine)


@dataclass(frozen=True, slots=True)
class DiffusionPair:
    """The chosen DWI (trace, b about 1000 s/mm2, arbitrary units) and ADC (mm2/s); each has its own affine."""

    dwi: Volume
    adc_mm2_per_s: Volume
    b_value_s_per_mm2: float

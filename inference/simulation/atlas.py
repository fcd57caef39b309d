"""Anatomy that every simulated study starts from: tissue maps and arterial territories on one 2 mm grid.

Tissue: ICBM152 2009a symmetric maps (Fonov et al., NeuroImage 54, 2011) as carried by nilearn. Territories:
territories.nii.gz, see territories.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files

import nibabel as nib
import numpy as np
import SimpleITK as sitk
import torch
from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template
from numpy.typing import NDArray
from torch.nn import functional

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.draw import blurred

SPACING_MM = 2.0
# The tissue maps end at the foramen magnum and close to the vertex; scalp and neck need room.
_MARGIN_VOXELS = (6, 6, 12)
LABEL_OF = {Territory.ANTERIOR: 1, Territory.DEEP_GRAY_MATTER: 2, Territory.POSTERIOR: 3}
# MNI (RAS) to DICOM LPS, its own inverse.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Atlas:
    """Maps of shape (I, J, K) on one grid; nothing here may be written to.

    affine: float64 (4, 4), voxel centres to MNI coordinates with the signs of LPS (+x left, +y posterior), mm.
    gray, white, fluid: float32, fractions that add up to 1 inside the brain.
    sulci, ventricles: float32, the fluid map grown by one voxel, and its deep part grown by two.
    near_ventricles: float32, 1 beside the ventricles, falling to 0 over about 8 mm.
    brain: bool. outside_mm: float32 distance to the brain, negative inside.
    territory: uint8, LABEL_OF; 0 outside all three. left: bool.
    seclusion_mm: float32, distance of each labelled voxel to the next voxel of another class.
    hindbrain: float32, 1 in cerebellum and brainstem, soft at the border.
    """

    affine: NDArray[np.float64]
    gray: torch.Tensor
    white: torch.Tensor
    fluid: torch.Tensor
    sulci: torch.Tensor
    ventricles: torch.Tensor
    near_ventricles: torch.Tensor
    brain: torch.Tensor
    outside_mm: torch.Tensor
    territory: torch.Tensor
    left: torch.Tensor
    seclusion_mm: torch.Tensor
    hindbrain: torch.Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.gray.shape
        return i, j, k

    def positions_mm(self, index: torch.Tensor) -> torch.Tensor:
        """Coordinates (N, 3) of voxels given by integer indices (N, 3)."""
        linear = torch.from_numpy(self.affine[:3, :3]).float()
        return index.float() @ linear.T + torch.from_numpy(self.affine[:3, 3]).float()


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """The atlas; read once a process (about 2 s)."""
    gray_image = load_mni152_gm_template(resolution=2)
    pad = [(margin, margin) for margin in _MARGIN_VOXELS]
    brain = np.pad(load_mni152_brain_mask(resolution=2).get_fdata() > 0.5, pad)
    gray = np.pad(gray_image.get_fdata(), pad).clip(0, 1) * brain
    white = np.pad(load_mni152_wm_template(resolution=2).get_fdata(), pad).clip(0, 1) * brain
    crowded = np.maximum(gray + white, 1.0)
    gray, white = gray / crowded, white / crowded
    affine = RAS_TO_LPS @ gray_image.affine
    affine[:3, 3] -= affine[:3, :3] @ np.asarray(_MARGIN_VOXELS)
    territory = _territories(affine, brain.shape) * brain.astype(np.uint8)
    x_mm = affine[0, 0] * np.arange(brain.shape[0]) + affine[0, 3]
    fluid = torch.from_numpy(brain - gray - white).float().clamp(0, 1)
    outside_mm = torch.from_numpy(_distance_mm(brain))
    inner = torch.where(outside_mm < -21, fluid, torch.zeros(()))
    return Atlas(
        affine=affine,
        gray=torch.from_numpy(gray).float(),
        white=torch.from_numpy(white).float(),
        fluid=fluid,
        sulci=functional.max_pool3d(fluid[None, None], 3, 1, 1)[0, 0],
        ventricles=functional.max_pool3d(inner[None, None], 5, 1, 2)[0, 0],
        near_ventricles=blurred(inner, 9).clamp(max=0.25) * 4,
        brain=torch.from_numpy(brain),
        outside_mm=outside_mm,
        territory=torch.from_numpy(territory),
        left=torch.from_numpy(x_mm > 0)[:, None, None].expand(brain.shape),
        seclusion_mm=torch.from_numpy(_seclusion_mm(territory)),
        hindbrain=blurred(torch.from_numpy(_hindbrain(affine, brain)).float(), 5),
    )


def _territories(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Nearest label at each voxel centre (the two grids differ by half a millimetre)."""
    with as_file(files("pirtad.inference.simulation") / "territories.nii.gz") as path:
        image = nib.load(path)
        labels = np.asarray(image.dataobj, dtype=np.uint8)
    to_labels = np.linalg.inv(RAS_TO_LPS @ image.affine) @ affine
    axes = [
        np.rint(to_labels[axis, axis] * np.arange(length) + to_labels[axis, 3]).astype(np.int64)
        for axis, length in enumerate(shape)
    ]
    known = [(index >= 0) & (index < labels.shape[axis]) for axis, index in enumerate(axes)]
    picked = labels[np.ix_(*(index.clip(0, labels.shape[axis] - 1) for axis, index in enumerate(axes)))]
    inside: NDArray[np.bool_] = known[0][:, None, None] & known[1][:, None] & known[2]
    return np.where(inside, picked, 0).astype(np.uint8)


def _hindbrain(affine: NDArray[np.float64], brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Below the tentorium, drawn as planes that fall to the sides and to the back; good to about 5 mm."""
    index = np.meshgrid(*(np.arange(length) for length in brain.shape), indexing="ij")
    x_mm, y_mm, z_mm = (affine[axis, axis] * index[axis] + affine[axis, 3] for axis in range(3))
    aside = (np.abs(x_mm) - 8).clip(min=0)
    cerebellum = (y_mm > 34) & (z_mm < -4 - 0.45 * aside - 0.3 * (y_mm - 52).clip(min=0))
    brainstem = (np.abs(x_mm) < 18) & (y_mm > 10) & (z_mm < -6)
    below: NDArray[np.bool_] = brain & (cerebellum | brainstem)
    return below


def _distance_mm(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    distance = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=False)
    return np.asarray(sitk.GetArrayFromImage(distance) * SPACING_MM, dtype=np.float32)


def _seclusion_mm(territory: NDArray[np.uint8]) -> NDArray[np.float32]:
    seclusion = np.zeros(territory.shape, dtype=np.float32)
    for label in LABEL_OF.values():
        others = (territory != 0) & (territory != label)
        here = territory == label
        seclusion[here] = _distance_mm(others)[here]
    return seclusion

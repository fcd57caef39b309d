"""The arterial atlas and the head it is registered with, as packaged; see atlas.md for sources and licences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import as_file, files

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.build_territories import ANTERIOR, CLASS_OF_REGION, DEEP_GRAY_MATTER, POSTERIOR
from pirtad.inference.volume import Volume

# In the order of the atlas's labels: region n has label 2n + 1 on the left and 2n + 2 on the right.
REGIONS = {
    "ACA": "anterior cerebral artery",
    "MLS": "medial lenticulostriate",
    "LLS": "lateral lenticulostriate",
    "MCAF": "middle cerebral artery, frontal",
    "MCAP": "middle cerebral artery, parietal",
    "MCAT": "middle cerebral artery, temporal",
    "MCAO": "middle cerebral artery, occipital",
    "MCAI": "middle cerebral artery, insular",
    "PCAT": "posterior cerebral artery, temporal",
    "PCAO": "posterior cerebral artery, occipital",
    "PCTP": "posterior choroidal and thalamoperforating",
    "ACTP": "anterior choroidal and thalamoperforating",
    "B": "basilar",
    "SC": "superior cerebellar",
    "IC": "inferior cerebellar",
}
TEMPLATE_STEP_MM2_PER_S = 1.25e-5
_TERRITORY_OF_CLASS = {
    ANTERIOR: Territory.ANTERIOR,
    DEEP_GRAY_MATTER: Territory.DEEP_GRAY_MATTER,
    POSTERIOR: Territory.POSTERIOR,
}
TERRITORY_OF_REGION = {code: _TERRITORY_OF_CLASS[label] for code, label in CLASS_OF_REGION.items()}
# MNI (RAS) to DICOM's signs (LPS), its own inverse.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# An affine fit leaves cortex up to about a centimetre outside the atlas's; measured lesions must not fall off its edge.
_GROWTH_MM, _VOXEL_MM = 10.0, 2.0


@dataclass(frozen=True, slots=True)
class Regions:
    """labels: uint8 (I, J, K), 2n + 1 left and 2n + 2 right of region n, 0 none; affine: float64 (4, 4), voxel centres
    to MNI coordinates with the signs of LPS, mm."""

    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


@lru_cache(maxsize=1)
def load_regions() -> Regions:
    """The arterial regions, grown by about a centimetre into what no region claims (ventricles, beyond the cortex)."""
    image = _packaged("regions.nii.gz")
    labels = np.asarray(image.dataobj, dtype=np.uint8)
    for _ in range(round(_GROWTH_MM / _VOXEL_MM)):
        labels = _grown_by_a_voxel(labels)
    labels.flags.writeable = False
    return Regions(labels, _RAS_TO_LPS @ image.affine)


@lru_cache(maxsize=1)
def load_template() -> Volume:
    """Mean ADC in 1e-3 mm2/s on 2 mm, 0 outside the brain; symmetric about x = 0 of MNI, with the signs of LPS."""
    image = _packaged("template.nii.gz")
    steps = np.asarray(image.dataobj, dtype=np.float32)
    array = (steps * np.float32(TEMPLATE_STEP_MM2_PER_S * 1e3)).astype(np.float32)
    return Volume(array, _RAS_TO_LPS @ image.affine)


def _packaged(name: str) -> nib.Nifti1Image:
    with as_file(files("pirtad.inference.lesion") / name) as path:
        image = nib.load(path)
        return nib.Nifti1Image(np.asarray(image.dataobj), image.affine)


def _grown_by_a_voxel(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Unlabelled voxels take the label of a face neighbour."""
    grown = labels.copy()
    for axis in range(3):
        for step in (1, -1):
            neighbour = np.roll(labels, step, axis)
            edge: list[slice | int] = [slice(None)] * 3
            edge[axis] = 0 if step == 1 else -1
            neighbour[tuple(edge)] = 0
            grown = np.where((grown == 0) & (neighbour > 0), neighbour, grown)
    return grown

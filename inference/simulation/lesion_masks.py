"""Real lesions: masks in MNI space, in the form of the SOOP set (OpenNeuro ds004889, CC0; masks BSD-2).

A zip of `sub-<id>_lesion.nii.gz`, and a table of voxels by territory. Which masks may be trained on follows from the
subject's name alone, so that no list has to travel with the data.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from pirtad.inference.findings import InfarctType, Territory
from pirtad.inference.lesion.foci import foci_of
from pirtad.inference.simulation.atlas import LABEL_OF, RAS_TO_LPS, SPACING_MM, Atlas
from pirtad.inference.simulation.draw import blurred
from pirtad.inference.simulation.lesions import Lesion

# Columns of the table, voxels by territory.
_COLUMNS = {
    "anterior_cortical": Territory.ANTERIOR,
    "lenticulostriate_thalamic": Territory.DEEP_GRAY_MATTER,
    "posterior": Territory.POSTERIOR,
}
_SUFFIX = "_lesion.nii.gz"
_ML_PER_VOXEL = SPACING_MM**3 / 1000
# This patient's images are a real test case, so the lesion serves nothing else.
_NEVER_SIMULATED = frozenset({"sub-3"})
_TEST_SHARE = 5
# Rules of infarct_type_of; diameters of lacunes: Wardlaw et al., Lancet Neurology 12, 2013 (15 mm, in acute images 20).
LARGEST_LACUNE_ML = 2.0
SMALLEST_LARGE_ML = 35.0
SMALLEST_WEDGE_ML = 6.0


def is_for_testing(subject: str) -> bool:
    """Whether the lesion of this subject is held out of training and case base: every fifth, by a hash of its name."""
    return int.from_bytes(hashlib.sha256(subject.encode()).digest()[:4], "big") % _TEST_SHARE == 0


@dataclass(frozen=True, slots=True)
class LesionFiles:
    """masks: the zip. territories: TSV with participant_id and voxels by territory; None counts them in the atlas."""

    masks: Path
    territories: Path | None = None


class LesionMasks:
    """The masks of a zip, read one at a time."""

    def __init__(self, masks: Path, territory_of: Mapping[str, Territory], members: Mapping[str, str]) -> None:
        self._masks = masks
        self._territory_of = territory_of
        self._members = members

    @classmethod
    def open(cls, zip_path: Path, territories: Path | None, atlas: Atlas | None = None) -> LesionMasks:
        """The masks whose dominant territory is known: from the table, or counted in `atlas` where there is none.

        Raises ValueError when the zip holds no mask, the table lacks its columns, or neither table nor atlas is given.
        """
        with zipfile.ZipFile(zip_path) as archive:
            members = {
                name.rsplit("/", 1)[-1].removesuffix(_SUFFIX): name
                for name in archive.namelist()
                if name.endswith(_SUFFIX)
            }
        if not members:
            raise ValueError(f"{zip_path.name} holds no file named sub-<id>{_SUFFIX}")
        if territories is not None:
            known = _read_table(territories)
        elif atlas is not None:
            known = {subject: _dominant(_read(zip_path, name, atlas), atlas) for subject, name in members.items()}
        else:
            raise ValueError("masks without a table need an atlas to count in")
        usable = {
            subject: territory
            for subject, territory in known.items()
            if subject in members and subject not in _NEVER_SIMULATED and territory is not None
        }
        return cls(zip_path, usable, members)

    @property
    def subjects(self) -> tuple[str, ...]:
        """All subjects that may be simulated from, in the order of their names."""
        return tuple(sorted(self._territory_of))

    def territory(self, subject: str) -> Territory:
        """The class with most of the lesion. Raises KeyError for an unknown subject."""
        return self._territory_of[subject]

    def lesion(self, subject: str, atlas: Atlas) -> Lesion:
        """The lesion on the atlas's grid. Raises KeyError for an unknown subject, ValueError for an empty mask."""
        weight = _read(self._masks, self._members[subject], atlas)
        if float(weight.sum()) == 0:
            raise ValueError(f"the mask of {subject} has nothing in the brain")
        infarct_type = infarct_type_of(atlas, weight, self._territory_of[subject])
        soft = 0.6 * weight + 0.4 * blurred(weight, 3)
        return Lesion(soft, infarct_type, float(weight[atlas.left].sum()) > 0.5 * float(weight.sum()))


@cache
def open_masks(lesion_files: LesionFiles) -> LesionMasks:
    """`LesionMasks.open`, once a process."""
    return LesionMasks.open(lesion_files.masks, lesion_files.territories)


def infarct_type_of(atlas: Atlas, weight: torch.Tensor, territory: Territory) -> InfarctType:
    """Table 1's type from size, place and number of foci, by rules of ours (the paper gives none):

    Deep gray matter: up to LARGEST_LACUNE_ML a lacune, beyond it striato-capsular; several foci below that size are
    small diffusion restrictions. Elsewhere: from SMALLEST_LARGE_ML large territorial; from SMALLEST_WEDGE_ML in one
    main focus that reaches the cortex a wedge; a single small one away from the cortex a lacune; the rest small
    diffusion restrictions.
    """
    sizes = [len(focus) * _ML_PER_VOXEL for focus in foci_of((weight > 0.5).numpy(), atlas.affine)]
    volume_ml = float(weight.sum()) * _ML_PER_VOXEL
    single = len(sizes) <= 1
    if territory is Territory.DEEP_GRAY_MATTER:
        if volume_ml > LARGEST_LACUNE_ML:
            return InfarctType.SMALL_STRIATO_CAPSULAR
        return InfarctType.SMALL_LACUNE if single else InfarctType.SMALL_DIFFUSION_RESTRICTION
    if volume_ml >= SMALLEST_LARGE_ML:
        return InfarctType.LARGE_VASCULAR_TERRITORIAL
    cortical = float(weight[(atlas.outside_mm > -8) & (atlas.gray > 0.4)].sum()) / float(weight.sum())
    if volume_ml >= SMALLEST_WEDGE_ML and cortical > 0.1 and max(sizes, default=0.0) > 0.7 * volume_ml:
        return InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL
    if volume_ml <= LARGEST_LACUNE_ML and single and cortical < 0.1:
        return InfarctType.SMALL_LACUNE
    return InfarctType.SMALL_DIFFUSION_RESTRICTION


def _read(zip_path: Path, member: str, atlas: Atlas) -> torch.Tensor:
    """Share (I, J, K) of each of the atlas's brain voxels that the mask covers."""
    with zipfile.ZipFile(zip_path) as archive:
        image = nib.Nifti1Image.from_bytes(gzip.decompress(archive.read(member)))
    index = np.argwhere(np.asarray(image.dataobj).squeeze() > 0)
    to_atlas = np.linalg.inv(atlas.affine) @ RAS_TO_LPS @ image.affine
    # Not rint: it takes halves to the even neighbour, and every other voxel of the coarser grid would stay empty.
    place = np.floor(index @ to_atlas[:3, :3].T + to_atlas[:3, 3] + 0.5 + 1e-6).astype(np.int64)
    place = place[((place >= 0) & (place < np.asarray(atlas.shape))).all(axis=1)]
    counted = np.zeros(atlas.shape, dtype=np.float32)
    np.add.at(counted, tuple(place.T), abs(np.linalg.det(to_atlas[:3, :3])))
    covered: torch.Tensor = torch.from_numpy(counted).clamp(max=1.0) * atlas.brain
    return covered


def _dominant(weight: torch.Tensor, atlas: Atlas) -> Territory | None:
    voxels = {territory: float(weight[atlas.territory == label].sum()) for territory, label in LABEL_OF.items()}
    territory = max(voxels, key=lambda one: voxels[one])
    return territory if voxels[territory] > 0 else None


def _read_table(path: Path) -> dict[str, Territory | None]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        missing = {"participant_id", *_COLUMNS} - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{path.name} lacks the columns {', '.join(sorted(missing))}")
        return {row["participant_id"]: _class_of(row) for row in rows}


def _class_of(row: Mapping[str, str]) -> Territory | None:
    voxels = {territory: float(row[column] or 0) for column, territory in _COLUMNS.items()}
    territory = max(voxels, key=lambda one: voxels[one])
    return territory if voxels[territory] > 0 else None

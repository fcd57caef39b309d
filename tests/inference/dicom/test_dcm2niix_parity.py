"""Volumes of every packing against dcm2niix: the same values in the same places, voxel for voxel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from support.shared import shared_data

from pirtad.inference.dicom.frames import Frame
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def by_file(header: Dataset) -> object:
    return str(header.SOPInstanceUID)


def by_series(header: Dataset) -> object:
    return str(header.SeriesInstanceUID)


def by_weighting(header: Dataset) -> object:
    return header.DiffusionBValue, tuple(header.DiffusionGradientOrientation)


def by_pair_of_slices(header: Dataset) -> object:
    return (header.InstanceNumber - 1) // 2


def by_ge_b_value(header: Dataset) -> object:
    """Slop_int_6, whose first number is the b value; raw bytes in implicit VR."""
    value = header[0x0043, 0x1039].value
    return str(header.SeriesInstanceUID), value.split(b"\\")[0] if isinstance(value, bytes) else value[0]


# Set, how its images make volumes, and how many volumes there are.
SETS: list[tuple[str, Callable[[Dataset], object], int]] = [
    ("siemens_e11_mosaic", by_file, 13),
    ("philips_classic", by_weighting, 17),
    ("uih_vframe", by_file, 17),
    ("siemens_xa30_enhanced", by_file, 7),
    ("siemens_xa30_classic_phantom", by_series, 3),
    ("ge_headers_phantom", by_pair_of_slices, 7),
    ("dicom2nifti_ge_dti", by_ge_b_value, 4),
]


def dcm2niix() -> str:
    beside = Path(sys.executable).with_name("dcm2niix")
    found = str(beside) if beside.exists() else shutil.which("dcm2niix")
    assert found, "dcm2niix is a development dependency: make install"
    return found


def our_volumes(files: list[Path], key: Callable[[Dataset], object]) -> list[Volume]:
    volumes: dict[object, list[Frame]] = defaultdict(list)
    for series in read_series(files):
        keys = {one: key(dcmread(one.path, stop_before_pixels=True)) for one in series.instances if series.frames}
        for frame in series.frames:
            volumes[keys[frame.instance]].append(frame)
    return [volume_of(frames) for frames in volumes.values()]


class Theirs(NamedTuple):
    array: np.ndarray
    affine: np.ndarray


def their_volumes(directory: Path, out: Path) -> list[Theirs]:
    """Every volume that dcm2niix makes, with the values of RescaleSlope and RescaleIntercept (-p n)."""
    out.mkdir()
    command = [dcm2niix(), "-b", "n", "-z", "n", "-p", "n", "-f", "%s_%d", "-o", str(out), str(directory)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    volumes = []
    for path in sorted(out.glob("*.nii")):
        image = nibabel.load(path)
        assert isinstance(image, nibabel.Nifti1Image)
        values = image.get_fdata(dtype=np.float32)
        values = values.reshape(*values.shape[:3], -1)
        volumes += [Theirs(values[..., at], image.affine) for at in range(values.shape[3])]
    return volumes


def same(ours: Volume, theirs: Theirs) -> bool:
    """Whether our volume, turned to the axes of theirs, has its affine and its values."""
    mine = LPS_TO_RAS @ ours.affine
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(mine), nibabel.io_orientation(theirs.affine))
    turned = nibabel.orientations.apply_orientation(ours.array, turn)
    affine = mine @ nibabel.orientations.inv_ornt_aff(turn, ours.array.shape)
    return (
        turned.shape == theirs.array.shape
        and np.allclose(affine, theirs.affine, atol=1e-3, rtol=0)
        and np.allclose(turned[:, :, ::7], theirs.array[:, :, ::7], rtol=1e-6, atol=0)
        and np.allclose(turned, theirs.array, rtol=1e-6, atol=0)
    )


@pytest.mark.parametrize(("name", "key", "count"), SETS, ids=[name for name, _, _ in SETS])
def test_every_volume_is_dcm2niix_s(tmp_path: Path, name: str, key: Callable[[Dataset], object], count: int) -> None:
    directory = tmp_path / "dicom"
    with zipfile.ZipFile(shared_data(f"dicom/{name}.zip")) as archive:
        archive.extractall(directory)
    theirs = their_volumes(directory, tmp_path / "nifti")
    ours = our_volumes([path for path in directory.rglob("*") if path.is_file()], key)

    assert len(ours) == len(theirs) == count
    # Each of ours has exactly one counterpart among theirs, whatever the order
    left = list(theirs)
    for volume in ours:
        matching = [at for at, one in enumerate(left) if same(volume, one)]
        assert matching, f"no volume of dcm2niix equals one of shape {volume.array.shape}"
        left.pop(matching[0])
    assert left == []

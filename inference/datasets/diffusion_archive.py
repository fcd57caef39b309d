"""Trace image and ADC map of a UK Biobank diffusion zip, which holds neither.

`dMRI/dMRI/data_ud.nii.gz` (gradient-distortion and eddy-current corrected), `bvals` and `bvecs`, as FSL writes them:
UK Biobank Brain Imaging Documentation, section 2.10. 5 b0 volumes and 50 directions each at b 1000 and 2000.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from pirtad.inference.dicom.volumes.computed import adc_fit, arithmetic_mean, geometric_mean
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import DiffusionPair, Volume

_WANTED_B_S_PER_MM2 = 1000.0
_ALLOWED_B_S_PER_MM2 = (800.0, 1500.0)
_UNWEIGHTED_BELOW_S_PER_MM2 = 50.0
_ONE_SHELL_S_PER_MM2 = 60.0  # scanners vary b by a few per cent within a shell
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_archive(path: Path) -> DiffusionPair:
    """The trace image, geometric mean over the directions of the shell nearest b 1000, and the ADC of a log-linear fit.

    The fit is through the mean unweighted image and that trace. One volume is in memory at a time.

    Raises:
        StudyNotUsable: "unreadable_file", "no_diffusion" (no such shell, no unweighted image, directions that do not
            span space, or tables that do not fit the volumes).
    """
    with tempfile.TemporaryDirectory() as scratch:
        nifti = Path(scratch) / "data.nii"
        try:
            with zipfile.ZipFile(path) as archive:
                b_values = _table(archive, "bvals").ravel()
                directions = _table(archive, "bvecs")
                packed_name = _member(archive, "data_ud.nii.gz")
                with archive.open(packed_name) as packed, gzip.open(packed) as plain, nifti.open("wb") as out:
                    shutil.copyfileobj(plain, out)
            image = nibabel.load(nifti)
            return _pair(image, b_values, directions)
        except (zipfile.BadZipFile, ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
            raise StudyNotUsable(
                "unreadable_file", f"the diffusion zip can't be read ({type(error).__name__})"
            ) from error


def _pair(
    image: nibabel.Nifti1Image, b_values_s_per_mm2: NDArray[np.float64], directions: NDArray[np.float64]
) -> DiffusionPair:
    count = len(b_values_s_per_mm2)
    if len(image.shape) != 4 or image.shape[3] != count or directions.shape != (3, count):
        raise _no_diffusion(f"volumes {image.shape} with {count} b values and directions {directions.shape}")
    low, high = _ALLOWED_B_S_PER_MM2
    allowed = b_values_s_per_mm2[(b_values_s_per_mm2 >= low) & (b_values_s_per_mm2 <= high)]
    unweighted = np.flatnonzero(b_values_s_per_mm2 < _UNWEIGHTED_BELOW_S_PER_MM2)
    if allowed.size == 0 or unweighted.size == 0:
        raise _no_diffusion(f"no shell of b {low:.0f} to {high:.0f} s/mm2 with an unweighted image")
    nearest = allowed[np.abs(allowed - _WANTED_B_S_PER_MM2).argmin()]
    shell = np.flatnonzero(np.abs(b_values_s_per_mm2 - nearest) <= _ONE_SHELL_S_PER_MM2)
    if np.linalg.matrix_rank(directions[:, shell], tol=0.1) < 3:
        raise _no_diffusion("the directions of the shell do not span space: their mean is no trace")
    b_value = float(b_values_s_per_mm2[shell].mean())
    b_zero = float(b_values_s_per_mm2[unweighted].mean())
    trace = geometric_mean(_volumes(image, shell))
    adc = adc_fit([b_zero, b_value], [arithmetic_mean(_volumes(image, unweighted)), trace])
    affine = _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64)
    return DiffusionPair(
        Volume(trace.astype(np.float32), affine), Volume(adc.astype(np.float32), affine.copy()), b_value
    )


def _volumes(image: nibabel.Nifti1Image, at: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for number in at:
        yield np.nan_to_num(np.asarray(image.dataobj[..., int(number)], dtype=np.float32), posinf=0.0, neginf=0.0)


def _table(archive: zipfile.ZipFile, name: str) -> NDArray[np.float64]:
    text = archive.read(_member(archive, name)).decode("ascii", errors="strict")
    return np.asarray([[float(word) for word in line.split()] for line in text.splitlines() if line.strip()])


def _member(archive: zipfile.ZipFile, name: str) -> str:
    found = [member for member in archive.namelist() if member.lower().endswith(f"dmri/{name}") or member == name]
    if len(found) != 1:
        raise _no_diffusion(f"{len(found)} files {name} in the zip")
    return found[0]


def _no_diffusion(reason: str) -> StudyNotUsable:
    return StudyNotUsable("no_diffusion", reason)

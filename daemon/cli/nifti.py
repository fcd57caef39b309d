"""Volumes from and to NIfTI files, for `pirtad predict`, `cases` and `volume`. Imported only when they run."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from pirtad.inference.dicom.volumes.adc_unit import tissue_values, unit_of
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.report.report import Registry
from pirtad.inference.volume import DiffusionPair, Volume

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def prepare_nifti(dwi_path: Path, adc_path: Path, b_value_s_per_mm2: float) -> Prepared:
    """The pair, ready for the encoder, with a registry that says nothing. Raises as `read_pair` and `preprocess` do."""
    pair = read_pair(dwi_path, adc_path, b_value_s_per_mm2)
    return Prepared(preprocess(pair), Registry(), pair.b_value_s_per_mm2, pair=pair)


def read_pair(dwi_path: Path, adc_path: Path, b_value_s_per_mm2: float) -> DiffusionPair:
    """Read both images; the ADC's unit is found from the tissue, as for DICOM that does not state it.

    Raises:
        StudyNotUsable: "unreadable_file", "not_3d", "blank_image", "adc_unit".
    """
    dwi, adc = _read(dwi_path), _read(adc_path)
    if np.ptp(dwi.array) == 0:
        raise StudyNotUsable("blank_image", "the DWI holds one single value")
    on_one_grid = dwi.array.shape == adc.array.shape and np.allclose(dwi.affine, adc.affine, atol=0.5)
    unit = unit_of(tissue_values(adc.array, dwi.array if on_one_grid else None), None)
    in_mm2_per_s = (adc.array.astype(np.float64) * unit).astype(np.float32)
    return DiffusionPair(dwi, Volume(in_mm2_per_s, adc.affine), b_value_s_per_mm2)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume as float32 NIfTI-1 with its affine as both sform and qform, scanner coordinates, RAS."""
    affine = _RAS_TO_LPS @ volume.affine  # the matrix is its own inverse
    image = nibabel.Nifti1Image(volume.array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    nibabel.save(image, path)


def write_mask(mask: NDArray[np.bool_], affine_lps: NDArray[np.float64], path: Path, like: Path | None) -> None:
    """Write a mask (I, J, K) as uint8 NIfTI-1, scanner coordinates, RAS.

    like: the NIfTI that the mask's grid was read from, whose shape (axes of length one behind the third included) and
    affine it then has exactly. Raises OSError when the file can't be written.
    """
    shape, affine = mask.shape, _RAS_TO_LPS @ affine_lps
    if like is not None:
        grid = nibabel.load(like)
        shape, affine = grid.shape, grid.affine
    image = nibabel.Nifti1Image(mask.astype(np.uint8).reshape(shape), affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    nibabel.save(image, path)


def _read(path: Path) -> Volume:
    try:
        image = nibabel.load(path)
        array = np.asarray(image.dataobj, dtype=np.float32)
    except (ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise StudyNotUsable(
            "unreadable_file", f"{path.name} can't be read as NIfTI ({type(error).__name__})"
        ) from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise StudyNotUsable(
            "not_3d", f"{path.name} has shape {array.shape}", "give one trace image and one ADC map, each of three axes"
        )
    # Maps are often NaN outside the head.
    finite = np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0)
    return Volume(np.ascontiguousarray(finite), _RAS_TO_LPS @ np.asarray(image.affine, dtype=np.float64))

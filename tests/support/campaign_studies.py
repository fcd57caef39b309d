"""The smallest study that goes all the way: a trace image and an ADC map of a few slices."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pynetdicom.dsutils import encode

from pirtad.daemon.spool import content_digest
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.volume import Volume

SHAPE, SPACING_MM = (24, 28, 10), (8.0, 8.0, 14.0)


def write_template(directory: Path) -> None:
    """An ellipsoid of brain around a ventricle as DICOM files, 20 images of 1 KB."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) * 1.2 for size in SHAPE), indexing="ij")
    inside = x**2 + y**2 + z**2 < 1
    dwi = np.where(inside, 300 + 40 * np.cos(9 * y), 5).round().astype(np.float32)
    adc = np.where(inside, 0.8e-3 * (1 + 0.1 * np.cos(7 * z)), 0).astype(np.float32)
    ventricle = (x / 0.3) ** 2 + (y / 0.45) ** 2 + (z / 0.5) ** 2 < 1
    dwi, adc = np.where(ventricle, 110, dwi).astype(np.float32), np.where(ventricle, 3e-3, adc).astype(np.float32)
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-95.0, -110.0, -70.0]
    header = StudyHeader("1.2.3", patient_id="P", patient_name="Campaign", sex="F", age="065Y")
    write_study(directory, Volume(dwi, affine), Volume(adc, affine), header)


class Template:
    """Makes studies of the same images under other UIDs."""

    def __init__(self, directory: Path) -> None:
        self._images = [dcmread(path) for path in sorted(directory.rglob("*.dcm"))]
        assert self._images, f"no images in {directory}"

    def study(self, study_uid: str) -> list[Dataset]:
        """Its images, in order. The same UID gives the same bytes."""
        return [self._renamed(image, study_uid) for image in self._images]

    @staticmethod
    def _renamed(image: Dataset, study_uid: str) -> Dataset:
        one = deepcopy(image)
        number = int(hashlib.sha256(f"{image.SOPInstanceUID}".encode()).hexdigest()[:8], 16)
        series = int(hashlib.sha256(f"{image.SeriesInstanceUID}".encode()).hexdigest()[:8], 16)
        one.StudyInstanceUID, one.PatientID = study_uid, study_uid[-16:]
        one.SeriesInstanceUID = f"{study_uid}.1.{series}"
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = f"{study_uid}.2.{number}"
        return one


def content_sha256(image: Dataset) -> str:
    """What the ledger is to call these bytes (`spool.content_digest`)."""
    syntax = image.file_meta.TransferSyntaxUID
    digest = content_digest(str(syntax))
    encoded = encode(image, syntax.is_implicit_VR, syntax.is_little_endian)
    assert encoded is not None
    digest.update(encoded)
    return digest.hexdigest()

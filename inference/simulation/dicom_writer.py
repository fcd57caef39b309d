"""Volumes out as classic MR Image Storage (PS3.3 A.4), the way a scanner would send them.

UIDs are derived from the study UID, so that writing the same study twice gives the same instances. What the writer
makes says that it is simulated (Manufacturer, unless the caller names another).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from pirtad.inference.volume import Volume

IMPLEMENTATION_CLASS_UID = "2.25.282158340163563062316094462127823519307"
ADC_UNIT_MM2_PER_S = 1e-6
"""The unit ADC maps are stored in: the commonest convention of clinical archives."""


@dataclass(frozen=True, slots=True)
class StudyHeader:
    """Patient and study attributes; texts go in verbatim, "" stays empty (type 2) or is left out (type 3).

    birth_date, date: DA, YYYYMMDD. time: TM, HHMMSS. age: AS, e.g. "065Y". sex: "F", "M", "O" or "".
    name: PN, e.g. "DOE^JANE". reason: why the study was asked for; additional_history: LT, up to 10240 characters.
    """

    study_uid: str
    patient_id: str = field(default="", repr=False)
    patient_name: str = field(default="", repr=False)
    birth_date: str = field(default="", repr=False)
    sex: str = ""
    age: str = ""
    accession_number: str = field(default="", repr=False)
    description: str = "MRI BRAIN WITHOUT CONTRAST"
    additional_history: str = field(default="", repr=False)
    reason: str = field(default="", repr=False)
    date: str = "20260101"
    time: str = "120000"
    character_set: str = "ISO_IR 192"
    manufacturer: str = "pirtad simulation"
    model: str = "simulated"


@dataclass(frozen=True, slots=True)
class SeriesHeader:
    """What tells one series from another. `role` feeds the UIDs and file names: unique within a study.

    slope, intercept: what a stored value is multiplied with and what is added to reach the volume's value. slope None:
        RescaleSlope and RescaleIntercept are left out and values are stored as they are.
    b_value_s_per_mm2: written as DiffusionBValue unless None.
    """

    role: str
    number: int
    description: str
    image_type: tuple[str, ...]
    b_value_s_per_mm2: float | None = None
    slope: float | None = None
    intercept: float = 0.0
    repetition_time_ms: float = 4000.0
    echo_time_ms: float = 90.0

    def __post_init__(self) -> None:
        if len(self.image_type) < 3:
            raise ValueError("ImageType of an MR image has at least three values (PS3.3 C.8.3.1.1.1)")


@dataclass(frozen=True, slots=True)
class ExtraSeries:
    """A series beside the diffusion pair, e.g. a localizer or a T2."""

    volume: Volume
    header: SeriesHeader


LOCALIZER = SeriesHeader("localizer", 1, "Localizer", ("ORIGINAL", "PRIMARY", "M", "SE"), None, None, 0.0, 8.0, 4.0)
T2 = SeriesHeader("t2", 2, "AX T2 TSE", ("ORIGINAL", "PRIMARY", "M", "SE"), None, None, 0.0, 5000.0, 100.0)
ADC = SeriesHeader("adc", 4, "dADC", ("DERIVED", "PRIMARY", "ADC"), None, 1.0)


def write_study(
    directory: Path,
    dwi: Volume | None,
    adc_mm2_per_s: Volume | None,
    header: StudyHeader,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
    *,
    b_value_s_per_mm2: float = 1000.0,
    extra: Sequence[ExtraSeries] = (),
) -> list[Path]:
    """Write a study and return its files: the extra series, the trace image, the ADC map, each from foot to head.

    A volume that is None is left out. The ADC map is stored in whole 1e-6 mm2/s; a DWI of whole numbers from 0 to 65535
    is stored unchanged, any other one is spread over 16 bits with RescaleSlope and RescaleIntercept.

    Raises:
        ValueError: a volume that is not orthogonal, or not finite, or values out of range.
    """
    files: list[Path] = []
    for one in extra:
        files += write_series(directory, one.volume, header, one.header, transfer_syntax_uid)
    if dwi is not None:
        slope, intercept = _spread(dwi.array)
        trace = SeriesHeader(
            "dwi",
            3,
            f"sB{b_value_s_per_mm2:g}",
            ("DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"),
            b_value_s_per_mm2,
            slope,
            intercept,
        )
        files += write_series(directory, dwi, header, trace, transfer_syntax_uid)
    if adc_mm2_per_s is not None:
        in_units = Volume(adc_mm2_per_s.array / np.float32(ADC_UNIT_MM2_PER_S), adc_mm2_per_s.affine)
        # Noise makes slightly negative diffusivities; the intercept keeps them.
        lowest = float(np.floor(min(0.0, float(in_units.array.min()))))
        adc = SeriesHeader(ADC.role, ADC.number, ADC.description, ADC.image_type, slope=1.0, intercept=lowest)
        files += write_series(directory, in_units, header, adc, transfer_syntax_uid)
    return files


def write_series(
    directory: Path,
    volume: Volume,
    study: StudyHeader,
    series: SeriesHeader,
    transfer_syntax_uid: str = ExplicitVRLittleEndian,
) -> list[Path]:
    """Write one series, one file a slice; the inverse of `assemble` for a right-handed volume.

    A left-handed one is written from its last slice on, since assembly puts the slices along their normal.
    """
    volume = _right_handed(volume)
    stored = _stored(volume.array, series)
    directory.mkdir(parents=True, exist_ok=True)
    row, column, normal = _axes(volume)
    files: list[Path] = []
    for k in range(stored.shape[2]):
        dataset = Dataset()
        _patient_and_study(dataset, study)
        _series_and_equipment(dataset, study, series)
        _mr_image(dataset, series)
        position = volume.affine[:3, 3] + k * volume.affine[:3, 2]
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = derived_uid(study.study_uid, f"{series.role}/{k}")
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = _decimals(position)
        dataset.ImageOrientationPatient = _decimals([*row, *column])
        dataset.SliceLocation = _decimals([float(position @ normal)])[0]
        spacing = volume.spacing_mm
        dataset.PixelSpacing = _decimals([spacing[1], spacing[0]])
        dataset.SliceThickness, dataset.SpacingBetweenSlices = _decimals([spacing[2]] * 2)
        _pixels(dataset, stored[:, :, k].T)
        path = directory / f"{series.role}_{k:04d}.dcm"
        _save(dataset, path, transfer_syntax_uid)
        files.append(path)
    return files


def derived_uid(study_uid: str, role: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) that depends on nothing but its arguments."""
    digest = bytearray(hashlib.sha256(f"{study_uid}/{role}".encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80  # RFC 9562: version 8, for digests of one's own choice
    digest[8] = digest[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"


def _patient_and_study(dataset: Dataset, study: StudyHeader) -> None:
    dataset.SpecificCharacterSet = study.character_set
    dataset.PatientName = study.patient_name
    dataset.PatientID = study.patient_id
    dataset.PatientBirthDate = study.birth_date
    dataset.PatientSex = study.sex
    dataset.StudyInstanceUID = study.study_uid
    dataset.StudyDate = study.date
    dataset.StudyTime = study.time
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "1"
    dataset.AccessionNumber = study.accession_number
    dataset.StudyDescription = study.description
    if study.age:
        dataset.PatientAge = study.age
    if study.additional_history:
        dataset.AdditionalPatientHistory = study.additional_history
    if study.reason:
        request = Dataset()
        request.RequestedProcedureID = "1"
        request.ScheduledProcedureStepID = "1"
        request.ReasonForTheRequestedProcedure = study.reason
        dataset.RequestAttributesSequence = [request]


def _series_and_equipment(dataset: Dataset, study: StudyHeader, series: SeriesHeader) -> None:
    dataset.Modality = "MR"
    dataset.SeriesInstanceUID = derived_uid(study.study_uid, series.role)
    dataset.SeriesNumber = series.number
    dataset.SeriesDescription = series.description
    dataset.ProtocolName = series.description
    dataset.BodyPartExamined = "BRAIN"
    dataset.PatientPosition = "HFS"
    dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = study.date
    dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = study.time
    dataset.FrameOfReferenceUID = derived_uid(study.study_uid, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = study.manufacturer
    dataset.ManufacturerModelName = study.model


def _mr_image(dataset: Dataset, series: SeriesHeader) -> None:
    dataset.ImageType = list(series.image_type)
    dataset.AcquisitionNumber = 1
    dataset.ScanningSequence = "EP" if series.b_value_s_per_mm2 is not None else "SE"
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = "FS"
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime, dataset.EchoTime = _decimals([series.repetition_time_ms, series.echo_time_ms])
    dataset.EchoTrainLength = 1
    dataset.MagneticFieldStrength = "1.5"
    dataset.LossyImageCompression = "00"
    if series.b_value_s_per_mm2 is not None:
        dataset.DiffusionBValue = float(series.b_value_s_per_mm2)
    if series.slope is not None:
        dataset.RescaleSlope, dataset.RescaleIntercept = _decimals([series.slope, series.intercept])
        dataset.RescaleType = "US"  # unspecified: PS3.3 C.11.1.1.2


def _pixels(dataset: Dataset, stored: NDArray[np.uint16]) -> None:
    """Image Pixel module from (rows, columns)."""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 0
    dataset.add_new("PixelData", "OW", np.ascontiguousarray(stored, dtype="<u2").tobytes())


def _save(dataset: Dataset, path: Path, transfer_syntax_uid: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = transfer_syntax_uid
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = "PIRTAD"
    dataset.file_meta = meta
    dataset.preamble = b"\0" * 128
    dataset.save_as(path, enforce_file_format=True)


def _spread(values: NDArray[np.float32]) -> tuple[float | None, float]:
    """Slope and intercept that fit float values into 16 bits; (None, 0) where they fit as they are."""
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 65535 and np.array_equal(values, np.round(values)):
        return None, 0.0
    return (high - low) / 65535 or 1.0, low


def _stored(values: NDArray[np.float32], series: SeriesHeader) -> NDArray[np.uint16]:
    if not np.isfinite(values).all():
        raise ValueError(f"series {series.role}: values that are not finite")
    stored = values.astype(np.float64)
    if series.slope is not None:
        # With the slope and intercept as the header will state them, in 16 characters.
        slope, intercept = (float(text) for text in _decimals([series.slope, series.intercept]))
        stored = (stored - intercept) / slope
    stored = np.round(stored)
    if stored.min() < 0 or stored.max() > 65535:
        raise ValueError(f"series {series.role}: stored values {stored.min():g} to {stored.max():g} exceed 16 bits")
    return stored.astype(np.uint16)


def _right_handed(volume: Volume) -> Volume:
    """The same voxels in the same places, k reversed where i, j, k were left-handed."""
    if np.linalg.det(volume.affine[:3, :3]) > 0:
        return volume
    affine = volume.affine.copy()
    affine[:3, 3] += (volume.array.shape[2] - 1) * affine[:3, 2]
    affine[:3, 2] *= -1
    return Volume(volume.array[:, :, ::-1], affine)


def _axes(volume: Volume) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors of i, j, k of a right-handed grid; slices can hold it only if it is orthogonal."""
    row, column, normal = (volume.affine[:3, :3] / np.asarray(volume.spacing_mm)).T
    if not np.allclose(np.cross(row, column), normal, atol=1e-3) or abs(row @ column) > 1e-3:
        raise ValueError("the volume's axes are not orthogonal")
    return row, column, normal


def _decimals(values: Sequence[float] | NDArray[np.float64]) -> list[str]:
    """Numbers as DS, at most 16 characters (PS3.5 6.2)."""
    return [format_number_as_ds(float(value)) for value in values]

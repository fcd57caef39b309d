"""What every image of a study carries besides its pixels and its diffusion attributes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID, MRImageStorage

from support.vendor_writer.raster import Raster


@dataclass(frozen=True)
class Identity:
    """Who and which study; `root` makes UIDs unique between studies, counters make them unique within one."""

    patient_id: str = "ID-1"
    patient_name: str = "DOE^JANE"
    birth_date: str = "19600229"
    root: str = "1.2.826.0.1.3680043.10.1"


def uid(identity: Identity, *numbers: int) -> UID:
    """A UID under the study's root."""
    return UID(".".join([identity.root, *(str(number) for number in numbers)]))


def patient_and_study(identity: Identity) -> Dataset:
    """The modules that are the same all over a study."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientID, dataset.PatientName = identity.patient_id, identity.patient_name
    dataset.PatientBirthDate, dataset.PatientSex = identity.birth_date, "F"
    dataset.StudyInstanceUID = uid(identity, 1)
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20260228", "101500", "ACC1"
    dataset.Modality = "MR"
    dataset.BodyPartExamined = "BRAIN"
    return dataset


def in_series(
    dataset: Dataset, identity: Identity, number: int, description: str, *, frame_of_reference: int = 1
) -> None:
    """The series, equipment and frame of reference."""
    dataset.SeriesInstanceUID = uid(identity, 2, number)
    dataset.SeriesNumber, dataset.SeriesDescription = number, description
    dataset.ProtocolName = "Head"
    dataset.FrameOfReferenceUID = uid(identity, 9, frame_of_reference)
    dataset.AcquisitionDate, dataset.AcquisitionTime = "20260228", "102000"
    dataset.AcquisitionNumber = 1


def as_instance(
    dataset: Dataset, identity: Identity, series: int, instance: int, sop_class: UID = MRImageStorage
) -> None:
    """SOP Common; `instance` is unique in the series and says nothing about place."""
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid(identity, 3, series, instance)
    dataset.InstanceNumber = instance


def place(dataset: Dataset, where: Raster, slice_index: int) -> None:
    """The Image Plane module of one slice (PS3.3 C.7.6.2)."""
    dataset.PatientPosition = where.position.value
    dataset.PixelSpacing = [f"{n:.6g}" for n in where.spacing_mm]
    dataset.SliceThickness = f"{0.8 * where.gap_mm:.6g}"
    dataset.SpacingBetweenSlices = f"{where.gap_mm:.6g}"
    dataset.ImageOrientationPatient = cosines(where)
    dataset.ImagePositionPatient = decimals(where.positions[slice_index])


def cosines(where: Raster) -> list[str]:
    """ImageOrientationPatient as decimal strings."""
    return decimals(where.cosines.ravel())


def decimals(values: np.ndarray) -> list[str]:
    """Decimal strings of at most 16 characters, as their VR demands."""
    return [f"{float(n):.9f}" if abs(n) < 1000 else f"{float(n):.6f}" for n in values]

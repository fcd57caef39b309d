"""A day's studies: the template's DWI and ADC map under other UIDs, whole, in parts, or among other series."""

from __future__ import annotations

import hashlib
from copy import deepcopy
from pathlib import Path

import numpy as np
from pydicom import Dataset

from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.volume import Volume
from support.brain_files import affine_lps, head
from support.campaign_studies import Template
from support.day_plan import Kind, Sending

_HELD_BACK = 2  # slices of each volume that come after the report
_OTHER_SERIES = (1, 4)  # at least, at most


_EVERY = (3, 3, 2)  # voxel of the usual template in the light one: 32 images of 2 KB


def write_light_template(directory: Path) -> None:
    """The smallest study that still goes all the way after its last slices were held back."""
    dwi, adc = (volume[tuple(slice(None, None, step) for step in _EVERY)] for volume in head())
    affine = affine_lps() @ np.diag([*_EVERY, 1.0])
    header = StudyHeader("1.2.3", patient_id="P", patient_name="Day", sex="F", age="065Y")
    write_study(directory, Volume(dwi, affine), Volume(adc, affine), header)


class DayImages:
    """Makes what each sending brings; the same sending is always the same bytes."""

    def __init__(self, directory: Path) -> None:
        self._template = Template(directory)

    def of(self, sending: Sending) -> list[Dataset]:
        """Its images in order."""
        dwi, adc = self._pair(sending.study_uid)
        kind, part = sending.kind, sending.part
        digest = hashlib.sha256(sending.study_uid.encode()).digest()
        others = _OTHER_SERIES[0] + digest[0] % (_OTHER_SERIES[1] - _OTHER_SERIES[0] + 1)
        match kind:
            case Kind.EXAM:
                return [*_others(adc, others), *dwi, *adc]
            case Kind.PARTS:
                return adc if part else dwi
            case Kind.LATE:
                cut = slice(-_HELD_BACK, None) if part else slice(None, -_HELD_BACK)
                return [*dwi[cut], *adc[cut]]
            case Kind.EARLY:
                return _others(adc, others) if part else [*_declared(dwi), *_declared(adc)]
            case Kind.UNUSABLE:
                return _others(adc, others) if digest[1] % 2 else dwi
            case _:
                return [*dwi, *adc]

    def _pair(self, study_uid: str) -> tuple[list[Dataset], list[Dataset]]:
        by_series: dict[str, list[Dataset]] = {}
        for image in self._template.study(study_uid):
            by_series.setdefault(image.SeriesInstanceUID, []).append(image)
        dwi, adc = sorted(by_series.values(), key=lambda images: "DiffusionBValue" not in images[0])
        for images in (dwi, adc):
            images.sort(key=lambda image: float(image.ImagePositionPatient[2]))
        return dwi, adc


def _declared(images: list[Dataset]) -> list[Dataset]:
    for image in images:
        image.ImagesInAcquisition = len(images)
    return images


def _others(adc: list[Dataset], count: int) -> list[Dataset]:
    """Series of a kind that no draft is made from."""
    made = []
    for number in range(count):
        for index, image in enumerate(adc):
            one = deepcopy(image)
            one.SeriesInstanceUID = f"{image.StudyInstanceUID}.7.{number + 1}"
            uid = f"{image.StudyInstanceUID}.8.{number + 1}.{index + 1}"
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid
            one.SeriesDescription = one.ProtocolName = f"AX T2 TSE {number}"
            one.SeriesNumber, one.InstanceNumber = 20 + number, index + 1
            one.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
            for keyword in ("DiffusionBValue", "ImagesInAcquisition", "RescaleType"):
                if keyword in one:
                    delattr(one, keyword)
            made.append(one)
    return made

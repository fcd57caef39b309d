"""Damage to images: where they lie, how many there are, their pixels and values, and whose they are."""

from __future__ import annotations

from copy import deepcopy
from random import Random

from pydicom.tag import Tag

from support.vendor_writer.distractors import other_patient
from support.vendor_writer.hits import drop, made_of_slices, nests_of, some_instances, some_series
from support.vendor_writer.stored import Stated, map_encoding, mapping
from support.vendor_writer.study import Study

# PixelRepresentation and RescaleIntercept are not among them: without these an image reads as another one, with nothing
# to show for it.
_PLAIN = (
    "Manufacturer",
    "SeriesNumber",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "TemporalPositionIdentifier",
    "BodyPartExamined",
    "PatientPosition",
    "SliceThickness",
    "SpacingBetweenSlices",
    "PatientBirthDate",
    "FrameOfReferenceUID",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "BitsStored",
    "Rows",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PixelData",
)


def drop_plain(study: Study, random: Random) -> None:
    """Another attribute is gone; geometry and pixel attributes among them."""
    drop(study, random, _PLAIN)


def garble_plain(study: Study, random: Random) -> None:
    """A value that is none of the attribute's: wrong count, not finite, zero."""
    keyword, value = random.choice(
        [
            ("PixelSpacing", ["0", "0"]),
            ("PixelSpacing", ["8"]),
            ("ImageOrientationPatient", ["1", "0", "0", "1", "0", "0"]),
            ("ImageOrientationPatient", ["0", "0", "0", "0", "0", "0"]),
            ("ImageOrientationPatient", ["1", "0", "0"]),
            ("ImagePositionPatient", ["0", "0"]),
            ("ImagePositionPatient", ["1e300", "0", "0"]),
            ("SamplesPerPixel", 3),
            ("Rows", 0),
            ("BitsAllocated", 32),
            ("RescaleSlope", "0"),
            ("RescaleSlope", ""),
            ("NumberOfFrames", "3"),
            ("FrameOfReferenceUID", ""),
            ("PhotometricInterpretation", "PALETTE COLOR"),
            ("PhotometricInterpretation", "MONOCHROME1"),
            ("BurnedInAnnotation", "YES"),
            ("Modality", "CT"),
            ("SpacingBetweenSlices", "-3"),
            ("InstanceNumber", "1"),
        ]
    )
    for dataset in some_instances(study, random):
        for nest in nests_of(dataset):
            if keyword in nest or nest is dataset:
                setattr(nest, keyword, value)


def lose_slices(study: Study, random: Random) -> None:
    """Slices are missing anywhere in a series. That a whole volume is missing shows nowhere."""
    series = some_series(study, random)
    if made_of_slices(study, series):
        for _ in range(random.choice([1, 1, 2, 5])):
            series.pop(random.randrange(len(series)))


def repeat_slice(study: Study, random: Random) -> None:
    """A slice is there twice under two UIDs, at times with other pixels. A volume that is there twice is no damage."""
    series = some_series(study, random)
    if made_of_slices(study, series):
        dataset = random.choice(series)
        twin = deepcopy(dataset)
        twin.SOPInstanceUID = f"{dataset.SOPInstanceUID}.7"
        if random.random() < 0.5 and "PixelData" in twin:
            twin.PixelData = bytes(reversed(twin.PixelData))
        series.append(twin)


def same_uid_twice(study: Study, random: Random) -> None:
    """Two files with one SOP Instance UID: alike, or with other pixels."""
    series = some_series(study, random)
    twin = deepcopy(random.choice(series))
    if random.random() < 0.5 and "PixelData" in twin:
        twin.PixelData = bytes(reversed(twin.PixelData))
    series.append(twin)


def move_slice(study: Study, random: Random) -> None:
    """One slice claims another place: within its plane, between two others, or at another's; or one volume of several
    that are packed a volume a file lies elsewhere than the rest."""
    offset = [random.choice([0.0, 3.0, -12.0]), random.choice([0.0, 5.0]), random.choice([4.0, -12.0])]
    for dataset in some_series(study, random)[3:4]:
        for nest in nests_of(dataset):
            position = nest.get("ImagePositionPatient")
            if position and len(position) == 3:
                nest.ImagePositionPatient = [f"{a + b:.6f}" for a, b in zip(position, offset, strict=True)]
                break


def turn_slice(study: Study, random: Random) -> None:
    """Some slices of a series lie in another plane."""
    planes = (["0", "1", "0", "0", "0", "-1"], ["1", "0", "0", "0", "-1", "0"], ["-1", "0", "0", "0", "1", "0"])
    turned = random.choice(planes)
    series = some_series(study, random)
    if made_of_slices(study, series):
        for dataset in series[::5]:
            dataset.ImageOrientationPatient = turned


def scale_wrongly(study: Study, random: Random) -> None:
    """All values of the map come out larger or smaller by a factor that lies between two units."""
    factor = random.choice([10.0, 0.1, 30.0])
    for dataset in study.series.get("map", []):
        for nest in nests_of(dataset):
            for keyword in ("RescaleSlope", "RescaleIntercept"):
                if nest.get(keyword):
                    setattr(nest, keyword, f"{float(nest[keyword].value) * factor:.10g}")
            for keyword in ("RealWorldValueSlope", "RealWorldValueIntercept"):
                if keyword in nest:
                    setattr(nest, keyword, nest[keyword].value * factor)


def lie_about_unit(study: Study, random: Random) -> None:
    """A Real World Value Mapping or a RescaleType says another unit than the values have."""
    wrong = random.choice([unit for unit in (1e-6, 1e-3, 1.0) if unit != study.plan.map.unit_mm2_per_s])
    lie = mapping(map_encoding(wrong, Stated.MAPPING, signed=study.plan.map.signed))
    lie.RealWorldValueSlope, lie.RealWorldValueIntercept = study.plan.map.slope, study.plan.map.intercept
    by_type = random.random() < 0.5
    for dataset in study.series.get("map", []):
        for nest in nests_of(dataset):
            if by_type and "RescaleType" in nest:
                nest.RescaleType = {1e-6: "10^-6 mm2/s", 1e-3: "10^-3 mm2/s", 1.0: "mm2/s"}[wrong]
            if not by_type and "RealWorldValueMappingSequence" in nest:
                nest.RealWorldValueMappingSequence = [lie]
        if not by_type and "PerFrameFunctionalGroupsSequence" not in dataset:
            dataset.RealWorldValueMappingSequence = [lie]


def cut_pixels(study: Study, random: Random) -> None:
    """Pixel data is too short."""
    for dataset in some_instances(study, random):
        if "PixelData" in dataset:
            dataset.PixelData = dataset.PixelData[: random.choice([0, len(dataset.PixelData) // 4 * 2])]


def miscount_frames(study: Study, random: Random) -> None:
    """An Enhanced object's NumberOfFrames, or its per-frame items, are off; so are the tiles of mosaics, grids."""
    for dataset in some_series(study, random):
        if "PerFrameFunctionalGroupsSequence" in dataset:
            if random.random() < 0.5:
                dataset.NumberOfFrames = int(dataset.NumberOfFrames) + random.choice([-1, 1])
            else:
                dataset.PerFrameFunctionalGroupsSequence.pop()
        for tag, vr in ((Tag(0x0019, 0x100A), "US"), (Tag(0x0065, 0x1050), "DS")):
            if tag in dataset and not isinstance(dataset[tag].value, bytes):
                dataset.add_new(tag, vr, int(dataset[tag].value) + random.choice([-3, 1, 30]))


def other_frame_of_reference(study: Study, random: Random) -> None:
    """Trace and map state different frames of reference."""
    for dataset in study.series.get("map", []):
        dataset.FrameOfReferenceUID = "1.2.3.4"


def other_study(study: Study, random: Random) -> None:
    """A series of another study got in."""
    for dataset in some_series(study, random):
        dataset.StudyInstanceUID = "1.2.3.5"


def other_body_part(study: Study, random: Random) -> None:
    """The series claims another body part."""
    for dataset in some_series(study, random):
        dataset.BodyPartExamined = random.choice(["KNEE", "PROSTATE", "ABDOMEN"])


def stranger(study: Study, random: Random) -> None:
    """Another patient's map is in the study."""
    other_patient(study)

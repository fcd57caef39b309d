"""What every layout is read into: one case, where its images are, and what it may be called in a table."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from pirtad.inference.findings import Finding

PUBLIC_B_S_PER_MM2 = 1000.0
"""ISLES 2022 and SOOP were acquired at b 1000 for the most part; their volumes do not say it."""


class DatasetError(Exception):
    """A folder or table that can't be used; the text names every case concerned, by the set's own public names."""


@dataclass(frozen=True, slots=True)
class NiftiPair:
    """DWI (trace) and ADC map as NIfTI files; the ADC's unit is found when they are read."""

    dwi: Path
    adc: Path
    b_value_s_per_mm2: float


@dataclass(frozen=True, slots=True)
class DicomStudy:
    """A folder with one study."""

    folder: Path


@dataclass(frozen=True, slots=True)
class DiffusionArchive:
    """A zip with all volumes of a diffusion acquisition (UK Biobank): trace and ADC are computed from it."""

    path: Path


Images = NiftiPair | DicomStudy | DiffusionArchive


@dataclass(frozen=True, slots=True)
class ImageCase:
    """Images of one case, before anything is known of its finding.

    names: what a table may call it, compared without case; the first is the one told in messages. case_id, patient: as
    retrieval.case.Case has them. lesion_mask: of the acute lesion on the DWI's grid, where the set has one.
    """

    names: tuple[str, ...] = field(repr=False)
    case_id: str
    patient: str | None = field(repr=False)
    images: Images = field(repr=False)
    provenance: str
    lesion_mask: Path | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Found:
    """What a folder holds. incomplete: names of the subjects that lack an image, with what they lack."""

    cases: tuple[ImageCase, ...]
    incomplete: dict[str, str]


_NUMBERED = re.compile(r"\d+")


def digits_of(name: str) -> str:
    """The one run of digits in a subject's or session's name ("0007" of "sub-strokecase0007").

    DatasetError where it has none or several: two subjects might get one id.
    """
    numbers = _NUMBERED.findall(name)
    if len(numbers) != 1 or len(numbers[0]) > 8:
        raise DatasetError(f"{name}: expected one number in the name")
    return str(numbers[0])


def images_below(folder: Path) -> list[Path]:
    """Every .nii and .nii.gz file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.name.lower().endswith((".nii", ".nii.gz")))


def stem_of(path: Path) -> str:
    """The name in lower case without .nii or .nii.gz."""
    return path.name.lower().removesuffix(".gz").removesuffix(".nii")


def report_of(finding: Finding) -> str:
    """The text that goes with a case nobody wrote a report for: its structured finding and nothing more."""
    return f"Findings: {finding.sentence()}"

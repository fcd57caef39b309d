"""A report, a study and an identity to compose documents from; all of it invented."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from pirtad.inference.findings import Territory
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.worker.sr.identity import SrIdentity, derive_identity
from pirtad.worker.sr.source import SourceStudy

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
IMAGES_IN_SERIES = 3
COMPOSED_AT = datetime(2026, 3, 4, 23, 30, 5, tzinfo=UTC)

PROVENANCE = Provenance(
    encoder_name="pirta-vit-base",
    encoder_sha256="a" * 64,
    preprocessing_version="3",
    case_base_sha256="b" * 64,
    language_model="SmolLM2-135M-Instruct",
    language_model_digest="c" * 64,
    prompt_sha256="d" * 64,
    pirtad_version="0.1.0",
)


def make_report(**changes: object) -> Report:
    report = Report(
        territory=Territory.ANTERIOR,
        clinical_presentation="A 71-year-old man with weakness of the right arm for two hours.",
        nihss="7",
        past_medical_history="Hypertension.\nAtrial fibrillation.",
        findings="There is strong wedge-shaped vascular territorial diffusion restriction "
        "in the anterior circulation territory.",
        impression="Acute infarction in the anterior circulation territory.",
        similar=(
            SimilarCase("c-0412", 0.9712, Territory.ANTERIOR, "There is strong diffusion restriction."),
            SimilarCase("c-0007", 0.95, Territory.ANTERIOR, "There is mild diffusion restriction."),
        ),
        provenance=PROVENANCE,
    )
    return replace(report, **changes)  # type: ignore[arg-type]


def make_image(series: int, number: int, **attributes: object) -> Dataset:
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = f"{STUDY_UID}.{series}.{number}"
    image.SeriesInstanceUID = f"{STUDY_UID}.{series}"
    image.StudyInstanceUID = STUDY_UID
    image.SeriesNumber = series
    image.PatientName = "Specimen^Ada"
    image.PatientID = "PID-1"
    image.IssuerOfPatientID = "HOSPITAL"
    image.PatientBirthDate = "19550102"
    image.PatientSex = "F"
    image.StudyDate = "20260304"
    image.StudyTime = "221500"
    image.StudyID = "S1"
    image.AccessionNumber = "ACC-1"
    image.ReferringPhysicianName = "Doe^Jan"
    image.StudyDescription = "MR BRAIN"
    image.InstitutionName = "General Hospital"
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


def make_study(b_value_s_per_mm2: float | None = 1000.0, **attributes: object) -> SourceStudy:
    dwi, adc = ([make_image(series, n, **attributes) for n in range(1, IMAGES_IN_SERIES + 1)] for series in (4, 5))
    return SourceStudy(dwi, adc, b_value_s_per_mm2)


def make_identity(**changes: object) -> SrIdentity:
    facts = {
        "study_instance_uid": STUDY_UID,
        "instances": [(f"{STUDY_UID}.4.1", "1" * 64), (f"{STUDY_UID}.5.1", "2" * 64)],
        "registry": Registry(age_years=71, sex="Male", nihss=7),
        "config": {"k": "2"},
        "provenance": PROVENANCE,
        "content_datetime": COMPOSED_AT,
    }
    return derive_identity(**(facts | changes))  # type: ignore[arg-type]


@pytest.fixture
def report() -> Callable[..., Report]:
    return make_report


@pytest.fixture
def study() -> Callable[..., SourceStudy]:
    return make_study


@pytest.fixture
def image() -> Callable[..., Dataset]:
    return make_image


@pytest.fixture
def identity() -> Callable[..., SrIdentity]:
    return make_identity


@pytest.fixture
def written(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "sr.dcm"
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def dcmtk() -> Callable[[str], str]:
    """Path of a DCMTK program; a machine without it skips, except in CI, which must have it."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"DCMTK's {program} is not on this machine")
        return str(path)

    return find

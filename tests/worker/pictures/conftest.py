"""A report, a study of twelve slices with its pixels, and an identity; all of it invented."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from pirtad.inference.findings import Territory
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.inference.volume import DiffusionPair, Volume
from pirtad.worker.sr.check import find_dciodvfy
from pirtad.worker.sr.identity import SrIdentity, derive_identity
from pirtad.worker.sr.source import SourceStudy

STUDY_UID = "1.2.826.0.1.3680043.8.498.1"
SLICES = 12
PROVENANCE = Provenance("pirta-vit", "a" * 64, "3", "b" * 64, "llm", "c" * 64, "d" * 64, "0.1.0")


@dataclass(frozen=True)
class Result:
    """What a picture is composed from."""

    report: Report
    source: SourceStudy
    pair: DiffusionPair
    lesion: np.ndarray

    def with_report(self, **changes: object) -> Result:
        return replace(self, report=replace(self.report, **changes))  # type: ignore[arg-type]


def header(series: int, number: int, **attributes: object) -> Dataset:
    image = Dataset()
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = f"{STUDY_UID}.{series}.{number}"
    image.SeriesInstanceUID = f"{STUDY_UID}.{series}"
    image.StudyInstanceUID = STUDY_UID
    image.SeriesNumber = series
    image.PatientName, image.PatientID, image.IssuerOfPatientID = "Specimen^Ada", "PID-1", "HOSPITAL"
    image.PatientBirthDate, image.PatientSex = "19550102", "F"
    image.StudyDate, image.StudyTime, image.StudyID = "20260304", "221500", "S1"
    image.AccessionNumber, image.ReferringPhysicianName = "ACC-1", "Doe^Jan"
    for keyword, value in attributes.items():
        setattr(image, keyword, value)
    return image


@pytest.fixture
def result() -> Callable[..., Result]:
    """Makes a result; the keywords are attributes of every image."""

    def make(**attributes: object) -> Result:
        points = np.indices((32, 40, SLICES)) - np.array([15.5, 19.5, 5.5])[:, None, None, None]
        brain = ((points * np.array([5, 5, 8])[:, None, None, None] / 70) ** 2).sum(axis=0) < 1
        lesion = ((points - np.array([6, 2, 0])[:, None, None, None]) ** 2).sum(axis=0) < 9
        affine = np.diag([5.0, 5.0, 8.0, 1.0])
        dwi = Volume(np.where(lesion, 900, np.where(brain, 400, 5)).astype(np.float32), affine)
        adc = Volume(np.where(lesion, 5e-4, 9e-4).astype(np.float32), affine)
        report = Report(
            territory=Territory.ANTERIOR,
            clinical_presentation="Weakness of Ada's right arm.",
            nihss="7",
            past_medical_history="Hypertension.",
            findings="Markedly hyperintense diffusion restriction in the anterior circulation territory.",
            impression="Diffusion restriction in the anterior circulation territory.",
            similar=(SimilarCase("c-0412", 0.97, Territory.ANTERIOR, "There is strong diffusion restriction."),),
            provenance=PROVENANCE,
            measured=("Measured with reduced ADC: left, 20.0 ml in 1 focus.",),
        )
        images = [[header(series, n, **attributes) for n in range(1, SLICES + 1)] for series in (4, 5)]
        return Result(report, SourceStudy(*images, 1000.0), DiffusionPair(dwi, adc, 1000.0), lesion)

    return make


@pytest.fixture
def identity() -> Callable[..., SrIdentity]:
    def make(role: str, **changes: object) -> SrIdentity:
        facts = {
            "study_instance_uid": STUDY_UID,
            "instances": [(f"{STUDY_UID}.4.1", "1" * 64)],
            "registry": Registry(age_years=71),
            "config": {"k": "1"},
            "provenance": PROVENANCE,
            "content_datetime": datetime(2026, 3, 4, 23, 30, 5, tzinfo=UTC),
        }
        return derive_identity(role=role, **(facts | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def errors_of(tmp_path: Path) -> Callable[[bytes, str], list[str]]:
    """What every dciodvfy here finds wrong with a file that it must recognise as of the given IOD."""

    def find(content: bytes, iod: str) -> list[str]:
        path = tmp_path / "object.dcm"
        path.write_bytes(content)
        validators = {p for p in (find_dciodvfy(), Path("/usr/bin/dciodvfy")) if p is not None and p.exists()}
        if not validators:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("dciodvfy is not on this machine")
        errors = []
        for validator in sorted(validators):
            done = subprocess.run([validator, path], capture_output=True, check=False, timeout=60)
            lines = (done.stdout + done.stderr).decode("utf-8", errors="replace").splitlines()
            errors += [line for line in lines if line.startswith("Error")]
            if iod not in lines:
                errors.append(f"not recognised as {iod}")
        return errors

    return find


@pytest.fixture
def dsrdump(tmp_path: Path) -> Callable[[bytes], str]:
    """The document as DCMTK prints it, its complaints included."""

    def dump(content: bytes) -> str:
        program = shutil.which("dsrdump")
        if program is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)("DCMTK's dsrdump is not on this machine")
        path = tmp_path / "dumped.dcm"
        path.write_bytes(content)
        done = subprocess.run([str(program), "+Pl", path], capture_output=True, check=True, timeout=30)
        return (done.stdout + done.stderr).decode("utf-8")

    return dump

"""A plain brain as files, and `pirtad` on them, for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from typer.testing import CliRunner, Result

from pirtad.daemon.cli.main import app
from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.volume import Volume

SHAPE, SPACING_MM = (80, 96, 32), (2.4, 2.4, 4.8)
ADC_MM2_PER_S = 0.8e-3


def head() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """DWI (whole numbers) and ADC (mm2/s) of an ellipsoid of brain around a ventricle, (80, 96, 32)."""
    centred = [np.linspace(-1, 1, size) * 1.25 for size in SHAPE]
    x, y, z = np.meshgrid(*centred, indexing="ij")
    inside = x**2 + y**2 + z**2 < 1
    noise = np.random.default_rng(1).normal(0, 5, SHAPE)
    dwi = np.where(inside, 300 + 40 * np.cos(9 * y), 5) + noise
    adc = np.where(inside, ADC_MM2_PER_S * (1 + 0.1 * np.cos(7 * z)), 0)
    ventricle = (x / 0.2) ** 2 + (y / 0.4) ** 2 + (z / 0.3) ** 2 < 1
    dwi, adc = np.where(ventricle, 110 + noise, dwi), np.where(ventricle, 3e-3, adc)
    return np.clip(dwi, 0, None).round().astype(np.float32), adc.astype(np.float32)


def affine_lps() -> NDArray[np.float64]:
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = [-95.0, -110.0, -70.0]
    return affine


def write_dicom(directory: Path) -> None:
    """The brain's DWI and ADC map as a study of one patient."""
    dwi, adc = head()
    header = StudyHeader("1.2.3.4", patient_id="P1", patient_name="DOE^JANE", sex="F", age="065Y")
    write_study(directory, Volume(dwi, affine_lps()), Volume(adc, affine_lps()), header)


def pirtad(*arguments: object) -> Result:
    """The command's result."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])

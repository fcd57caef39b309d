"""A small head, written as DICOM: 24 x 20 x 12 voxels of 8 x 8 x 6 mm, bright tissue in dark air."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from pirtad.inference.dicom.choosing.select import choose_pair, inspect_series
from pirtad.inference.dicom.reading.headers import Series, read_series
from pirtad.inference.dicom.volumes.assemble import assemble_pair
from pirtad.inference.simulation.dicom_writer import (
    LOCALIZER,
    T2,
    ExtraSeries,
    StudyHeader,
    write_series,
    write_study,
)
from pirtad.inference.volume import DiffusionPair, Volume

SHAPE = (24, 20, 12)
HEADER = StudyHeader(
    study_uid="2.25.314159265358979",
    patient_id="ID-1",
    patient_name="DOE^JANE",
    birth_date="19600229",
    sex="F",
    age="065Y",
    date="20260228",
)


def oblique_affine() -> np.ndarray:
    """A tilted head: rotated about all three axes, off centre."""
    x, y, z = 0.2, -0.15, 0.3
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x @ np.diag([8.0, 8.0, 6.0])
    affine[:3, 3] = [-91.25, -70.5, -33.125]
    return affine


def head(tissue: float, air: float = 0.0) -> Volume:
    """Every voxel of the ellipsoid differs a little from its neighbours, so that a flip or a swap shows."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = i**2 + j**2 + k**2 < 0.9
    ramp = 1 + 0.2 * i + 0.1 * j + 0.05 * k
    return Volume(np.where(inside, np.round(tissue * ramp), air).astype(np.float32), oblique_affine())


@dataclass
class HeadStudy:
    """Localizer, T2, 'sB1000' and 'dADC' as files; `dwi` and `adc` are what was written, ADC in mm2/s."""

    files: list[Path]
    dwi: Volume
    adc: Volume
    header: StudyHeader

    def of_role(self, role: str) -> list[Path]:
        """The files of "localizer", "t2", "dwi" or "adc", from foot to head."""
        return sorted(path for path in self.files if path.name.startswith(role + "_"))

    def edit(self, files: Iterable[Path] | str, change: Callable[[Dataset], None]) -> None:
        """Change files, or all files of a role, in place."""
        for path in self.of_role(files) if isinstance(files, str) else files:
            dataset = dcmread(path)
            change(dataset)
            dataset.save_as(path, enforce_file_format=True)

    def put(self, files: Iterable[Path] | str, **attributes: object) -> None:
        """Set attributes in files; None removes one."""

        def change(dataset: Dataset) -> None:
            for keyword, value in attributes.items():
                if value is None:
                    del dataset[keyword]
                else:
                    setattr(dataset, keyword, value)

        self.edit(files, change)

    def drop(self, role: str) -> None:
        """Leave a series out."""
        self.files = [path for path in self.files if path not in self.of_role(role)]

    def add(self, role: str, extra: ExtraSeries) -> list[Path]:
        """Send one more series; `role` names its files."""
        header = replace(extra.header, role=role)
        added = write_series(self.files[0].parent, extra.volume, self.header, header)
        self.files += added
        return added

    def series(self) -> list[Series]:
        return read_series(self.files)

    def inspect(self) -> dict[str, Any]:
        return inspect_series(self.series()).to_dict()

    def assembled(self) -> DiffusionPair:
        return assemble_pair(choose_pair(self.series()))


@pytest.fixture
def study(tmp_path: Path) -> HeadStudy:
    t2 = head(300.0, air=5.0)
    localizer = Volume(t2.array[:, :, :3], t2.affine)
    tissue = head(800.0)
    # mm2/s, whole multiples of 1e-6
    adc = Volume((tissue.array * np.float32(1e-6)).astype(np.float32), tissue.affine)
    dwi = head(600.0, air=10.0)
    extra = [ExtraSeries(localizer, LOCALIZER), ExtraSeries(t2, T2)]
    return HeadStudy(write_study(tmp_path / "study", dwi, adc, HEADER, extra=extra), dwi, adc, HEADER)

"""Real scanner output: what is in every set, as its files and frames come out of reading."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.shared import shared_data
from support.soop import soop_sub3_volume, write_soop_sub3

from pirtad.inference.dicom.frames import Layout, Plane, Series
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.stacked import volume_of

# Files, frames, layout of the images, (rows, columns) of a plane.
EXPECTED = {
    "dicom2nifti_ge_dti": (16, 16, Layout.SINGLE, (128, 128)),
    "ge_headers_phantom": (14, 14, Layout.SINGLE, (256, 256)),
    "philips_classic": (547, 544, Layout.SINGLE, (112, 112)),
    "siemens_e11_mosaic": (13, 13 * 25, Layout.MOSAIC, (128, 128)),
    "siemens_xa30_classic_phantom": (117, 117, Layout.SINGLE, (72, 72)),
    "siemens_xa30_enhanced": (7, 7 * 39, Layout.MULTI_FRAME, (72, 72)),
    "transfer_syntaxes": (9, 9 * 35, Layout.MOSAIC, (64, 64)),
    "uih_vframe": (17, 17 * 20, Layout.GRID, (64, 64)),
}


def read_set(name: str, folder: Path) -> list[Series]:
    with zipfile.ZipFile(shared_data(f"dicom/{name}.zip")) as archive:
        archive.extractall(folder)
    return read_series(path for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", EXPECTED)
def test_every_file_and_every_frame_is_accounted_for(tmp_path: Path, name: str) -> None:
    files, count, layout, size = EXPECTED[name]

    found = read_set(name, tmp_path)

    frames = [frame for series in found for frame in series.frames]
    assert sum(len(series.instances) for series in found) == files
    assert len(frames) == count
    for frame in frames:
        assert frame.instance.problem is None
        assert frame.instance.layout is layout
        assert isinstance(frame.plane, Plane)
        assert frame.plane.size == size
        assert frame.scaling.problem is None


def test_objects_that_are_no_images_are_named(tmp_path: Path) -> None:
    found = read_set("philips_classic", tmp_path)

    others = [series for series in found if not series.frames]
    assert sorted(series.modality for series in others) == ["MR", "MR", "PR"]
    for series in others:
        (instance,) = series.instances
        assert instance.problem is not None
        assert instance.problem.code == "unsupported_sop_class"


def test_the_slices_of_a_real_mosaic_follow_each_other(tmp_path: Path) -> None:
    (series,) = read_set("siemens_e11_mosaic", tmp_path)
    first = [frame for frame in series.frames if frame.instance is series.instances[0]]

    volume = volume_of(first)

    # 25 slices of 4 mm with a gap of 1.2 mm, 220 mm wide, as its protocol says
    assert volume.array.shape == (128, 128, 25)
    assert volume.spacing_mm == pytest.approx((1.71875, 1.71875, 5.2), abs=1e-4)
    assert volume.affine[0, 3] == pytest.approx(-110)


def test_a_clinical_stroke_study_comes_back_voxel_for_voxel(tmp_path: Path) -> None:
    trace, _ = read_series(write_soop_sub3(tmp_path))
    expected = soop_sub3_volume("TRACE")

    found = volume_of(trace.frames)

    np.testing.assert_array_equal(found.array, expected.array)
    np.testing.assert_allclose(found.affine, expected.affine, atol=1e-3)

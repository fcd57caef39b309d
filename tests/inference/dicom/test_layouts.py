"""Mosaics, grids and multi-frame images, packed here by plain arithmetic and unpacked to the volume they came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)
from pydicom.valuerep import format_number_as_ds
from support.vendor_writer.csa import csa_header

from pirtad.inference.dicom.frames import Layout, Series
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.errors import StudyNotUsable

COLUMNS, ROWS, SLICES = 6, 8, 7
VALUES = np.random.default_rng(1).permutation(COLUMNS * ROWS * SLICES).reshape(COLUMNS, ROWS, SLICES)
SPACING = np.array([2.0, 1.5, 4.0])
"""Along a row, down a column, between slices, in mm."""


def axes(name: str) -> np.ndarray:
    """Unit vectors (3, 3), as columns: along a row, down a column, slice normal; LPS."""
    tilt = np.array([[1, 0, 0], [0, np.cos(0.3), -np.sin(0.3)], [0, np.sin(0.3), np.cos(0.3)]])
    planes = {
        "axial": np.eye(3),
        "oblique": tilt,
        "sagittal": np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]]),
        "coronal": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]),
    }
    return np.asarray(planes[name], dtype=float)


def affine_of(name: str) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes(name) * SPACING
    affine[:3, 3] = [-41.0, 17.5, -8.25]
    return affine


def ds(values: object) -> list[str]:
    return [format_number_as_ds(float(value)) for value in np.ravel(values)]


def start(sop_class: str, pixels: np.ndarray) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.add_new("PixelData", "OW", pixels.astype("<u2").tobytes())
    return dataset


def tiled(order: range, across: int, down: int) -> np.ndarray:
    sheet = np.zeros((down * ROWS, across * COLUMNS), dtype=int)
    for at, k in enumerate(order):
        row, column = at // across * ROWS, at % across * COLUMNS
        sheet[row : row + ROWS, column : column + COLUMNS] = VALUES[:, :, k].T
    return sheet


def mosaic(plane: str, reverse: bool = False) -> Dataset:
    """Seven slices on three by three tiles; `reverse`: numbered against the normal."""
    affine, side = affine_of(plane), 3
    order = range(SLICES - 1, -1, -1) if reverse else range(SLICES)
    dataset = start(MRImageStorage, tiled(order, side, side))
    dataset.Manufacturer = "SIEMENS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE", "ND", "MOSAIC"]
    dataset.PixelSpacing = ds([SPACING[1], SPACING[0]])
    dataset.SpacingBetweenSlices = ds(SPACING[2])[0]
    dataset.ImageOrientationPatient = ds([axes(plane)[:, 0], axes(plane)[:, 1]])
    first = (affine @ [0, 0, order[0], 1])[:3]
    # About the centre of the first slice, as large as the whole sheet.
    corner = first - affine[:3, 0] * COLUMNS * (side - 1) / 2 - affine[:3, 1] * ROWS * (side - 1) / 2
    dataset.ImagePositionPatient = ds(corner)
    dataset.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", SLICES)
    normal = axes(plane)[:, 2] * (-1 if reverse else 1)
    set_csa(dataset, {"SliceNormalVector": ("FD", [f"{n:.8f}" for n in normal])})
    return dataset


def set_csa(dataset: Dataset, tags: dict[str, tuple[str, list[str]]]) -> None:
    block = dataset.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa_header(tags))


def grid(plane: str) -> Dataset:
    """Seven slices on three by three tiles, each with a position, in no order."""
    affine = affine_of(plane)
    order = [3, 0, 6, 1, 5, 2, 4]
    dataset = start(MRImageStorage, tiled(order, 3, 3))
    dataset.Manufacturer = "UIH"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "M", "VFRAME"]
    dataset.PixelSpacing = ds([SPACING[1], SPACING[0]])
    dataset.ImageOrientationPatient = ds([axes(plane)[:, 0], axes(plane)[:, 1]])
    items = []
    for number, k in enumerate(order):
        item = Dataset()
        item.ImagePositionPatient = ds((affine @ [0, 0, k, 1])[:3])
        item.AcquisitionDateTime = f"2026010112000{9 - number}.500000"
        items.append(item)
    block = dataset.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(SLICES))
    block.add_new(0x51, "SQ", items)
    return dataset


def enhanced(plane: str, sop_class: str = EnhancedMRImageStorage) -> Dataset:
    """Slices in no order, each with a rescale of its own; dimension indices that say another order."""
    affine = affine_of(plane)
    order = [3, 0, 6, 1, 5, 2, 4]
    dataset = start(sop_class, np.stack([VALUES[:, :, k].T for k in order]))
    dataset.NumberOfFrames = SLICES
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = ds([SPACING[1], SPACING[0]])
    orientation.ImageOrientationPatient = ds([axes(plane)[:, 0], axes(plane)[:, 1]])
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number, k in enumerate(order):
        frame, position, content, values = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = ds((affine @ [0, 0, k, 1])[:3])
        content.TemporalPositionIndex, content.InStackPositionNumber = 2, number + 1
        content.FrameAcquisitionDateTime, content.FrameAcquisitionNumber = f"2026010112000{number}", 5
        content.DimensionIndexValues = [1, number + 1]
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = ds([2 + k])[0], ds([-k])[0], "US"
        frame.PlanePositionSequence, frame.FrameContentSequence = [position], [content]
        frame.PixelValueTransformationSequence = [values]
        frame.MRDiffusionSequence, frame.MRImageFrameTypeSequence = [Dataset()], [Dataset()]
        frame.MRDiffusionSequence[0].DiffusionBValue = 1000.0
        frame.MRDiffusionSequence[0].DiffusionDirectionality = "ISOTROPIC"
        frame.MRImageFrameTypeSequence[0].FrameType = ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return dataset


def read(dataset: Dataset, folder: Path, implicit: bool = False) -> Series:
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    dataset.save_as(folder / "image.dcm", enforce_file_format=True)
    (series,) = read_series([folder / "image.dcm"])
    return series


PLANES = ("axial", "oblique", "sagittal", "coronal")


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("reverse", [False, True], ids=["with the normal", "against it"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_mosaic(tmp_path: Path, plane: str, reverse: bool, implicit: bool) -> None:
    series = read(mosaic(plane, reverse), tmp_path, implicit)

    volume = volume_of(series.frames)

    assert series.instances[0].layout is Layout.MOSAIC
    np.testing.assert_array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.affine, affine_of(plane), atol=1e-5)


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("plane", PLANES)
def test_a_grid(tmp_path: Path, plane: str, implicit: bool) -> None:
    series = read(grid(plane), tmp_path, implicit)

    volume = volume_of(series.frames)

    assert series.instances[0].layout is Layout.GRID
    np.testing.assert_array_equal(volume.array, VALUES)
    np.testing.assert_allclose(volume.affine, affine_of(plane), atol=1e-5)
    # The earliest of the slices' times stands for all
    assert {frame.moment for frame in series.frames} == {"20260101120003.500000"}


def test_twenty_slices_make_four_rows_of_five(tmp_path: Path) -> None:
    dataset = grid("axial")
    sheet = np.arange(4 * 5).reshape(4, 5).repeat(ROWS, axis=0).repeat(COLUMNS, axis=1)
    dataset.Rows, dataset.Columns = sheet.shape
    dataset.PixelData = sheet.astype("<u2").tobytes()
    items = []
    for number in range(20):
        items.append(Dataset())
        items[-1].ImagePositionPatient = [0, 0, number * 3]
    block = dataset.private_block(0x0065, "Image Private Header")
    block[0x50].value, block[0x51].value = "20", items

    volume = volume_of(read(dataset, tmp_path).frames)

    assert volume.array.shape == (COLUMNS, ROWS, 20)
    np.testing.assert_array_equal(volume.array[0, 0], np.arange(20))


@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
@pytest.mark.parametrize("sop_class", [EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage])
@pytest.mark.parametrize("plane", PLANES)
def test_a_multi_frame_image(tmp_path: Path, plane: str, sop_class: str, implicit: bool) -> None:
    series = read(enhanced(plane, sop_class), tmp_path, implicit)

    volume = volume_of(series.frames)

    assert series.instances[0].layout is Layout.MULTI_FRAME
    slices = np.arange(SLICES)
    np.testing.assert_array_equal(volume.array, VALUES * (2 + slices) - slices)
    np.testing.assert_allclose(volume.affine, affine_of(plane), atol=1e-5)
    assert [frame.index for frame in series.frames] == list(range(SLICES))
    assert {frame.temporal_position for frame in series.frames} == {2}
    assert {frame.acquisition for frame in series.frames} == {"5"}
    assert series.frames[3].moment == "20260101120003.000000"
    assert {frame.diffusion.b_value_s_per_mm2 for frame in series.frames} == {1000.0}
    assert series.kind == "trace"


def test_private_macros_of_a_frame_keep_their_creators(tmp_path: Path) -> None:
    # Given Siemens' b value in a private macro, in the block that another creator has at the top level
    dataset = enhanced("axial")
    dataset.Manufacturer = "Siemens Healthineers"
    dataset.private_block(0x0019, "SOMEBODY ELSE", create=True).add_new(0x0C, "IS", "7")
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.MRDiffusionSequence
        macro = Dataset()
        macro.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "850")
        frame.private_block(0x0021, "SIEMENS MR SDI 02", create=True).add_new(0xFE, "SQ", [macro])

    series = read(dataset, tmp_path)

    assert {frame.diffusion.b_value_s_per_mm2 for frame in series.frames} == {850.0}


def no_count(dataset: Dataset) -> None:
    del dataset[0x0019, 0x100A]


def no_csa(dataset: Dataset) -> None:
    del dataset[0x0029, 0x1010]


def torn_csa(dataset: Dataset) -> None:
    dataset[0x0029, 0x1010].value = dataset[0x0029, 0x1010].value[:70]


def normal_astray(dataset: Dataset) -> None:
    set_csa(dataset, {"SliceNormalVector": ("FD", ["1.0", "0.0", "0.0"])})


def no_gap(dataset: Dataset) -> None:
    del dataset.SpacingBetweenSlices


def ten_slices(dataset: Dataset) -> None:
    dataset[0x0019, 0x100A].value = 10


def a_tile_too_few(dataset: Dataset) -> None:
    dataset[0x0065, 0x1051].value = dataset[0x0065, 0x1051].value[1:]


def no_places(dataset: Dataset) -> None:
    del dataset[0x0065, 0x1051]


def a_frame_too_few(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[2]


def no_frames(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence


@pytest.mark.parametrize(
    ("make", "spoil", "told"),
    [
        (mosaic, no_count, "how many slices"),
        (mosaic, no_csa, "SliceNormalVector"),
        (mosaic, torn_csa, "SliceNormalVector"),
        (mosaic, normal_astray, "SliceNormalVector"),
        (mosaic, no_gap, "SpacingBetweenSlices"),
        (mosaic, ten_slices, "does not divide"),
        (grid, a_tile_too_few, "7 slices and the places of 6"),
        (grid, no_places, "places of 0"),
        (enhanced, a_frame_too_few, "7 frames and functional groups for 6"),
        (enhanced, no_frames, "functional groups for 0"),
    ],
)
def test_a_packing_that_cannot_be_undone_is_a_problem(
    tmp_path: Path, make: Callable[[str], Dataset], spoil: Callable[[Dataset], None], told: str
) -> None:
    dataset = make("axial")
    spoil(dataset)

    series = read(dataset, tmp_path)

    problem = series.instances[0].problem
    assert problem is not None
    assert problem.code == "unsupported_layout"
    assert told in problem.reason
    with pytest.raises(StudyNotUsable) as caught:
        volume_of(series.frames)
    assert caught.value.code == "unsupported_layout"


def test_a_count_in_the_csa_header_will_do(tmp_path: Path) -> None:
    dataset = mosaic("axial")
    no_count(dataset)
    normal = ("FD", ["0.0", "0.0", "1.0"])
    set_csa(dataset, {"SliceNormalVector": normal, "NumberOfImagesInMosaic": ("US", [str(SLICES)])})

    np.testing.assert_array_equal(volume_of(read(dataset, tmp_path).frames).array, VALUES)


def test_a_frame_without_a_place_leaves_the_others_theirs(tmp_path: Path) -> None:
    dataset = enhanced("axial")
    del dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence

    series = read(dataset, tmp_path)

    assert series.instances[0].problem is None
    with pytest.raises(StudyNotUsable) as caught:
        volume_of(series.frames)
    assert caught.value.code == "broken_geometry"
    left = [frame for frame in series.frames if frame.index not in {0, 2}]
    # Slice 6 lay in frame 2, slice 3 in frame 0: what is left has a gap, and says so
    with pytest.raises(StudyNotUsable, match="missing"):
        volume_of(left)

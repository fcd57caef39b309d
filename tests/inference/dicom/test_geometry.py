"""Planes to an affine: any pose in any order, and every way in which planes do not make a stack."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from pirtad.inference.dicom.frames import Plane, Problem
from pirtad.inference.dicom.geometry import SliceStack, share_inside
from pirtad.inference.dicom.geometry import stack_of as stack_of_planes
from pirtad.inference.dicom.reading.planes import plane_of
from pirtad.inference.errors import StudyNotUsable


def headers_of(affine: np.ndarray, shape: tuple[int, int, int]) -> list[Dataset]:
    """Headers of the slices of a right-handed grid."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    made = []
    for k in range(shape[2]):
        header = Dataset()
        header.Columns, header.Rows = shape[:2]
        header.PixelSpacing = [format_number_as_ds(float(value)) for value in (spacing[1], spacing[0])]
        cosines = np.concatenate([affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]])
        header.ImageOrientationPatient = [format_number_as_ds(float(value)) for value in cosines]
        position = affine[:3, 3] + k * affine[:3, 2]
        header.ImagePositionPatient = [format_number_as_ds(float(value)) for value in position]
        header.FrameOfReferenceUID = "1.2.3"
        made.append(header)
    return made


def stack_of(headers: list[Dataset]) -> SliceStack:
    planes = [plane_of(header) for header in headers]
    assert all(isinstance(plane, Plane) for plane in planes)
    return stack_of_planes(planes)


AXIAL = np.array([[2.0, 0, 0, -100], [0, 2.5, 0, -90], [0, 0, 5, -60], [0, 0, 0, 1]])


@settings(max_examples=60, deadline=None)
@given(
    quaternion=st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    spacing=st.tuples(*[st.floats(0.5, 6)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    order=st.randoms(use_true_random=False),
)
def test_any_pose_in_any_order(quaternion, spacing, origin, order: random.Random) -> None:
    w, x, y, z = np.array(quaternion) / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(spacing)
    affine[:3, 3] = origin
    headers = headers_of(affine, (30, 20, 12))
    shuffled = list(range(12))
    order.shuffle(shuffled)

    stack = stack_of([headers[at] for at in shuffled])

    assert [shuffled[at] for at in stack.order] == list(range(12))
    assert stack.shape == (30, 20, 12)
    np.testing.assert_allclose(stack.affine, affine, atol=1e-3)


def refused(headers: list[Dataset]) -> str:
    with pytest.raises(StudyNotUsable) as caught:
        stack_of(headers)
    assert caught.value.code == "broken_geometry"
    return caught.value.reason


def test_a_missing_slice_is_counted() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    assert "1 seem(s) to be missing" in refused(headers[:5] + headers[6:])


def test_two_slices_at_one_place() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    assert "1 slice(s) lie where another one lies" in refused([*headers, headers[4]])


def test_uneven_gaps() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    headers[3].ImagePositionPatient[2] += 1.0
    assert "gaps between" in refused(headers)


def test_small_rounding_of_positions_is_tolerated() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    for header in headers:
        header.ImagePositionPatient[2] = round(header.ImagePositionPatient[2] + 0.04, 1)
    assert stack_of(headers).spacing_mm == pytest.approx((2, 2.5, 5), abs=0.01)


def test_slices_shifted_in_their_plane() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    headers[6].ImagePositionPatient[0] += 3.0
    assert "shifted" in refused(headers)


def test_a_sheared_stack() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    for k, header in enumerate(headers):
        header.ImagePositionPatient[1] += k
    assert "shifted" in refused(headers)


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "differs"),
        ("PixelSpacing", [2, 3], "differ"),
        ("Rows", 9, "differ"),
        ("FrameOfReferenceUID", "1.2.4", "FrameOfReferenceUID"),
    ],
)
def test_one_slice_unlike_the_others(keyword: str, value: object, told: str) -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    setattr(headers[7], keyword, value)
    assert told in refused(headers)


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "perpendicular"),
        ("ImageOrientationPatient", [2, 0, 0, 0, 1, 0], "unit vectors"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0], "unit vectors"),
        ("ImageOrientationPatient", None, "ImageOrientationPatient"),
        ("ImagePositionPatient", None, "ImagePositionPatient"),
        ("ImagePositionPatient", [1, 2], "ImagePositionPatient"),
        ("PixelSpacing", [0, 2], "PixelSpacing"),
        ("PixelSpacing", [-1, 2], "PixelSpacing"),
        ("PixelSpacing", None, "PixelSpacing"),
        ("Columns", None, "Columns"),
        ("Rows", 0, "Rows"),
    ],
)
def test_a_header_without_a_usable_place_is_a_problem_and_no_error(keyword: str, value: object, told: str) -> None:
    header = headers_of(AXIAL, (8, 8, 1))[0]
    setattr(header, keyword, value)

    found = plane_of(header)

    assert isinstance(found, Problem)
    assert found.code == "broken_geometry"
    assert told in found.reason


# Rows of a matrix: the patient direction (LPS) of a row, of a column, and of the slices that follow from both.
STACKS = {
    "axial": ([1, 0, 0], [0, 1, 0], [0, 0, 1]),
    "axial, prone (rows run to the right, columns to the front)": ([-1, 0, 0], [0, -1, 0], [0, 0, 1]),
    "axial, decubitus": ([0, 1, 0], [-1, 0, 0], [0, 0, 1]),
    "axial, feet first (slices run to the feet)": ([-1, 0, 0], [0, 1, 0], [0, 0, -1]),
    "sagittal": ([0, 1, 0], [0, 0, -1], [-1, 0, 0]),
    "coronal": ([1, 0, 0], [0, 0, -1], [0, 1, 0]),
}


@pytest.mark.parametrize("position", ["HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL"])
@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("backwards", [False, True])
def test_positions_decide_and_the_patient_s_posture_does_not(name: str, position: str, backwards: bool) -> None:
    row, column, normal = (np.array(axis, dtype=float) for axis in STACKS[name])
    np.testing.assert_array_equal(np.cross(row, column), normal)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * 1.5, column * 2.0, normal * 4.0])
    affine[:3, 3] = [-30, 40, -50]
    headers = headers_of(affine, (16, 12, 10))
    for number, header in enumerate(headers):
        header.PatientPosition = position
        header.InstanceNumber = 100 - number
    given = headers[::-1] if backwards else headers

    stack = stack_of(given)

    np.testing.assert_allclose(stack.affine, affine, atol=1e-6)
    assert stack.shape == (16, 12, 10)
    assert np.linalg.det(stack.affine[:3, :3]) > 0
    assert stack.axial == name.startswith("axial")
    assert stack.order == tuple(range(10))[:: -1 if backwards else 1]


def test_several_missing_slices_are_counted() -> None:
    headers = headers_of(AXIAL, (8, 8, 20))
    assert "3 seem(s) to be missing" in refused(headers[:5] + headers[7:12] + headers[13:])


def test_a_lost_outer_slice_leaves_a_stack() -> None:
    # What is lost at an end cannot be told from geometry
    headers = headers_of(AXIAL, (8, 8, 12))
    assert stack_of(headers[1:]).shape == (8, 8, 11)


def test_interleaved_files_make_the_same_stack() -> None:
    headers = headers_of(AXIAL, (8, 8, 12))
    interleaved = headers[::2] + headers[1::2]
    np.testing.assert_array_equal(stack_of(interleaved).affine, stack_of(headers).affine)


@pytest.mark.parametrize("count", [0, 1])
def test_no_stack_of_fewer_than_two(count: int) -> None:
    refused(headers_of(AXIAL, (8, 8, 12))[:count])


def test_plane_and_coverage() -> None:
    coronal = np.array([[2.0, 0, 0, 0], [0, 0, 4, 0], [0, -2, 0, 0], [0, 0, 0, 1]])
    assert stack_of(headers_of(AXIAL, (8, 8, 12))).axial
    assert not stack_of(headers_of(coronal, (8, 8, 12))).axial
    assert stack_of(headers_of(AXIAL, (8, 8, 12))).coverage_mm == pytest.approx(60)


def test_the_shared_volume_is_measured() -> None:
    # Given a stack and the same one moved by a quarter of its height
    moved = AXIAL.copy()
    moved[2, 3] += 15
    one, other = stack_of(headers_of(AXIAL, (8, 8, 12))), stack_of(headers_of(moved, (8, 8, 12)))
    assert share_inside(one, one) == 1
    assert share_inside(one, other) == pytest.approx(0.75, abs=0.02)

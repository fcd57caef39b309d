"""Planes to an affine: any pose in any order, and every way in which planes do not make a stack."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.valuerep import format_number_as_ds

from pirtad.inference.dicom.geometry import share_inside, stack_of
from pirtad.inference.errors import StudyNotUsable


def planes(affine: np.ndarray, shape: tuple[int, int, int]) -> list[Dataset]:
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
    headers = planes(affine, (30, 20, 12))
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
    headers = planes(AXIAL, (8, 8, 12))
    assert "1 seem(s) to be missing" in refused(headers[:5] + headers[6:])


def test_two_slices_at_one_place() -> None:
    headers = planes(AXIAL, (8, 8, 12))
    assert "1 slice(s) lie where another one lies" in refused([*headers, headers[4]])


def test_uneven_gaps() -> None:
    headers = planes(AXIAL, (8, 8, 12))
    headers[3].ImagePositionPatient[2] += 1.0
    assert "gaps between" in refused(headers)


def test_small_rounding_of_positions_is_tolerated() -> None:
    headers = planes(AXIAL, (8, 8, 12))
    for header in headers:
        header.ImagePositionPatient[2] = round(header.ImagePositionPatient[2] + 0.04, 1)
    assert stack_of(headers).spacing_mm == pytest.approx((2, 2.5, 5), abs=0.01)


def test_slices_shifted_in_their_plane() -> None:
    headers = planes(AXIAL, (8, 8, 12))
    headers[6].ImagePositionPatient[0] += 3.0
    assert "shifted" in refused(headers)


def test_a_sheared_stack() -> None:
    headers = planes(AXIAL, (8, 8, 12))
    for k, header in enumerate(headers):
        header.ImagePositionPatient[1] += k
    assert "shifted" in refused(headers)


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], "differs"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "perpendicular"),
        ("ImageOrientationPatient", None, "ImageOrientationPatient"),
        ("ImagePositionPatient", None, "ImagePositionPatient"),
        ("PixelSpacing", [2, 3], "differ"),
        ("PixelSpacing", [0, 2], "PixelSpacing"),
        ("Rows", 9, "differ"),
        ("Columns", None, "Columns"),
        ("FrameOfReferenceUID", "1.2.4", "FrameOfReferenceUID"),
    ],
)
def test_one_slice_unlike_the_others(keyword: str, value: object, told: str) -> None:
    headers = planes(AXIAL, (8, 8, 12))
    setattr(headers[7], keyword, value)
    assert told in refused(headers)


@pytest.mark.parametrize("count", [0, 1])
def test_no_stack_of_fewer_than_two(count: int) -> None:
    refused(planes(AXIAL, (8, 8, 12))[:count])


def test_plane_and_coverage() -> None:
    coronal = np.array([[2.0, 0, 0, 0], [0, 0, 4, 0], [0, -2, 0, 0], [0, 0, 0, 1]])
    assert stack_of(planes(AXIAL, (8, 8, 12))).axial
    assert not stack_of(planes(coronal, (8, 8, 12))).axial
    assert stack_of(planes(AXIAL, (8, 8, 12))).coverage_mm == pytest.approx(60)


def test_the_shared_volume_is_measured() -> None:
    # Given a stack and the same one moved by a quarter of its height
    moved = AXIAL.copy()
    moved[2, 3] += 15
    one, other = stack_of(planes(AXIAL, (8, 8, 12))), stack_of(planes(moved, (8, 8, 12)))
    assert share_inside(one, one) == 1
    assert share_inside(one, other) == pytest.approx(0.75, abs=0.02)

"""From planes to one affine, or a refusal that says what is wrong with them.

PS3.3 C.7.6.2.1.1: the centre of the pixel at column i, row j lies at
    ImagePositionPatient + i * PixelSpacing[1] * IOP[0:3] + j * PixelSpacing[0] * IOP[3:6]      (mm, LPS)
Slices are ordered by the projection of ImagePositionPatient on the normal IOP[0:3] x IOP[3:6]; instance numbers are
an archive's business and say nothing about space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.frames import Plane
from pirtad.inference.errors import StudyNotUsable

# All four chosen; see docs/adr/0002-choosing-dwi-and-adc.md.
COSINE_TOLERANCE = 1e-3
"""Largest deviation of a direction cosine from unit length or a right angle, and between the slices of one stack."""
POSITION_TOLERANCE_MM = 0.1
"""Largest distance of a slice from its place on the uniform grid, or that share of the gap below if larger."""
POSITION_TOLERANCE_OF_GAP = 0.02
SPACING_TOLERANCE = 1e-3
"""Largest relative difference of PixelSpacing between the slices of one stack."""

_RESEND = "Compare the number of images with the archive's and send the series again."


@dataclass(frozen=True, slots=True, eq=False)
class SliceStack:
    """Parallel, evenly spaced slices.

    order: positions in the given sequence of planes, by ascending projection on the slice normal.
    affine: float64 (4, 4); (i, j, k, 1) to mm, LPS, voxel centres; right-handed. shape: (I, J, K).
    """

    order: tuple[int, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    frame_of_reference_uid: str

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along i, j, k."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def coverage_mm(self) -> float:
        """Extent along the slice normal, from outer face to outer face, a slice counted as thick as the gap."""
        return self.spacing_mm[2] * self.shape[2]

    @property
    def axial(self) -> bool:
        """Whether the slice normal is nearer to the patient's long axis than to any plane across it."""
        return bool(abs(self.affine[2, 2]) >= self.spacing_mm[2] * np.cos(np.pi / 4))


def stack_of(planes: Sequence[Plane]) -> SliceStack:
    """The geometry of the planes of one volume, given in any order.

    Raises:
        StudyNotUsable: "broken_geometry" for planes that do not make one evenly spaced stack: fewer than two slices,
            orientations or sizes that differ, two slices at one place, uneven gaps, slices shifted sideways.
    """
    first = planes[0] if planes else None
    if first is None or len(planes) < 2:
        raise broken(f"{len(planes)} slice(s): no stack")
    for plane in planes:
        if plane.size != first.size or not np.allclose(
            plane.spacing_mm, first.spacing_mm, rtol=SPACING_TOLERANCE, atol=0
        ):
            raise broken("Rows, Columns or PixelSpacing differ between its images")
        if not np.allclose(plane.cosines, first.cosines, rtol=0, atol=COSINE_TOLERANCE):
            raise broken("ImageOrientationPatient differs between its images")
        if plane.frame_of_reference_uid != first.frame_of_reference_uid:
            raise broken("FrameOfReferenceUID differs between its images")

    row, column = first.cosines
    normal = np.cross(row, column)
    projections = np.array([plane.position @ normal for plane in planes])
    order = sorted(range(len(planes)), key=lambda at: float(projections[at]))
    gap = _even_gap(projections[order], np.array([planes[at].position for at in order]), normal)

    affine = np.eye(4)
    affine[:3, 0] = row * first.spacing_mm[1]
    affine[:3, 1] = column * first.spacing_mm[0]
    affine[:3, 2] = normal * gap
    affine[:3, 3] = planes[order[0]].position
    rows, columns = first.size
    return SliceStack(tuple(order), affine, (columns, rows, len(planes)), first.frame_of_reference_uid)


def share_inside(inner: SliceStack, outer: SliceStack) -> float:
    """The share of the inner stack's volume that lies inside the outer one, 0 to 1, from 16^3 even samples."""
    steps = (np.arange(16) + 0.5) / 16
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    inner_index = grid * np.array(inner.shape) - 0.5
    position = inner_index @ inner.affine[:3, :3].T + inner.affine[:3, 3]
    index = np.linalg.solve(outer.affine[:3, :3], (position - outer.affine[:3, 3]).T).T
    inside = np.all((index >= -0.5) & (index <= np.array(outer.shape) - 0.5), axis=1)
    return float(inside.mean())


def _even_gap(projections: NDArray[np.float64], positions: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """The distance between neighbours in mm, given projections (K,) and positions (K, 3), both in order."""
    gaps = np.diff(projections)
    tolerance = max(POSITION_TOLERANCE_MM, POSITION_TOLERANCE_OF_GAP * float(np.median(gaps)))
    doubled = int((gaps <= tolerance).sum())
    if doubled:
        raise broken(f"{doubled} slice(s) lie where another one lies")
    gap = float(projections[-1] - projections[0]) / (len(projections) - 1)
    expected = positions[0] + np.outer(np.arange(len(positions)) * gap, normal)
    along = np.abs(projections - projections[0] - np.arange(len(projections)) * gap).max()
    if along > tolerance:
        typical = float(np.median(gaps))
        missing = int(np.round(gaps / typical - 1).clip(min=0).sum())
        suspected = f"; {missing} seem(s) to be missing" if missing else ""
        raise broken(f"gaps between {gaps.min():.2f} and {gaps.max():.2f} mm over {len(positions)} slices{suspected}")
    if np.linalg.norm(positions - expected, axis=1).max() > 2 * tolerance:
        raise broken("slices are shifted against each other within their planes")
    return gap


def broken(what: str) -> StudyNotUsable:
    """The refusal of planes that make no stack."""
    return StudyNotUsable("broken_geometry", f"broken geometry: {what}", _RESEND)

"""Where the slices of an acquisition lie, for every plane and every way a patient may be put into the scanner."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Plane(StrEnum):
    """Orientation of the slices relative to the scanner."""

    AXIAL = "axial"
    OBLIQUE = "oblique"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Position(StrEnum):
    """PatientPosition (0018,5100), PS3.3 C.7.3.1.1.2."""

    HFS = "HFS"
    HFP = "HFP"
    FFS = "FFS"
    FFP = "FFP"
    HFDR = "HFDR"
    HFDL = "HFDL"


# Scanner coordinates are LPS of a patient lying head first, supine. Columns: where the scanner's x, y, z axes point in
# the coordinates of a patient in that position (y points to the floor, z out of the bore's front towards the head end).
_TO_PATIENT = {
    Position.HFS: np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
    Position.HFP: np.array([[-1.0, 0, 0], [0, -1, 0], [0, 0, 1]]),
    Position.FFS: np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, -1]]),
    Position.FFP: np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]]),
    # Lying on the right side: the floor is to the patient's right.
    Position.HFDR: np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    Position.HFDL: np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}


def _rotation(x: float, y: float, z: float) -> Array:
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    product: Array = about_z @ about_y @ about_x
    return product


_AXES = {
    Plane.AXIAL: np.array([[1.0, 0, 0], [0, 1, 0]]),
    Plane.OBLIQUE: np.array([[1.0, 0, 0], [0, 1, 0]]) @ _rotation(0.25, -0.12, 0.15).T,
    Plane.CORONAL: np.array([[1.0, 0, 0], [0, 0, -1]]),
    Plane.SAGITTAL: np.array([[0.0, 1, 0], [0, 0, -1]]),
}


@dataclass(frozen=True, eq=False)
class Raster:
    """A stack of slices.

    size: (rows, columns); spacing_mm: (between rows, between columns); gap_mm: between slice centres.
    cosines: float64 (2, 3), ImageOrientationPatient; positions: float64 (slices, 3), centres of upper left pixels, in
        the order in which the scanner took them.
    """

    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    gap_mm: float
    cosines: Array
    positions: Array
    position: Position = Position.HFS

    @property
    def slices(self) -> int:
        """Number of slices."""
        return len(self.positions)

    @property
    def normal(self) -> Array:
        """Unit vector from the first slice to the last: along or against row x column."""
        step: Array = self.positions[-1] - self.positions[0]
        return step / float(np.linalg.norm(step))

    def points(self) -> Array:
        """Voxel centres in LPS, (slices, rows, columns, 3)."""
        rows, columns = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in self.size), indexing="ij")
        in_plane = (
            columns[..., None] * self.spacing_mm[1] * self.cosines[0]
            + rows[..., None] * self.spacing_mm[0] * self.cosines[1]
        )
        points: Array = self.positions[:, None, None, :] + in_plane[None]
        return points


def raster(
    plane: Plane = Plane.AXIAL,
    position: Position = Position.HFS,
    *,
    size: tuple[int, int] = (24, 26),
    spacing_mm: tuple[float, float] = (8.0, 7.5),
    slices: int = 12,
    gap_mm: float = 12.0,
    reverse: bool = False,
    shift_mm: tuple[float, float, float] = (1.5, -2.25, 3.0),
) -> Raster:
    """A stack centred on the head (off by `shift_mm`); `reverse`: slices were taken from the other end."""
    cosines = _AXES[plane] @ _TO_PATIENT[position].T
    normal = np.cross(cosines[0], cosines[1])
    rows, columns = size
    corner = (
        np.asarray(shift_mm)
        - cosines[0] * spacing_mm[1] * (columns - 1) / 2
        - cosines[1] * spacing_mm[0] * (rows - 1) / 2
    )
    along = (np.arange(slices) - (slices - 1) / 2) * gap_mm
    if reverse:
        along = along[::-1]
    # To a ten-thousandth of a millimetre, as scanners write it; the truth is sampled where the header says.
    positions = np.round(corner + along[:, None] * normal, 4)
    return Raster(size, spacing_mm, gap_mm, np.round(cosines, 9), positions, position)

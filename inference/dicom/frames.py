"""The study after its headers were read: series, their files, and every single plane with its place and its meaning.

A frame is one plane of pixels, however it is packed: a classic image, a frame of an Enhanced multi-frame object, or a
tile of a Siemens mosaic or a UIH grid. Everything after this module works on frames and knows no packing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.identity import PatientIdentity
from pirtad.inference.dicom.kinds import Diffusion, Kind


class Layout(StrEnum):
    """How planes are packed into a file."""

    SINGLE = "single"
    """One image, one plane (MR Image Storage)."""
    MOSAIC = "mosaic"
    """Siemens: the slices of a volume as tiles of one square image."""
    GRID = "grid"
    """United Imaging "VFRAME": the slices of a volume as tiles of one image."""
    MULTI_FRAME = "multi-frame"
    """Enhanced MR Image Storage: functional groups say where each frame lies."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a file, or a plane, cannot be used. `code` is stable, `reason` is for an operator; no patient data."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance, as far as its header is needed; the header itself is not kept.

    description: SeriesDescription, else ProtocolName.
    series_number: 0 where absent.
    problem: why its pixels must not be used, whatever they show; None if nothing speaks against them.
    """

    path: Path
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    identity: PatientIdentity = field(repr=False)
    description: str = field(repr=False)
    series_number: float
    body_part: str
    manufacturer: str
    layout: Layout = Layout.SINGLE
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """Where a plane lies (PS3.3 C.7.6.2.1.1), in mm, DICOM LPS.

    size: (rows, columns). spacing_mm: (between rows, between columns), the order of PixelSpacing.
    cosines: float64 (2, 3): direction of a row (towards higher columns), then of a column (towards higher rows).
    position: float64 (3,): centre of the upper left pixel.
    """

    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    cosines: NDArray[np.float64]
    position: NDArray[np.float64]
    frame_of_reference_uid: str


@dataclass(frozen=True, slots=True)
class Scaling:
    """How stored values become meaningful ones.

    slope, intercept: RescaleSlope and RescaleIntercept, of the frame (Pixel Value Transformation) or the image.
    unit_mm2_per_s: the diffusivity unit stated next to that pair; None where none is.
    diffusivity: (slope, intercept, unit in mm2/s) of a Real World Value Mapping in a diffusivity unit, which wins over
        the rescale for ADC maps; None where there is none.
    problem: why the pair cannot be used (a slope of zero, one without a value).
    """

    slope: float = 1.0
    intercept: float = 0.0
    unit_mm2_per_s: float | None = None
    diffusivity: tuple[float, float, float] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One plane of pixels.

    index: 0-based frame number in the file's pixel data. tile: (row, column) of the tile's upper left pixel in that
        frame; None where the frame is not tiled. plane: or the Problem that keeps it from having a place.
    temporal_position: TemporalPositionIdentifier or TemporalPositionIndex, None where absent.
    moment: when it was acquired, 'YYYYMMDDHHMMSS.ffffff' or without the date; "" where not stated.
    acquisition: AcquisitionNumber as text; "" where absent.
    """

    instance: Instance
    index: int
    tile: tuple[int, int] | None
    diffusion: Diffusion
    plane: Plane | Problem
    scaling: Scaling = Scaling()
    temporal_position: int | None = None
    moment: str = ""
    acquisition: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """The instances of one series with one modality and SOP class, by SOP Instance UID, so that the order of arrival
    or of file names never shows. frames: instance by instance; within one by index, then by tile."""

    study_uid: str
    series_uid: str
    modality: str
    sop_class_uid: str
    description: str = field(repr=False)
    instances: tuple[Instance, ...] = field(repr=False)
    frames: tuple[Frame, ...] = field(repr=False)

    @property
    def kind(self) -> Kind:
        """The kind of all its frames, or MIXED."""
        kinds = {frame.diffusion.kind for frame in self.frames}
        return kinds.pop() if len(kinds) == 1 else (Kind.MIXED if kinds else Kind.OTHER)

    @property
    def b_values_s_per_mm2(self) -> tuple[float, ...]:
        """The distinct b values that its frames state, ascending."""
        stated = (frame.diffusion.b_value_s_per_mm2 for frame in self.frames)
        return tuple(sorted({b_value for b_value in stated if b_value is not None}))

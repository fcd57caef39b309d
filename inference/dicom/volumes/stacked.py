"""Frames to volumes: planes sorted in space, pixels decoded file by file, values rescaled frame by frame."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.frames import Frame, Plane
from pirtad.inference.dicom.geometry import SliceStack, stack_of
from pirtad.inference.dicom.volumes.pixels import stored_frames
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import Volume


def volume_of(frames: Sequence[Frame]) -> Volume:
    """The volume that frames in any order make: float32 (I, J, K) after rescale, affine in LPS; k ascends along the
    slice normal and the affine is right-handed.

    Raises:
        StudyNotUsable: "broken_geometry", "unsupported_layout", "broken_rescale", and the errors of `stored_frames`.
    """
    stack = stack_of(planes_of(frames))
    return Volume(values_of(frames, stack, [_rescale(frame) for frame in frames]), stack.affine)


def adc_volume_of(frames: Sequence[Frame], *, rescale_only: bool = False) -> tuple[Volume, float | None]:
    """An ADC map in the unit it states, and that unit in mm2/s; None where none is stated.

    Where a Real World Value Mapping to a diffusivity is stated, it takes the place of the rescale, unless
    `rescale_only`: then what the map says of its unit is not looked at.

    Raises:
        StudyNotUsable: "adc_unit" where frames state different units; else as `volume_of`.
    """
    if rescale_only:
        return volume_of(frames), None
    units = {unit_stated(frame) for frame in frames}
    if len(units) > 1:
        raise StudyNotUsable("adc_unit", "the images of the ADC map state different units")
    stack = stack_of(planes_of(frames))
    mappings = [frame.scaling.diffusivity[:2] if frame.scaling.diffusivity else _rescale(frame) for frame in frames]
    return Volume(values_of(frames, stack, mappings), stack.affine), units.pop()


def unit_stated(frame: Frame) -> float | None:
    """The unit, in mm2/s, that a frame states for its diffusivity; None where it states none."""
    return frame.scaling.diffusivity[2] if frame.scaling.diffusivity else frame.scaling.unit_mm2_per_s


def planes_of(frames: Sequence[Frame]) -> list[Plane]:
    """The planes of frames, in their order.

    Raises:
        StudyNotUsable: the problem of the first frame that has no place.
    """
    planes = []
    for frame in frames:
        if not isinstance(frame.plane, Plane):
            raise StudyNotUsable(
                frame.plane.code, frame.plane.reason, "Look at the header, or send the series again from its source."
            )
        planes.append(frame.plane)
    return planes


def values_of(
    frames: Sequence[Frame], stack: SliceStack, mappings: Sequence[tuple[float, float]]
) -> NDArray[np.float32]:
    """Values of a stack's frames, float32 (I, J, K).

    mappings: slope and intercept of each frame, applied in double precision. Files are opened one after another, each
    once, whichever frames lie in it.
    """
    slices: dict[str, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for k, at in enumerate(stack.order):
        frame = frames[at]
        slices[frame.instance.sop_instance_uid][frame.index].append((k, at))
    values = np.empty(stack.shape, dtype=np.float32)
    columns, rows, _ = stack.shape
    for by_index in slices.values():
        instance = frames[next(iter(by_index.values()))[0][1]].instance
        for index, pixels in stored_frames(instance, by_index):
            for k, at in by_index[index]:
                row, column = frames[at].tile or (0, 0)
                tile = pixels[row : row + rows, column : column + columns]
                if tile.shape != (rows, columns) or (frames[at].tile is None and pixels.shape != tile.shape):
                    uid = instance.sop_instance_uid
                    raise StudyNotUsable(
                        "changed_instance", f"the file of instance {uid} no longer has its header's size"
                    )
                slope, intercept = mappings[at]
                values[:, :, k] = tile.T.astype(np.float64) * slope + intercept
    return values


def _rescale(frame: Frame) -> tuple[float, float]:
    problem = frame.scaling.problem
    if problem:
        raise StudyNotUsable(problem.code, problem.reason)
    return frame.scaling.slope, frame.scaling.intercept

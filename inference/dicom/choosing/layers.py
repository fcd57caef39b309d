"""Frames of one meaning, sorted into the slices they show: how often each slice was taken, and where the slices lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.frames import Frame, Plane, Problem
from pirtad.inference.dicom.geometry import (
    COSINE_TOLERANCE,
    POSITION_TOLERANCE_MM,
    SPACING_TOLERANCE,
    SliceStack,
    broken,
    stack_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """The slices of a stack, each with the same number of frames.

    places: for each slice, in the stack's order (k ascending), its frames by SOP Instance UID, frame and tile.
    """

    stack: SliceStack
    places: tuple[tuple[Frame, ...], ...]

    @property
    def depth(self) -> int:
        """Frames a slice."""
        return len(self.places[0])

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All of them, slice by slice."""
        return tuple(frame for place in self.places for frame in place)

    def volumes(self) -> Iterable[tuple[Frame, ...]]:
        """One frame of every slice at a time, as often as the slices are deep: good for means over all of them. Frames
        that come together need not share a direction; `volumes.single.whole_volumes` sees to that."""
        return zip(*self.places, strict=True)


def layers_of(frames: Sequence[Frame]) -> Layers:
    """Sort frames into slices.

    Raises:
        StudyNotUsable: "broken_geometry" for frames without a usable place, planes that are not parallel or of
            different size, uneven gaps, or slices that are there more often than others.
    """
    planes = [_plane(frame) for frame in frames]
    if not planes:
        raise broken("no images")
    if not _parallel(planes[0], planes).all():
        raise broken("its images differ in size, orientation, spacing or frame of reference")
    normal = np.cross(*planes[0].cosines)
    positions = np.array([plane.position for plane in planes])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    starts = np.flatnonzero(np.diff(along[order]) > POSITION_TOLERANCE_MM) + 1
    places = np.split(order, starts)
    for place in places:
        if np.linalg.norm(positions[place] - positions[place[0]], axis=1).max() > 2 * POSITION_TOLERANCE_MM:
            raise broken("images of one slice are shifted against each other")
    stack = stack_of([planes[place[0]] for place in places])
    counts = sorted({len(place) for place in places})
    if len(counts) > 1:
        raise broken(f"some of its {len(places)} slices are there {counts[0]} times, others {counts[-1]} times")
    ordered = tuple(tuple(sorted((frames[at] for at in places[k]), key=_identity)) for k in stack.order)
    return Layers(stack, ordered)


def split(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames apart by orientation, size, spacing and frame of reference, in the order of first appearance.

    A series may hold an axial stack and its coronal reformat; frames without a place are a group of their own.
    """
    groups = [[frame for frame in frames if isinstance(frame.plane, Problem)]]
    left = [frame for frame in frames if isinstance(frame.plane, Plane)]
    while left:
        planes = [_plane(frame) for frame in left]
        belongs = _parallel(planes[0], planes)
        groups.append([frame for frame, here in zip(left, belongs, strict=True) if here])
        left = [frame for frame, here in zip(left, belongs, strict=True) if not here]
    return [group for group in groups if group]


def repeats(frames: Sequence[Frame], slices: int) -> list[list[Frame]] | None:
    """Frames of `slices` slices apart by repetition, if one attribute tells the repetitions apart; None otherwise.

    TemporalPosition, AcquisitionNumber and acquisition time are tried in that order: one that takes one value for each
    whole volume, and no other, is what tells them apart. The order of the result is that of the attribute.
    """
    attributes: tuple[Callable[[Frame], float | str], ...] = (
        lambda frame: -1 if frame.temporal_position is None else frame.temporal_position,
        lambda frame: float(frame.acquisition) if frame.acquisition.isdigit() else -1.0,
        lambda frame: frame.moment,
    )
    for value_of in attributes:
        groups: dict[float | str, list[Frame]] = defaultdict(list)
        for frame in frames:
            groups[value_of(frame)].append(frame)
        if len(groups) > 1 and all(len(group) == slices for group in groups.values()):
            return [groups[value] for value in sorted(groups, key=lambda value: (isinstance(value, str), value))]
    return None


def _plane(frame: Frame) -> Plane:
    if isinstance(frame.plane, Problem):
        raise broken(frame.plane.reason)
    return frame.plane


def _identity(frame: Frame) -> tuple[str, int, tuple[int, int]]:
    return frame.instance.sop_instance_uid, frame.index, frame.tile or (0, 0)


def _parallel(lead: Plane, planes: Sequence[Plane]) -> NDArray[np.bool_]:
    """Which planes (N,) could be slices of one stack with `lead`."""
    cosines = np.array([plane.cosines for plane in planes]).reshape(len(planes), 6)
    spacing = np.array([plane.spacing_mm for plane in planes])
    same = np.array(
        [plane.size == lead.size and plane.frame_of_reference_uid == lead.frame_of_reference_uid for plane in planes]
    )
    same &= np.abs(cosines - lead.cosines.reshape(6)).max(axis=1) <= COSINE_TOLERANCE
    same &= np.abs(spacing / np.array(lead.spacing_mm) - 1).max(axis=1) <= SPACING_TOLERANCE
    return np.asarray(same)

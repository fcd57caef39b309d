"""When volumes were taken, as far as headers say: AcquisitionNumber, AcquisitionTime and the temporal position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum

from pydicom import Dataset

from support.vendor_writer.shots import Shot


class Clock(StrEnum):
    """How a scanner counts and times volumes."""

    SHARED = "shared"
    """All volumes of an acquisition alike; a repeat of the whole has the next number."""
    VOLUMES = "every volume its own"
    """Every acquired volume has the next number; traces and maps have that of the first they were made from."""
    VOLUMES_UNDATED_MAPS = "every acquired volume its own, derived ones none"


def acquired(shots: Iterable[Shot], clock: Clock) -> tuple[Shot, ...]:
    """The volumes that the scanner took, in their order."""
    if clock is Clock.SHARED:
        return tuple(_shared(shot) for shot in shots)
    return tuple(replace(shot, moment=n, position=n) for n, shot in enumerate(shots, start=1))


def derived(shots: Iterable[Shot], clock: Clock, volumes_a_repeat: int) -> tuple[Shot, ...]:
    """What was calculated, or sent along, of acquisitions of so many volumes each."""
    if clock is Clock.SHARED:
        return tuple(_shared(shot) for shot in shots)
    if clock is Clock.VOLUMES_UNDATED_MAPS:
        return tuple(replace(shot, moment=None, position=None) for shot in shots)
    firsts = [(shot, 1 + (shot.repeat - 1) * volumes_a_repeat) for shot in shots]
    return tuple(replace(shot, moment=first, position=first) for shot, first in firsts)


def date(dataset: Dataset, shot: Shot) -> None:
    """Write into a header what the shot says."""
    if shot.moment is None:
        for keyword in ("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime"):
            if keyword in dataset:
                delattr(dataset, keyword)
        return
    dataset.AcquisitionNumber, dataset.AcquisitionTime = shot.moment, time_of(shot.moment)
    if shot.position is not None:
        dataset.TemporalPositionIdentifier = shot.position


def time_of(moment: int) -> str:
    """A volume a second, from twenty past ten on."""
    return f"1020{moment - 1:02}"


def _shared(shot: Shot) -> Shot:
    return replace(shot, moment=shot.repeat, position=shot.repeat if shot.repeat > 1 else None)

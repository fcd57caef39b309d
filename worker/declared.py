"""What headers declare of how many images there should be, held against how many there are.

Geometry alone cannot tell that a stack goes on beyond its last slice: half a brain is as evenly spaced as a whole one.
A number can, where a scanner states one that fits the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from pirtad.inference.dicom.choosing.candidates import Candidate
from pirtad.inference.dicom.frames import Layout
from pirtad.inference.dicom.plain import plain_text, plain_whole
from pirtad.worker.ledger.looks import Counts


@dataclass(frozen=True, slots=True)
class Declared:
    """Of one instance; None where it says nothing.

    images_in_acquisition: ImagesInAcquisition (0020,1002). temporal_positions: NumberOfTemporalPositions (0020,0105).
    concatenation_uid, in_concatenation: ConcatenationUID (0020,9161) and InConcatenationTotalNumber (0020,9162): the
        multi-frame objects that one acquisition was cut into (PS3.3 C.7.6.16.2.2.4).
    """

    images_in_acquisition: int | None = None
    temporal_positions: int | None = None
    concatenation_uid: str = ""
    in_concatenation: int | None = None


NOTHING = Declared()
_TAGS = (
    *("ImagesInAcquisition", "NumberOfTemporalPositions", "ConcatenationUID", "InConcatenationTotalNumber"),
    *("SpecificCharacterSet",),
)


def declared_in(path: Path) -> Declared:
    """Read one file's declarations; OSError or pydicom's InvalidDicomError if it can't be read."""
    header = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    return Declared(
        plain_whole(header, "ImagesInAcquisition"),
        plain_whole(header, "NumberOfTemporalPositions"),
        plain_text(header, "ConcatenationUID"),
        plain_whole(header, "InConcatenationTotalNumber"),
    )


def counts_of(
    pair: tuple[Candidate, Candidate],
    received: Mapping[str, int],
    declared: Callable[[Path], Declared],
    in_archive: Mapping[str, int],
) -> Counts:
    """What is declared of a DWI and an ADC map that lie on one grid.

    On one grid the two have the same slices, so a number that covers one volume covers the other; a number that is not
    reached, of either, is one too many. received: images of each series that are here, by series UID. in_archive: the
    same in the archive, of the series it was asked for and answered.
    """
    found = [_of_volume(one, received[one.series.series_uid], declared) for one in pair]
    archived = [_of_archive(received, in_archive, one.series.series_uid) for one in pair]
    if Counts.SHORT in (*found, *archived):
        return Counts.SHORT
    if Counts.MET in found or archived == [Counts.MET, Counts.MET]:
        return Counts.MET
    return Counts.UNSTATED


def _of_archive(received: Mapping[str, int], in_archive: Mapping[str, int], series_uid: str) -> Counts:
    known = in_archive.get(series_uid)
    if known is None or known < received[series_uid]:
        return Counts.UNSTATED  # an archive that lacks what is here is behind, and its number says nothing of the rest
    return Counts.MET if received[series_uid] == known else Counts.SHORT


def _of_volume(volume: Candidate, in_series: int, declared: Callable[[Path], Declared]) -> Counts:
    instances = {frame.instance.sop_instance_uid: frame.instance for frame in volume.frames}
    stated = [declared(instance.path) for instance in instances.values()]
    if any((one.temporal_positions or 1) * len(instances) > in_series for one in stated):
        return Counts.SHORT
    if any(instance.layout is not Layout.SINGLE for instance in instances.values()):
        return _of_packed(len(instances), stated)
    numbers = {one.images_in_acquisition for one in stated}
    if any(number is not None and number > in_series for number in numbers):
        return Counts.SHORT
    # A number of a whole series of several volumes says nothing of one of them: any other number is left alone.
    return Counts.MET if numbers == {len(instances)} else Counts.UNSTATED


def _of_packed(files: int, stated: list[Declared]) -> Counts:
    """A multi-frame object, a mosaic or a grid is received as a whole or not at all (NumberOfFrames is what reading it
    goes by); several make a volume only as a concatenation."""
    totals = {(one.concatenation_uid, one.in_concatenation or 1) for one in stated}
    if len(totals) > 1:
        return Counts.UNSTATED
    ((uid, total),) = totals
    if total > files:
        return Counts.SHORT
    return Counts.MET if files == 1 or (uid and total == files) else Counts.UNSTATED

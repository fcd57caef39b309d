"""Files in, series out; pixel data is not read."""

from __future__ import annotations

import filecmp
import multiprocessing
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

from pirtad.inference.dicom.frames import Series
from pirtad.inference.dicom.meaning.diffusion import settle
from pirtad.inference.dicom.reading.instances import ReadFile, read_file
from pirtad.inference.errors import StudyNotUsable

MANY_FILES = 4000
"""From here on a second process is worth what starting it costs. Measured with tests/bench/inspect_speed.py."""
_PROCESSES = 2
_CHUNK = 250


def read_series(paths: Iterable[Path]) -> list[Series]:
    """Read the headers of DICOM Part 10 files and group them; the result does not depend on the files' order.

    Raises:
        StudyNotUsable: "unreadable_instance" for a file that is no DICOM file, ends inside its header, lacks one
            of the UIDs that say where it belongs, or is an MR image without pixels: one lost image is reason enough
            to stop, for what it was is unknown. "conflicting_duplicates" for two files that claim to be the same
            instance and differ.

    A DICOMDIR describes other files and is passed over, a second copy of a file as well.
    """
    return series_of(_read_all(sorted(paths)))


def series_of(files: Iterable[ReadFile]) -> list[Series]:
    """The same of files whose headers were read before; in the order of their paths, the result is the same too.

    Raises:
        StudyNotUsable: "conflicting_duplicates", see `read_series`.
    """
    groups: dict[tuple[str, str, str, str], list[ReadFile]] = defaultdict(list)
    for read in _without_copies(files):
        instance = read.instance
        groups[instance.study_uid, instance.series_uid, instance.modality, instance.sop_class_uid].append(read)
    made = [_series(key, files) for key, files in groups.items()]
    # As a reader knows them: by series number; UIDs break ties.
    return sorted(
        made,
        key=lambda one: (
            min(instance.series_number for instance in one.instances),
            *(one.series_uid, one.sop_class_uid, one.study_uid, one.modality),
        ),
    )


def _series(key: tuple[str, str, str, str], files: list[ReadFile]) -> Series:
    files = sorted(files, key=lambda read: read.instance.sop_instance_uid)
    description = files[0].instance.description
    frames = [frame for read in files for frame in read.frames]
    settled = settle([frame.diffusion for frame in frames], description)
    return Series(
        *key,
        description,
        tuple(read.instance for read in files),
        tuple(
            frame if frame.diffusion is diffusion else replace(frame, diffusion=diffusion)
            for frame, diffusion in zip(frames, settled, strict=True)
        ),
    )


def _read_all(paths: Sequence[Path]) -> Iterable[ReadFile]:
    # A process that a pool started, such as a worker's, may not start another one.
    if len(paths) < MANY_FILES or multiprocessing.current_process().daemon:
        read = [read_file(path) for path in paths]
    else:
        # Spawned, not forked: the caller may have threads.
        with ProcessPoolExecutor(_PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
            read = list(pool.map(read_file, paths, chunksize=_CHUNK))
    return [one for one in read if one is not None]


def _without_copies(files: Iterable[ReadFile]) -> Iterable[ReadFile]:
    known: dict[str, ReadFile] = {}
    for read in files:
        uid = read.instance.sop_instance_uid
        first = known.setdefault(uid, read)
        if first is read:
            continue
        if not filecmp.cmp(first.instance.path, read.instance.path, shallow=False):
            raise StudyNotUsable(
                "conflicting_duplicates",
                f"two files that differ claim to be instance {uid}",
                "Find out at the archive which one is right, and send the study again.",
            )
    return list(known.values())

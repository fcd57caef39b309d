"""One series as a volume: which of several is meant, and that no volume is put together from two."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from support.frames import X, Y, Z, directions, series_of, stack

from pirtad.inference.dicom.choosing.layers import layers_of
from pirtad.inference.dicom.frames import Frame
from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.dicom.reading.headers import read_series
from pirtad.inference.dicom.volumes.single import series_volume, whole_volumes
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.simulation.dicom_writer import SeriesHeader, StudyHeader, write_series
from pirtad.inference.volume import Volume


def in_any_order(frames: list[Frame]) -> list[Frame]:
    """The same frames with SOP Instance UIDs that say nothing of their order, as on real archives."""
    uids = [f"1.2.{n}" for n in range(len(frames))]
    random.Random(5).shuffle(uids)
    return [
        replace(frame, instance=replace(frame.instance, sop_instance_uid=uid))
        for frame, uid in zip(frames, uids, strict=True)
    ]


def test_volumes_are_whole_where_uids_do_not_follow_the_directions() -> None:
    frames = in_any_order([*directions(), *stack(Kind.B0, 0.0), *stack(Kind.B0, 0.002)])
    layers = layers_of(frames)
    meanings = [{(f.diffusion.b_value_s_per_mm2, f.diffusion.direction) for f in one} for one in layers.volumes()]
    assert any(len(found) > 1 for found in meanings)  # what the order of the UIDs would have made

    volumes = whole_volumes(layers)

    said = [{(f.diffusion.b_value_s_per_mm2, f.diffusion.direction) for f in one} for one in volumes]
    assert said == [{(0.0, None)}, {(0.002, None)}, {(1000.0, Z)}, {(1000.0, Y)}, {(1000.0, X)}]
    assert all(layers_of(one).depth == 1 and len(one) == 12 for one in volumes)


def test_repetitions_are_told_apart_and_come_in_their_order() -> None:
    frames = in_any_order([*stack(temporal_position=2), *stack(temporal_position=1)])
    volumes = whole_volumes(layers_of(frames))
    assert [{frame.temporal_position for frame in one} for one in volumes] == [{1}, {2}]


def test_an_attribute_that_runs_across_directions_is_not_believed() -> None:
    # Given acquisition numbers that count two halves, each of them half of either direction
    one, other = stack(Kind.DIRECTION, direction=X), stack(Kind.DIRECTION, direction=Y)
    frames = [replace(frame, acquisition="1" if at % 2 else "2") for at, frame in enumerate(one)]
    frames += [replace(frame, acquisition="2" if at % 2 else "1") for at, frame in enumerate(other)]

    volumes = whole_volumes(layers_of(in_any_order(frames)))

    assert [{frame.diffusion.direction for frame in volume} for volume in volumes] == [{Y}, {X}]


def test_what_nothing_tells_apart_is_refused() -> None:
    frames = in_any_order([*stack(), *stack(name="again")])
    with pytest.raises(StudyNotUsable, match="2 images at every slice position, and nothing tells") as caught:
        whole_volumes(layers_of(frames))
    assert caught.value.code == "duplicate_slices"


def test_the_refusal_names_the_option_and_its_range() -> None:
    series = [series_of(directions(), stack(Kind.B0, 0.0))]
    with pytest.raises(StudyNotUsable) as several:
        series_volume(series, "1.2.1")
    assert several.value.code == "several_volumes"
    assert several.value.reason == "series 1.2.1 holds 4 volumes (b 0, 1000 s/mm2)"
    assert several.value.hint == "Give --volume 1 to --volume 4, or a b value that only one of them has."
    with pytest.raises(StudyNotUsable) as of_one_b_value:
        series_volume(series, "1.2.1", 1000.0)
    assert of_one_b_value.value.hint == "Give --volume 1 to --volume 3."
    for number in (0, 5):
        with pytest.raises(StudyNotUsable, match=f"4 volumes .* there is no volume {number}") as absent:
            series_volume(series, "1.2.1", number=number)
        assert (absent.value.code, absent.value.hint) == ("no_such_volume", "--volume goes from 1 to 4.")


def test_each_volume_of_a_series_is_written_voxel_for_voxel(tmp_path: Path) -> None:
    # Given one series of b 0 and two directions, its files named and its UIDs drawn without any order
    rng = np.random.default_rng(4)
    affine = np.diag([8.0, 8.0, 6.0, 1.0])
    arrays = [rng.integers(0, 4000, (6, 5, 4)).astype(np.float32) for _ in range(3)]
    files: list[Path] = []
    for n, (array, b) in enumerate(zip(arrays, (0.0, 1000.0, 1000.0), strict=True)):
        header = SeriesHeader(f"part{n}", 7, "DTI", ("ORIGINAL", "PRIMARY", "DIFFUSION"), b)
        files += write_series(tmp_path, Volume(array, affine), StudyHeader("1.2.3"), header)
    uids = [f"1.2.3.{n}" for n in range(len(files))]
    random.Random(6).shuffle(uids)
    for path, uid in zip(files, uids, strict=True):
        dataset = dcmread(path)
        dataset.SeriesInstanceUID, dataset.SOPInstanceUID = "1.2.3.7", uid
        dataset.file_meta.MediaStorageSOPInstanceUID = uid
        if dataset.DiffusionBValue:
            dataset.DiffusionGradientOrientation = [0.0, 0.0, 1.0] if path.name.startswith("part1") else [1.0, 0.0, 0.0]
        dataset.save_as(path, enforce_file_format=True)
    found = read_series(files)

    # Then each of them comes back whole, by its number in the series or among those of its b value
    for number, array in enumerate(arrays, start=1):
        np.testing.assert_array_equal(series_volume(found, "7", number=number).array, array)
    np.testing.assert_array_equal(series_volume(found, "7", 0.0).array, arrays[0])
    np.testing.assert_array_equal(series_volume(found, "7", 1000.0, 2).array, arrays[2])
    np.testing.assert_array_equal(series_volume(found, "7", 1000.0, 1).array, arrays[1])

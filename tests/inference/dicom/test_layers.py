"""Frames into slices: depth, order, and what makes no stack."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from support.frames import CORONAL, directions, stack

from pirtad.inference.dicom.choosing.layers import layers_of, repeats, split
from pirtad.inference.dicom.frames import Problem
from pirtad.inference.dicom.kinds import Kind
from pirtad.inference.errors import StudyNotUsable


def test_slices_are_found_whatever_the_order_of_the_frames() -> None:
    frames = directions()
    random.Random(7).shuffle(frames)

    layers = layers_of(frames)

    assert layers.depth == 3
    assert layers.stack.shape == (24, 20, 12)
    heights = [{float(frame.plane.position[2]) for frame in place} for place in layers.places]
    assert heights == [{k * 6.0} for k in range(12)]
    volumes = list(layers.volumes())
    assert [len(volume) for volume in volumes] == [12, 12, 12]
    assert len({id(frame) for volume in volumes for frame in volume}) == 36


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frames: frames[:5] + frames[6:], "1 seem"),
        (lambda frames: frames + stack(moment="2")[:7], "some of its"),
        (lambda frames: [], "no images"),
        (lambda frames: [replace(frames[0], plane=Problem("x", "no place")), *frames[1:]], "no place"),
    ],
)
def test_what_makes_no_stack_is_refused_with_its_reason(change, said) -> None:
    with pytest.raises(StudyNotUsable, match=said) as caught:
        layers_of(change(stack()))
    assert caught.value.code == "broken_geometry"


def test_a_slice_shifted_within_its_plane_is_refused() -> None:
    frames = stack() + stack(moment="2")
    shifted = replace(frames[-1].plane, position=frames[-1].plane.position + np.array([3.0, 0, 0]))
    frames[-1] = replace(frames[-1], plane=shifted)
    with pytest.raises(StudyNotUsable, match="shifted"):
        layers_of(frames)


def test_orientations_are_told_apart() -> None:
    axial, coronal = stack(), stack(cosines=CORONAL)
    mixed = [frame for pair in zip(axial, coronal, strict=True) for frame in pair]
    assert split(mixed) == [axial, coronal]


def test_repetitions_are_told_apart_by_whatever_attribute_does() -> None:
    first, second = stack(moment="100000"), stack(moment="100100")
    assert repeats(second + first, 12) == [first, second]
    numbered = stack(acquisition="10") + stack(acquisition="9")
    assert [part[0].acquisition for part in repeats(numbered, 12) or []] == ["9", "10"]
    assert repeats(stack() + stack(name="x"), 12) is None


def test_an_attribute_that_differs_slice_by_slice_tells_no_repetitions() -> None:
    frames = [replace(frame, moment=str(k // 2)) for k, frame in enumerate(stack() + stack(name="x"))]
    assert repeats(frames, 12) is None


def test_depth_of_different_kinds_does_not_matter_to_layers() -> None:
    assert layers_of(stack(Kind.B0, 0.0) + stack(Kind.B0, 0.001)).depth == 2

"""One series as a volume, whether or not a study is usable with it: for looking at it and for comparing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from pirtad.inference.dicom.choosing.candidates import by_b_value
from pirtad.inference.dicom.choosing.layers import Layers, layers_of, repeats
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import SAME_B_VALUE_S_PER_MM2, b_in_words
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import Volume


def series_volume(
    series: Sequence[Series],
    series_uid: str,
    b_value_s_per_mm2: float | None = None,
    number: int | None = None,
) -> Volume:
    """The rescaled values of one series, float32 (I, J, K) in LPS; of its images of one b value, if one is given.

    series_uid: Series Instance UID, or the series number where only one series has it.
    number: which of its volumes, from 1, in the order of `whole_volumes`; may be None where there is one.

    Raises:
        StudyNotUsable: "no_such_series", "several_volumes" where there are several and no number is given,
            "no_such_volume", "duplicate_slices" where nothing tells the volumes apart, and what `layers_of` and
            `volume_of` raise.
    """
    frames = _frames_of(series, series_uid, b_value_s_per_mm2)
    volumes = whole_volumes(layers_of(frames))
    last = len(volumes)
    b_values = [b_in_words(b) for b in by_b_value(frames)]
    b_told = f"b {', '.join(b_values)} s/mm2" if b_values else "no b value stated"
    held = f"series {series_uid} holds {last} volume{'s' if last > 1 else ''} ({b_told})"
    if number is None and last > 1:
        by_b = ", or a b value that only one of them has" if len(b_values) > 1 else ""
        raise StudyNotUsable("several_volumes", held, f"Give --volume 1 to --volume {last}{by_b}.")
    chosen = 1 if number is None else number
    if not 1 <= chosen <= last:
        raise StudyNotUsable(
            "no_such_volume", f"{held}, there is no volume {chosen}", f"--volume goes from 1 to {last}."
        )
    return volume_of(volumes[chosen - 1])


def whole_volumes(layers: Layers) -> list[list[Frame]]:
    """Layers as volumes, each with one frame of every slice and one meaning.

    In the order of the repetitions where an attribute numbers them (`layers.repeats`), else by b value, direction and
    repetition. SOP Instance UIDs order the frames of each slice by themselves, and in real series not alike in all
    slices: taken by that order, a volume may hold slices of several directions.

    Raises:
        StudyNotUsable: "duplicate_slices" where several frames of a slice cannot be told apart.
    """
    if layers.depth == 1:
        return [list(layers.frames)]
    place_of = {id(frame): k for k, place in enumerate(layers.places) for frame in place}
    slices = len(layers.places)

    def whole(frames: Sequence[Frame]) -> bool:
        return len(frames) == slices == len({place_of[id(frame)] for frame in frames})

    numbered = repeats(layers.frames, slices) or []
    if numbered and all(whole(part) and len({_meaning(frame) for frame in part}) == 1 for part in numbered):
        return numbered
    alike: dict[tuple[float, ...], list[Frame]] = defaultdict(list)
    for frame in layers.frames:
        alike[_meaning(frame)].append(frame)
    volumes: list[list[Frame]] = []
    for meaning in sorted(alike):
        group = alike[meaning]
        volumes += [group] if len(group) == slices else repeats(group, slices) or [group]
    if not all(map(whole, volumes)):
        reason = f"{layers.depth} images at every slice position, and nothing tells them apart"
        raise StudyNotUsable("duplicate_slices", reason, "Give a b value that only one of its volumes has.")
    return volumes


def _frames_of(series: Sequence[Series], series_uid: str, b_value_s_per_mm2: float | None) -> list[Frame]:
    named = [one for one in series if series_uid in (one.series_uid, f"{one.instances[0].series_number:g}")]
    found = [one for one in named if one.frames]
    frames = [frame for one in found for frame in one.frames]
    if not frames or len({one.series_uid for one in found}) > 1:
        raise StudyNotUsable(
            "no_such_series",
            f"no images in a series {series_uid}, or several series",
            "`pirtad inspect` lists the series.",
        )
    problem = next((frame.instance.problem for frame in frames if frame.instance.problem), None)
    if problem:
        raise StudyNotUsable(problem.code, problem.reason)
    if b_value_s_per_mm2 is None:
        return frames
    frames = [frame for frame in frames if _has(frame, b_value_s_per_mm2)]
    if not frames:
        raise StudyNotUsable(
            "no_such_series", f"series {series_uid} has no images of b {b_in_words(b_value_s_per_mm2)}"
        )
    return frames


def _has(frame: Frame, b_value_s_per_mm2: float) -> bool:
    own = frame.diffusion.b_value_s_per_mm2
    return own is not None and abs(own - b_value_s_per_mm2) <= SAME_B_VALUE_S_PER_MM2


def _meaning(frame: Frame) -> tuple[float, ...]:
    """What sets a volume apart, comparable: b value (-1 where not stated) and direction."""
    b_value = frame.diffusion.b_value_s_per_mm2
    return (-1.0 if b_value is None else b_value, *(frame.diffusion.direction or ()))

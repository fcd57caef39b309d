"""One series as a volume, whether or not a study is usable with it: for looking at it and for comparing."""

from __future__ import annotations

from collections.abc import Sequence

from pirtad.inference.dicom.choosing.candidates import by_b_value
from pirtad.inference.dicom.choosing.layers import layers_of
from pirtad.inference.dicom.frames import Frame, Series
from pirtad.inference.dicom.kinds import SAME_B_VALUE_S_PER_MM2, b_in_words
from pirtad.inference.dicom.volumes.stacked import volume_of
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import Volume


def series_volume(series: Sequence[Series], series_uid: str, b_value_s_per_mm2: float | None = None) -> Volume:
    """The rescaled values of one series, float32 (I, J, K) in LPS; of its images of one b value, if one is given.

    series_uid: Series Instance UID, or the series number where only one series has it.

    Raises:
        StudyNotUsable: "no_such_series", "several_volumes" where a slice is there more than once, and what
            `layers_of` and `volume_of` raise.
    """
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
    if b_value_s_per_mm2 is not None:
        frames = [frame for frame in frames if _has(frame, b_value_s_per_mm2)]
        if not frames:
            raise StudyNotUsable(
                "no_such_series", f"series {series_uid} has no images of b {b_in_words(b_value_s_per_mm2)}"
            )
    layers = layers_of(frames)
    if layers.depth > 1:
        b_values = ", ".join(b_in_words(b) for b in by_b_value(frames)) or "not stated"
        reason = f"series {series_uid} holds {layers.depth} volumes (b {b_values} s/mm2)"
        raise StudyNotUsable("several_volumes", reason, "Give a b value that only one of them has.")
    return volume_of(layers.frames)


def _has(frame: Frame, b_value_s_per_mm2: float) -> bool:
    own = frame.diffusion.b_value_s_per_mm2
    return own is not None and abs(own - b_value_s_per_mm2) <= SAME_B_VALUE_S_PER_MM2

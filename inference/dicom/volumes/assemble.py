"""The chosen frames as volumes: the only place where a choice touches pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.dicom.choosing.layers import Layers
from pirtad.inference.dicom.choosing.overlap import mismatch, same_grid
from pirtad.inference.dicom.choosing.recipes import AdcFit, AsSent, GeometricMean, Level
from pirtad.inference.dicom.choosing.select import Choice
from pirtad.inference.dicom.volumes.adc_unit import tissue_values, unit_of
from pirtad.inference.dicom.volumes.computed import adc_fit, arithmetic_mean, geometric_mean
from pirtad.inference.dicom.volumes.stacked import adc_volume_of, volume_of
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import DiffusionPair, Volume

IN_MM2_PER_S = 1.0


def assemble_pair(choice: Choice) -> DiffusionPair:
    """Read the pixels of the chosen series and put them in space.

    Returns the DWI in its own arbitrary units after rescale and the ADC in mm2/s, both float32 (I, J, K) with affines
    in LPS; k ascends along the slice normal, the affines are right-handed.

    Raises:
        StudyNotUsable: "broken_geometry", "pair_mismatch", "truncated_instance", "undecodable_instance",
            "changed_instance", "broken_rescale", "adc_unit", "blank_image".
    """
    why_not = mismatch(choice.dwi.stack, choice.adc.stack, one_series=choice.dwi.series is choice.adc.series)
    if why_not:
        raise StudyNotUsable("pair_mismatch", f"DWI and ADC do not belong together: {why_not}")
    dwi = dwi_volume(choice)
    if np.ptp(dwi.array) == 0:
        raise StudyNotUsable("blank_image", "the DWI holds one single value", "Send the series again.")
    return DiffusionPair(dwi, _adc_volume(choice, dwi), choice.b_value_s_per_mm2)


def dwi_volume(choice: Choice) -> Volume:
    """The DWI alone, as sent or as the geometric mean of its directions."""
    recipe = choice.dwi.recipe
    if isinstance(recipe, GeometricMean):
        return _made(recipe.layers, geometric_mean(_arrays(recipe.layers)))
    assert isinstance(recipe, AsSent)  # a DWI is nothing else
    return volume_of(recipe.frames)


def _adc_volume(choice: Choice, dwi: Volume) -> Volume:
    recipe = choice.adc.recipe
    stated: float | None
    if isinstance(recipe, AdcFit):
        levels = recipe.levels
        fitted = adc_fit(recipe.b_values_s_per_mm2, [_signal(level) for level in levels])
        volume, stated = _made(levels[0].layers, fitted), IN_MM2_PER_S
    else:
        volume, unit = adc_volume_of(recipe.frames, rescale_only=choice.adc_unit_mm2_per_s is not None)
        stated = choice.adc_unit_mm2_per_s or unit
    on_one_grid = same_grid(choice.dwi.stack, choice.adc.stack)
    unit_mm2_per_s = unit_of(tissue_values(volume.array, dwi.array if on_one_grid else None), stated)
    return Volume((volume.array * np.float64(unit_mm2_per_s)).astype(np.float32), volume.affine)


def _signal(level: Level) -> NDArray[np.float64]:
    """One b value's signal (I, J, K)."""
    mean = arithmetic_mean if level.averaged else geometric_mean
    return mean(_arrays(level.layers))


def _arrays(layers: Layers) -> Iterator[NDArray[np.float32]]:
    return (volume_of(frames).array for frames in layers.volumes())


def _made(layers: Layers, values: NDArray[np.float64]) -> Volume:
    return Volume(np.ascontiguousarray(values, dtype=np.float32), layers.stack.affine)

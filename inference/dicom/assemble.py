"""The chosen series as volumes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from pirtad.inference.dicom.adc_unit import rescale_of, stated_mapping, unit_of
from pirtad.inference.dicom.geometry import SliceStack, stack_of
from pirtad.inference.dicom.headers import Instance
from pirtad.inference.dicom.pairing import mismatch
from pirtad.inference.dicom.pixels import stored_values
from pirtad.inference.dicom.select import Choice
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.volume import DiffusionPair, Volume


def assemble_pair(choice: Choice) -> DiffusionPair:
    """Read the pixels of the chosen series and put them in space.

    Returns the DWI in its own arbitrary units after rescale and the ADC in mm2/s, both float32 (I, J, K) with affines
    in LPS; k ascends along the slice normal, the affines are right-handed.

    Raises:
        StudyNotUsable: "broken_geometry", "pair_mismatch", "truncated_instance", "undecodable_instance",
            "changed_instance", "broken_rescale", "adc_unit", "blank_image".
    """
    dwi_stack = stack_of([instance.header for instance in choice.dwi.instances])
    adc_stack = stack_of([instance.header for instance in choice.adc.instances])
    why_not = mismatch(dwi_stack, adc_stack)
    if why_not:
        raise StudyNotUsable("pair_mismatch", f"DWI and ADC do not belong together: {why_not}")

    dwi_maps = [rescale_of(instance.header) for instance in choice.dwi.instances]
    dwi = _stacked(choice.dwi.instances, dwi_maps, dwi_stack)
    if np.ptp(dwi) == 0:
        raise StudyNotUsable("blank_image", "the DWI holds one single value", "Send the series again.")

    stated = [stated_mapping(instance.header) for instance in choice.adc.instances]
    units = {unit for _, _, unit in stated}
    if len(units) > 1:
        raise StudyNotUsable("adc_unit", "the images of the ADC map state different units")
    adc = _stacked(choice.adc.instances, [(slope, intercept) for slope, intercept, _ in stated], adc_stack)
    adc *= unit_of(_tissue(adc, adc_stack, dwi, dwi_stack), units.pop())
    return DiffusionPair(_volume(dwi, dwi_stack), _volume(adc, adc_stack), choice.b_value_s_per_mm2)


def _stacked(
    instances: Sequence[Instance], rescale: Sequence[tuple[float, float]], stack: SliceStack
) -> NDArray[np.float64]:
    """Rescaled values, float64 (I, J, K); `rescale` holds slope and intercept of each instance."""
    values = np.empty(stack.shape, dtype=np.float64)
    for k, at in enumerate(stack.order):
        slope, intercept = rescale[at]
        pixels = stored_values(instances[at])
        if pixels.shape != (stack.shape[1], stack.shape[0]):
            uid = instances[at].sop_instance_uid
            raise StudyNotUsable("changed_instance", f"the file of instance {uid} no longer has its header's size")
        values[:, :, k] = pixels.T * slope + intercept
    return values


def _tissue(
    adc: NDArray[np.float64], adc_stack: SliceStack, dwi: NDArray[np.float64], dwi_stack: SliceStack
) -> NDArray[np.float64]:
    """ADC values (N,) where the DWI is bright (Otsu), which leaves out air and CSF; the whole map on unlike grids."""
    same_grid = adc_stack.shape == dwi_stack.shape and np.allclose(adc_stack.affine, dwi_stack.affine, atol=0.5)
    if not same_grid:
        return adc.ravel()
    bright = sitk.GetArrayViewFromImage(sitk.OtsuThreshold(sitk.GetImageFromArray(dwi), 0, 1)) > 0
    return np.asarray(adc[bright])


def _volume(values: NDArray[np.float64], stack: SliceStack) -> Volume:
    return Volume(np.ascontiguousarray(values, dtype=np.float32), stack.affine)

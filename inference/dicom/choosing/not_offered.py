"""The reason why a series offers neither DWI nor ADC map."""

from __future__ import annotations

from pirtad.inference.dicom.choosing.candidates import Rejection, reject
from pirtad.inference.dicom.choosing.modalities import modality_in_words
from pirtad.inference.dicom.frames import Series
from pirtad.inference.dicom.kinds import Kind

_NOT_OURS = {
    Kind.EADC: ("exponential_adc", "an exponential ADC map: not diffusivity in mm2/s"),
    Kind.EXPONENTIAL: ("exponential_adc", "an exponential image: neither acquired nor a diffusivity"),
    Kind.CALCULATED_DWI: ("calculated_dwi", "images at a calculated b value, never acquired"),
    Kind.FA: ("diffusion_tensor", "a fractional anisotropy map"),
    Kind.COLOUR_FA: ("diffusion_tensor", "a colour map of fractional anisotropy"),
    Kind.TENSOR: ("diffusion_tensor", "a result of a tensor fit"),
    Kind.PERFUSION: ("perfusion", "perfusion images"),
    Kind.UNCLEAR: ("unclear", "its header contradicts itself about DWI or ADC map"),
}


def plain_rejection(series: Series) -> Rejection:
    """The reason for a series that offers neither DWI nor ADC images."""
    if series.modality != "MR":
        return reject(series, "not_mr", f"modality {modality_in_words(series.modality)}, not MR")
    kinds = {frame.diffusion.kind for frame in series.frames}
    for kind, (code, reason) in _NOT_OURS.items():
        if kinds == {kind} or (kind is Kind.UNCLEAR and kind in kinds):
            return reject(series, code, reason)
    problem = next((one.problem for one in series.instances if one.problem), None)
    if problem and not series.frames:
        return reject(series, problem.code, problem.reason)
    return reject(series, "not_diffusion", "no diffusion-weighted images and no ADC map")

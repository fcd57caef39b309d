"""Philips: b factor and direction code of every MR image, diffusion or not.

Sources: github.com/rordenlab/dcm2niix/tree/master/Philips and headers of an Ingenia Elition X.
    (2001,1003) FL  b factor; 0 in every image that is not diffusion-weighted, T1 and T2 included
                    "Philips Imaging DD 001"
    (2001,1004) CS  I isotropic (the trace); P, M, S along an axis, O oblique. b 0 images say O too, with a vector
    (2001,1020) LO  scanning technique: DwiSE, T1TFE, TSE...
    (2005,10B0..B2) FL  gradient direction to the right, anterior and feet   "Philips MR Imaging DD 001"
(2005,140F) nests a copy of the header whose DiffusionDirectionality says NONE on weighted images: never read here.
"""

from __future__ import annotations

from pirtad.inference.dicom.kinds import MAX_B0_S_PER_MM2
from pirtad.inference.dicom.meaning.vendors.private import PrivateElements, Stated, plausible_b, vector

_IMAGING, _MR = "Philips Imaging DD 001", "Philips MR Imaging DD 001"
_ISOTROPIC = {"I": True, "P": False, "M": False, "S": False, "O": False}


def read(private: PrivateElements, open_b_value: bool) -> tuple[Stated, ...]:
    """What the private elements say.

    A b of 0 on an isotropic image is a placeholder, for a trace of b 0 does not exist; a b value only where the
    technique says diffusion and nothing else speaks of another one (`open_b_value`).
    """
    b_value = plausible_b(private.numbers(0x2001, _IMAGING, 0x03, "FL"))
    code = private.text(0x2001, _IMAGING, 0x04, "CS").upper()
    technique = private.text(0x2001, _IMAGING, 0x20)
    isotropic = _ISOTROPIC.get(code)
    is_diffusion = technique.upper().startswith("DWI")
    if isotropic and b_value is not None and b_value <= MAX_B0_S_PER_MM2 and not (is_diffusion and open_b_value):
        b_value = None
    weighted = b_value is not None and b_value > MAX_B0_S_PER_MM2
    parts = [private.numbers(0x2005, _MR, element, "FL") for element in (0xB0, 0xB1, 0xB2)]
    gradient = tuple(part[0] for part in parts) if all(parts) else ()
    return (
        Stated(
            b_value_s_per_mm2=b_value,
            b_source="Philips b factor (2001,1003)",
            isotropic=isotropic,
            shape_source=f"Philips (2001,1004) {code}",
            direction=vector(gradient),
            diffusion=(is_diffusion or weighted) if technique else (weighted or None),
            diffusion_source="Philips technique (2001,1020)" if technique else "Philips b factor (2001,1003)",
        ),
    )

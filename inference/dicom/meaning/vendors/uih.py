"""United Imaging: the b value that was reached, next to the one that was asked for.

Sources: the vendor's table in github.com/rordenlab/dcm2niix/tree/master/UIH and headers of a uMR 770.
    (0065,1009) FD  b value as played out: 929.75 for a b of 1000        "Image Private Header"
    (0065,100A) FD  b value as chosen by the operator
    (0065,102D) ST  sequence: 'epi_dti_b0', 'epi_dti_b1000#2'
    (0065,1037) FD  gradient direction, three numbers, zero for b 0
"""

from __future__ import annotations

from dataclasses import replace

from pirtad.inference.dicom.meaning.vendors.private import PrivateElements, Stated, plausible_b, vector
from pirtad.inference.dicom.meaning.vendors.siemens import sequence_name

_IMAGE = "Image Private Header"


def read(private: PrivateElements) -> tuple[Stated, ...]:
    """What the private elements say. The chosen b value comes as nominal: 7 % off in the set at hand."""
    b_value = plausible_b(private.numbers(0x0065, _IMAGE, 0x09, "FD"))
    chosen = plausible_b(private.numbers(0x0065, _IMAGE, 0x0A, "FD"))
    gradient = private.numbers(0x0065, _IMAGE, 0x37, "FD")
    named = sequence_name(private.text(0x0065, _IMAGE, 0x2D, "ST"), "UIH sequence (0065,102D)")
    direction = vector(gradient)
    stated = Stated(
        b_value_s_per_mm2=b_value,
        b_source="UIH b value (0065,1009)",
        nominal_b_s_per_mm2=chosen,
        nominal_source=f"UIH chosen b value (0065,100A) {chosen or 0:g}",
        direction=direction,
        diffusion=True if named.diffusion or direction else None,
        diffusion_source="UIH sequence (0065,102D)",
    )
    return stated, replace(named, nominal_b_s_per_mm2=named.nominal_b_s_per_mm2 if chosen is None else None)

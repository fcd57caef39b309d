"""SOOP, the Stroke Outcome Optimization Project (Absher et al., Scientific Data 2024; OpenNeuro ds004889, CC0).

sub-3/dwi/sub-3_rec-{TRACE,ADC}_dwi.nii.gz; masks below derivatives/lesion_masks/sub-3/dwi.
"""

from __future__ import annotations

from pathlib import Path

from pirtad.inference.datasets.bids import derivative, only, subjects_below
from pirtad.inference.datasets.record import PUBLIC_B_S_PER_MM2, Found, ImageCase, NiftiPair, digits_of

_ACUTE = ("_desc-lesionacute_mask",)
_ANY = ("_desc-lesion_mask",)


def soop(root: Path) -> Found:
    """Every subject with a trace image and an ADC map; case_id "soop-3". A table may say sub-3 or 3.

    lesion_mask: the acute one where acute and chronic are told apart. Raises DatasetError as `isles2022`.
    """
    cases, incomplete = [], {}
    for subject in subjects_below(root):
        number = digits_of(subject.name)
        dwi, adc = only(subject, ("_rec-trace_dwi",)), only(subject, ("_rec-adc_dwi",))
        if dwi is None or adc is None:
            incomplete[subject.name] = "no trace image" if dwi is None else "no ADC map"
            continue
        mask = derivative(root, subject.name, "", _ACUTE) or derivative(root, subject.name, "", _ANY)
        cases.append(
            ImageCase(
                names=(subject.name, number),
                case_id=f"soop-{number}",
                patient=f"soop-{number}",
                images=NiftiPair(dwi, adc, PUBLIC_B_S_PER_MM2),
                provenance="SOOP, OpenNeuro ds004889, CC0",
                lesion_mask=mask,
            )
        )
    return Found(tuple(cases), incomplete)

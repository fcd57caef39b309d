"""ISLES 2022 (Hernandez Petzsche et al., Scientific Data 2022; CC BY-SA 4.0), in both of its releases.

Challenge: rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_{dwi,adc}.nii.gz. Zenodo:
sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_{dwi,adc}.nii.gz. Masks of both:
derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz.
"""

from __future__ import annotations

from pathlib import Path

from pirtad.inference.datasets.bids import derivative, only, sessions_of, subjects_below
from pirtad.inference.datasets.record import PUBLIC_B_S_PER_MM2, Found, ImageCase, NiftiPair, digits_of

_FIRST_SESSION = 1


def isles2022(root: Path) -> Found:
    """Every session with a DWI and an ADC map; case_id "isles-0001", of a later session "isles-00010002".

    A table may say sub-strokecase0001_ses-0001, and of the first session also sub-strokecase0001 and strokecase0001.
    Raises DatasetError if there are no subjects, or several images where one is expected.
    """
    cases, incomplete = [], {}
    for subject in subjects_below(root):
        number = digits_of(subject.name)
        for session, folder in sessions_of(subject):
            name = f"{subject.name}_{session}" if session else subject.name
            dwi, adc = only(folder, ("_dwi",)), only(folder, ("_adc",))
            if dwi is None or adc is None:
                incomplete[name] = "no DWI" if dwi is None else "no ADC map"
                continue
            first = not session or int(digits_of(session)) == _FIRST_SESSION
            shorter = (subject.name, subject.name[len("sub-") :]) if first else ()
            cases.append(
                ImageCase(
                    names=(name, *shorter),
                    case_id=f"isles-{number}" if first else f"isles-{number}{int(digits_of(session)):04d}",
                    patient=f"isles-{number}",
                    images=NiftiPair(dwi, adc, PUBLIC_B_S_PER_MM2),
                    provenance="ISLES 2022, CC BY-SA 4.0",
                    lesion_mask=derivative(root, subject.name, session, ("_msk",)),
                )
            )
    return Found(tuple(cases), incomplete)

"""What keeps a whole study from being read, whatever its series are."""

from __future__ import annotations

from collections.abc import Sequence

from pirtad.inference.dicom.choosing.inspection import Refusal
from pirtad.inference.dicom.choosing.modalities import modality_in_words
from pirtad.inference.dicom.frames import Series
from pirtad.inference.dicom.identity import conflicting_attributes
from pirtad.inference.dicom.kinds import WEIGHTED, Kind


def whole_study(series: Sequence[Series]) -> Refusal | None:
    """The reason to refuse the study as a whole: "no_images", "several_studies", "two_patients", "not_mr",
    "not_brain"; None if there is none."""
    if not series:
        return Refusal("no_images", "no DICOM instances", "Send the study's images.")
    studies = {one.study_uid for one in series}
    if len(studies) > 1:
        return Refusal("several_studies", f"instances of {len(studies)} studies together", "Give one study at a time.")
    conflicts = conflicting_attributes({instance.identity for one in series for instance in one.instances})
    if conflicts:
        return Refusal(
            "two_patients",
            f"the headers of one study disagree about the patient: {', '.join(conflicts)}",
            "Find out in the archive whose images these are, correct them there, and send the study again.",
        )
    if all(one.modality != "MR" for one in series):
        found = ", ".join(sorted({modality_in_words(one.modality) for one in series}))
        return Refusal("not_mr", f"no MR series: modality {found}", "Route only brain MRI studies here.")
    if elsewhere := _body_parts_elsewhere(series):
        return Refusal(
            "not_brain",
            f"diffusion images of another body part: {', '.join(elsewhere)}",
            "Route only brain MRI studies here; if it is a brain, correct BodyPartExamined at the scanner.",
        )
    return None


# Words in BodyPartExamined (0018,0015; PS3.16 annex L) that no brain goes by. The attribute can refuse and not confirm:
# of 6860 real headers of brain studies in one hospital 8 % say TSPINE, CSPINE or NECK, from the protocol before.
_NOT_NEAR_THE_HEAD = (
    *("ABDOMEN", "BREAST", "CARDIAC", "CHEST", "HEART", "KIDNEY", "LIVER", "PANCREAS", "PELVIS", "PROSTATE", "RECTUM"),
    *("ANKLE", "ARM", "ELBOW", "EXTREMITY", "FEMUR", "FOOT", "HAND", "HIP", "KNEE", "LEG", "SHOULDER", "WRIST"),
    *("BLADDER", "CERVIX", "THORAX", "UTERUS"),
)
_OF_A_PAIR = WEIGHTED | {Kind.ADC}


def _body_parts_elsewhere(series: Sequence[Series]) -> list[str]:
    """Body parts that diffusion images state, if all that is stated is far from the head."""
    stated = {
        frame.instance.body_part.upper() for one in series for frame in one.frames if frame.diffusion.kind in _OF_A_PAIR
    } - {""}
    far = [{word for word in _NOT_NEAR_THE_HEAD if word in part} for part in stated]
    # The words and not the attribute, in which anything may have been typed.
    return sorted(set().union(*far)) if all(far) else []

"""Which two series of a study are the DWI and the ADC map, and why no other one is.

The rules and their reasons: docs/adr/0002-choosing-dwi-and-adc.md. A choice that is not clear is refused: a report
drafted from the wrong images is worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pirtad.inference.dicom.attributes import text
from pirtad.inference.dicom.candidates import (
    BValueLimits,
    Candidate,
    Rejection,
    adc_candidate,
    dwi_candidate,
    plain_rejection,
)
from pirtad.inference.dicom.diffusion import Kind
from pirtad.inference.dicom.headers import Series
from pirtad.inference.dicom.identity import conflicting_attributes, patient_identity
from pirtad.inference.dicom.inspection import Inspection, Refusal, inspected
from pirtad.inference.dicom.pairing import Pair, best_pair
from pirtad.inference.errors import StudyNotUsable


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen series, each cut down to the images to use, and a reason for every other series."""

    study_uid: str
    dwi: Series
    adc: Series
    b_value_s_per_mm2: float
    rejected: tuple[Rejection, ...]


DEFAULT_LIMITS = BValueLimits()


def choose_pair(series: Sequence[Series], limits: BValueLimits = DEFAULT_LIMITS) -> Choice:
    """Choose the DWI and the ADC map of one study.

    Raises:
        StudyNotUsable: "no_images", "several_studies", "two_patients", "not_mr", "no_dwi", "no_adc", "pair_mismatch",
            "ambiguous", or, where the only series that could serve all fail for one and the same reason, the code of
            that reason (`Rejection.code`), e.g. "too_few_slices" or "broken_geometry".
    """
    verdict = _judge(series, limits)
    if verdict.refusal is not None:
        raise StudyNotUsable(verdict.refusal.code, verdict.refusal.reason, verdict.refusal.hint)
    assert verdict.pair is not None  # a verdict is a pair or a refusal
    dwi, adc = verdict.pair.dwi, verdict.pair.adc
    assert dwi.b_value_s_per_mm2 is not None  # dwi_candidate always gives one
    rejected = tuple(reason for reason in verdict.rejections if reason is not None)
    return Choice(dwi.series.study_uid, dwi.series, adc.series, dwi.b_value_s_per_mm2, rejected)


def inspect_series(series: Sequence[Series], limits: BValueLimits = DEFAULT_LIMITS) -> Inspection:
    """The same decision as a table for people; a study that is not usable is described, never raised."""
    verdict = _judge(series, limits)
    return inspected(series, verdict.pair, verdict.rejections, verdict.refusal)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Either a pair or a refusal; `rejections` goes along with the series, None for a chosen one."""

    pair: Pair | None
    refusal: Refusal | None
    rejections: tuple[Rejection | None, ...]


@dataclass(slots=True)
class _Offer:
    """What one series can serve as."""

    series: Series
    dwi: Candidate | None = None
    adc: Candidate | None = None
    rejected_as_dwi: Rejection | None = None
    rejected_as_adc: Rejection | None = None

    def rejection(self, otherwise: tuple[str, str]) -> Rejection:
        for found in (self.rejected_as_dwi, self.rejected_as_adc):
            if found is not None:
                return found
        if self.dwi is None and self.adc is None:
            return plain_rejection(self.series)
        return Rejection(self.series.series_uid, self.series.description, *otherwise)


def _judge(series: Sequence[Series], limits: BValueLimits) -> _Verdict:
    offers = [_offer(one, limits) for one in series]
    refusal = _whole_study(series)
    if refusal is None:
        dwi = [offer.dwi for offer in offers if offer.dwi is not None]
        adc = [offer.adc for offer in offers if offer.adc is not None]
        if not dwi:
            wanted = f"with b between {limits.minimum:g} and {limits.maximum:g} s/mm2"
            refusal = _missing("no_dwi", f"DWI series {wanted}", offers, [offer.rejected_as_dwi for offer in offers])
        elif not adc:
            refusal = _missing("no_adc", "ADC map", offers, [offer.rejected_as_adc for offer in offers])
        else:
            found = best_pair(dwi, adc, limits)
            if isinstance(found, Pair):
                return _Verdict(found, None, tuple(_unless_chosen(offer, found) for offer in offers))
            refusal = found
    otherwise = ("study_refused", f"usable by itself, but the study is refused: {refusal.code}")
    return _Verdict(None, refusal, tuple(offer.rejection(otherwise) for offer in offers))


def _offer(series: Series, limits: BValueLimits) -> _Offer:
    offer = _Offer(series)
    kinds = {instance.diffusion.kind for instance in series.instances}
    if Kind.DWI in kinds:
        found = dwi_candidate(series, limits)
        if isinstance(found, Candidate):
            offer.dwi = found
        else:
            offer.rejected_as_dwi = found
    if Kind.ADC in kinds:
        found = adc_candidate(series)
        if isinstance(found, Candidate):
            offer.adc = found
        else:
            offer.rejected_as_adc = found
    return offer


def _unless_chosen(offer: _Offer, pair: Pair) -> Rejection | None:
    if offer.dwi is pair.dwi or offer.adc is pair.adc:
        return None
    return offer.rejection(("not_preferred", "usable, but another pair fits better: " + pair.because))


def _whole_study(series: Sequence[Series]) -> Refusal | None:
    if not series:
        return Refusal("no_images", "no DICOM instances", "Send the study's images.")
    studies = {one.study_uid for one in series}
    if len(studies) > 1:
        return Refusal("several_studies", f"instances of {len(studies)} studies together", "Give one study at a time.")
    identities = {patient_identity(instance.header) for one in series for instance in one.instances}
    conflicts = conflicting_attributes(identities)
    if conflicts:
        return Refusal(
            "two_patients",
            f"the headers of one study disagree about the patient: {', '.join(conflicts)}",
            "Find out in the archive whose images these are, correct them there, and send the study again.",
        )
    if all(one.modality != "MR" for one in series):
        found = ", ".join(sorted({one.modality or "not stated" for one in series}))
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


def _body_parts_elsewhere(series: Sequence[Series]) -> list[str]:
    """Body parts that diffusion images state, if all that is stated is far from the head."""
    stated = {
        text(instance.header, "BodyPartExamined").upper()
        for one in series
        for instance in one.instances
        if instance.diffusion.kind in (Kind.DWI, Kind.ADC)
    } - {""}
    far = [part for part in stated if any(word in part for word in _NOT_NEAR_THE_HEAD)]
    return sorted(far) if len(far) == len(stated) else []


def _missing(code: str, wanted: str, offers: Sequence[_Offer], near_misses: Sequence[Rejection | None]) -> Refusal:
    failed = [rejection for rejection in near_misses if rejection is not None]
    reason = f"no {wanted}: {len(offers)} series looked at"
    hint = f"`pirtad inspect` lists every series; check that the protocol sends the {wanted} to this destination."
    if failed:
        reason += f"; {len(failed)} of them came near: " + "; ".join(sorted({one.reason for one in failed}))
        codes = {one.code for one in failed} - _PLAIN_MISS
        if len(codes) == 1:
            return Refusal(codes.pop(), reason, hint)
    else:
        unclear = sum(one.series.kind is Kind.UNCLEAR for one in offers)
        reason += f", none is one{f' ({unclear} unclear)' if unclear else ''}"
    return Refusal(code, reason, hint)


# Reasons that say in other words that there is no such series.
_PLAIN_MISS = {"b_value_out_of_range", "not_mr"}

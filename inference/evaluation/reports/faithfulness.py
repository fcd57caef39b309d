"""Statements that nothing supports, and statements that are missing: against the truth of the simulation, and against
the evidence that the product has, separately. A report can be faithful to wrong evidence, and right without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pirtad.inference.evaluation.reports.claims import Claims
from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.lesion.measurement import LesionMeasurement
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, weigh
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.report.wording import LEAST_SHARE_NAMED
from pirtad.inference.training.cases import SimulatedCase

_T = TypeVar("_T")
_BOTH = frozenset({"left", "right", "bilateral"})
# Chosen: a volume within a factor of two, or of 1 ml, is the lesion's; an ADC within a quarter is its ADC.
_TRUE_FACTOR, _TRUE_ML, _TRUE_ADC_SHARE = 2.0, 1.0, 0.25
# What rounding in the text's own words changes.
_ROUNDED_ML, _ROUNDED_ADC_MM2_PER_S = 0.051, 0.0051e-3


@dataclass(frozen=True, slots=True)
class Support:
    """What may be claimed, and (all of it, for signals and types one of it) what should be.

    territories: with a tenth of the lesion or more, and the voted or true class. sides: empty without a lesion.
    volume_ml, adc_mm2_per_s, foci: None where there is none to compare with; exact: numbers must be these, rounded.
    """

    restriction: bool
    territories: frozenset[Territory]
    signals: frozenset[SignalClass]
    types: frozenset[InfarctType]
    sides: frozenset[str]
    acute: bool
    volume_ml: float | None
    adc_mm2_per_s: float | None
    foci: int | None
    exact: bool


def truth_of(case: SimulatedCase) -> Support:
    """What the simulation put in. The number of foci is not known of a stored case and is not judged."""
    finding = case.finding
    infarct = finding.territory is not Territory.NORMAL
    named = {one for one, share in case.shares.items() if share >= LEAST_SHARE_NAMED} | {finding.territory}
    return Support(
        restriction=infarct,
        territories=frozenset(named if infarct else ()),
        signals=_some(finding.signal_class),
        types=_some(finding.infarct_type),
        sides=_BOTH if case.bilateral else _some(case.side),
        acute=infarct,
        volume_ml=case.volume_ml if infarct else 0.0,
        adc_mm2_per_s=case.mean_adc_mm2_per_s,
        foci=None,
        exact=False,
    )


def evidence_of(similar: Sequence[SimilarCase], lesion: LesionMeasurement | None) -> Support:
    """What the retrieved cases and the measurement on the query's images support (ADR 0005)."""
    voted = weigh(similar)
    findings = [FINDING_OF_SENTENCE[one] for one in voted.sentences]
    infarct = voted.territory is not Territory.NORMAL
    measured = {one for one, share in ((lesion and lesion.classes) or {}).items() if share >= LEAST_SHARE_NAMED}
    side = None if lesion is None else lesion.side
    return Support(
        restriction=infarct,
        territories=frozenset((measured | {voted.territory}) if infarct else measured),
        signals=frozenset(one.signal_class for one in findings if one.signal_class is not None),
        types=frozenset(one.infarct_type for one in findings if one.infarct_type is not None),
        sides=_BOTH if side == "bilateral" else _some(side),
        acute=lesion is not None and lesion.volume_ml > 0,
        volume_ml=None if lesion is None else lesion.volume_ml,
        adc_mm2_per_s=None if lesion is None else lesion.mean_adc_mm2_per_s,
        foci=None if lesion is None else lesion.foci,
        exact=True,
    )


def unsupported(claims: Claims, support: Support) -> tuple[str, ...]:
    """The kind of each claim without support, once for each claim."""
    wrong = ["restriction"] if claims.also_denied or claims.restriction not in {None, support.restriction} else []
    wrong += ["territory"] * len(claims.territories - support.territories)
    wrong += ["signal"] * len(claims.signals - support.signals)
    wrong += ["type"] * len(claims.types - support.types)
    wrong += ["side"] * len(claims.sides - support.sides)
    wrong += ["acute"] if claims.acute and not support.acute else []
    wrong += ["volume" for one in claims.volumes_ml if not _is_volume(one, support)]
    wrong += ["adc" for one in claims.adcs_mm2_per_s if not _is_adc(one, support)]
    if support.exact:
        wrong += ["foci" for one in claims.foci if one != support.foci]
    wrong += ["length"] * claims.lengths
    return (*wrong, *sorted(claims.outside))


def omitted(claims: Claims, support: Support) -> tuple[str, ...]:
    """The kind of each statement that should be there: whether diffusion is restricted, every territory, and of a
    lesion signal, type and side."""
    missing = [] if claims.restriction is support.restriction else ["restriction"]
    missing += ["territory"] * len(support.territories - claims.territories)
    missing += ["signal"] if support.signals and not claims.signals else []
    missing += ["type"] if support.types and not claims.types else []
    missing += ["side"] if support.sides and not claims.sides else []
    return tuple(missing)


def _is_volume(volume_ml: float, support: Support) -> bool:
    true = support.volume_ml
    if true is None:
        return False
    if support.exact:
        return abs(volume_ml - true) <= _ROUNDED_ML
    near = true > 0 and true / _TRUE_FACTOR <= volume_ml <= true * _TRUE_FACTOR
    return near or (true > 0 and abs(volume_ml - true) <= _TRUE_ML)


def _is_adc(adc_mm2_per_s: float, support: Support) -> bool:
    true = support.adc_mm2_per_s
    if true is None:
        return False
    return abs(adc_mm2_per_s - true) <= (_ROUNDED_ADC_MM2_PER_S if support.exact else true * _TRUE_ADC_SHARE)


def _some(one: _T | None) -> frozenset[_T]:
    return frozenset() if one is None else frozenset({one})

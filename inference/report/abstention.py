"""When no draft is given: a reader is served better by silence with reasons than by a guess in good prose.

Each reason is a sentence that a radiologist can check against the images. What was measured and retrieved is listed in
the report all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.ood.calibration import Assessment
from pirtad.inference.report.evidence import Evidence
from pirtad.inference.report.report import ADULT_YEARS, Registry


@dataclass(frozen=True, slots=True)
class DraftRules:
    """What a site allows.

    unknown_age, minors: draft all the same. out_of_distribution: draft although the study is unlike those the models
    were made for. least_similarity: of the most similar case that agrees, cosine in [-1, 1]. least_probability: that
    the voted territory is right, as calibrated, 0 to 1.
    """

    unknown_age: bool = False
    minors: bool = False
    out_of_distribution: bool = False
    least_similarity: float = 0.5
    least_probability: float = 0.35


def reasons_to_abstain(
    registry: Registry, evidence: Evidence, analysis: Analysis, rules: DraftRules
) -> tuple[str, ...]:
    """A sentence each; empty when a draft may be given."""
    said = [*_patient(registry, rules)]
    if evidence.is_weak:
        said.append(f"The similar cases support no one territory ({evidence.votes}).")
    elif evidence.best_similarity < rules.least_similarity:
        said.append(
            f"No case is similar enough: the best similarity is {evidence.best_similarity:.2f}, "
            f"the least for a draft {rules.least_similarity:.2f}."
        )
    said += analysis.agreement.contradictions
    if not evidence.sentences and analysis.lesion is not None:
        measured = f"the measured lesion of {analysis.lesion.volume_ml:.1f} ml" if analysis.lesion.volume_ml else ""
        said.append(f"No similar case has an infarct type that fits {measured or 'a lesion too small to be measured'}.")
    familiar = analysis.out_of_distribution
    if familiar is not None:
        if familiar.is_out and not rules.out_of_distribution:
            said.append(_unlike(familiar))
        if not evidence.is_weak and familiar.territory_probability < rules.least_probability:
            said.append(
                f"The similar cases are right about the territory in {familiar.territory_probability:.0%} of such "
                f"studies; the least for a draft is {rules.least_probability:.0%}."
            )
    return tuple(said)


def caveats(registry: Registry, analysis: Analysis, rules: DraftRules) -> tuple[str, ...]:
    """What a reader must know of a study for which the site's rules gave no reason: a sentence each."""
    said = [one for one in _patient(registry, DraftRules()) if one not in _patient(registry, rules)]
    familiar = analysis.out_of_distribution
    if familiar is None:
        said.append("Whether this study is like those the models were made for was not assessed.")
    elif familiar.is_out and rules.out_of_distribution:
        said.append(_unlike(familiar))
    witnesses = analysis.agreement
    if not witnesses.contradictions and witnesses.head is not witnesses.neighbours:
        told = f"{witnesses.head.phrase}; similar cases and measurement say {witnesses.neighbours.phrase}"
        said.append(f"The classifier alone says {told}.")
    if analysis.lesion is None:
        said.append("Side and size of a lesion were not measured.")
    elif analysis.lesion.volume_ml == 0 and witnesses.neighbours is not Territory.NORMAL:
        said.append("No lesion with reduced ADC could be measured on these images.")
    return tuple(said)


def _unlike(familiar: Assessment) -> str:
    return "The study is unlike those the models were made for: " + "; ".join(familiar.reasons) + "."


def _patient(registry: Registry, rules: DraftRules) -> tuple[str, ...]:
    if registry.age_years is None:
        return () if rules.unknown_age else ("The patient's age is not known; drafts are for adults.",)
    if registry.is_minor and not rules.minors:
        return (f"The patient is under {ADULT_YEARS} years; drafts are for adults.",)
    return ()

"""Figures of the reports of every system, each with its bootstrap interval."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.intervals import Bootstrap
from pirtad.inference.evaluation.reports.experiment import Judged, Outcome
from pirtad.inference.evaluation.reports.faithfulness import omitted, unsupported
from pirtad.inference.evaluation.reports.registry_facts import invented_facts
from pirtad.inference.evaluation.reports.text_metrics import METRICS, likeness
from pirtad.inference.evaluation.reports.written import System
from pirtad.inference.evaluation.retrieval_scores import Figures
from pirtad.inference.findings import Territory
from pirtad.inference.report.report import Basis

_CURVE_STEPS = 10
_PER = 100  # reports


def is_negation_error(one: Outcome, said: Judged) -> bool:
    """Restriction is denied where there is some, affirmed where there is none, or both at once."""
    claims = said.claims
    return claims.also_denied or claims.restriction not in {None, one.truth.restriction}


# Per 100 reports that state something: what is counted in one.
_Count = Callable[[Outcome, Judged], float]
COUNTS: dict[str, _Count] = {
    "unsupported_by_truth": lambda one, said: len(unsupported(said.claims, one.truth)),
    "omitted_of_truth": lambda one, said: len(omitted(said.claims, one.truth)),
    "unsupported_by_evidence": lambda one, said: len(unsupported(said.claims, one.evidence)),
    "omitted_of_evidence": lambda one, said: len(omitted(said.claims, one.evidence)),
    "laterality_errors": lambda one, said: bool(said.claims.sides - one.truth.sides),
    "negation_errors": is_negation_error,
    "invented_registry_facts": lambda one, said: len(invented_facts(said.written.text, one.registry)),
    "unread_sentences": lambda _, said: said.claims.unread,
}


def score_reports(outcomes: Sequence[Outcome], bootstrap: Bootstrap) -> Figures:
    """n; retrieval: acc_at_1 of the nearest case and vote_accuracy; systems: figures of each; basis: share of our
    reports by how they came about; abstained_because; abstention_curve (None without a calibration)."""
    truths = [one.territory for one in outcomes]
    drafted = np.array([one.reports[System.OURS] is not None for one in outcomes])
    voted = _right([one.report.territory for one in outcomes], truths)
    return {
        "n": len(outcomes),
        "retrieval": {
            "acc_at_1": bootstrap.mean(_right([one.nearest for one in outcomes], truths)),
            "vote_accuracy": bootstrap.mean(voted),
            "vote_accuracy_where_ours_drafts": bootstrap.mean(voted, drafted),
        },
        "systems": {
            str(system): _score_system(system, outcomes, drafted, bootstrap)
            for system in System
            if system in outcomes[0].reports
        },
        "basis": {
            basis.name.lower(): bootstrap.mean(
                np.array([one.report.basis is basis for one in outcomes], dtype=np.float64)
            )
            for basis in Basis
        },
        "abstained_because": _reasons(outcomes),
        "abstention_curve": _curve(outcomes, voted, bootstrap),
    }


def _score_system(
    system: System, outcomes: Sequence[Outcome], drafted: NDArray[np.bool_], bootstrap: Bootstrap
) -> Figures:
    """territory_acc_at_1 counts a query without a report, or whose report names no territory, as wrong; the figures
    after coverage are of the queries with a report."""
    pairs = [(one, one.reports[system]) for one in outcomes]
    states = np.array([said is not None for _, said in pairs])
    right = _right(
        [None if said is None else said.claims.territory for _, said in pairs], [o.territory for o in outcomes]
    )
    named = np.array([said is not None and said.claims.territory is not None for _, said in pairs], dtype=np.float64)
    figures: Figures = {
        "territory_acc_at_1": bootstrap.mean(right),
        "coverage": bootstrap.mean(states.astype(np.float64)),
        "territory_acc_at_1_of_reports": bootstrap.mean(right, states),
        "territory_acc_at_1_where_ours_drafts": bootstrap.mean(right, drafted),
        "names_a_territory": bootstrap.mean(named, states),
    }
    for name, count in COUNTS.items():
        counted = np.array([0.0 if said is None else float(count(one, said)) for one, said in pairs])
        figures[f"{name}_per_100"] = bootstrap.mean(counted * _PER, states)
    for name in ("truth", "evidence"):
        kinds: Counter[str] = Counter()
        for one, said in pairs:
            if said is not None:
                kinds.update(unsupported(said.claims, one.truth if name == "truth" else one.evidence))
        figures[f"unsupported_by_{name}_kinds"] = dict(sorted(kinds.items()))
    alike = [
        dict.fromkeys(METRICS, 0.0) if said is None else likeness(said.written.compared, one.references)
        for one, said in pairs
    ]
    for metric in METRICS:
        figures[metric] = bootstrap.mean(np.array([one[metric] for one in alike]), states)
    return figures


def _right(said: Sequence[Territory | None], truths: Sequence[Territory]) -> NDArray[np.float64]:
    return np.array([one is truth for one, truth in zip(said, truths, strict=True)], dtype=np.float64)


def _reasons(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many reports give each reason, numbers and details left out."""
    reasons = (reason for one in outcomes for reason in {_kind(text) for text in one.report.abstained_because})
    return dict(Counter(reasons).most_common())


def _kind(reason: str) -> str:
    """Up to its first number, colon or bracket; classes stay, for they say what contradicts what."""
    return re.split(r"[:(]|\s\d", reason, maxsplit=1)[0].strip(" .")


def _curve(outcomes: Sequence[Outcome], voted: NDArray[np.float64], bootstrap: Bootstrap) -> list[Figures] | None:
    """Accuracy of the voted territory among the surest queries, tenth by tenth: coverage, least_probability of those
    in, accuracy. Without regard to the product's own rules."""
    said = [one.probability for one in outcomes]
    if any(one is None for one in said):
        return None
    probabilities = np.array(said, dtype=np.float64)
    order = np.argsort(-probabilities, kind="stable")
    rows: list[Figures] = []
    for count in sorted({max(1, round(len(order) * step / _CURVE_STEPS)) for step in range(1, _CURVE_STEPS + 1)}):
        among = np.zeros(len(order), dtype=np.bool_)
        among[order[:count]] = True
        rows.append(
            {
                "coverage": count / len(order),
                "least_probability": float(probabilities[order[count - 1]]),
                "accuracy": bootstrap.mean(voted, among),
            }
        )
    return rows

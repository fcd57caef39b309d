"""Retrieval measures of PIRTA (section 2.3.3, table 4) over the answers, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pirtad.inference.evaluation.answers import DEEPEST, Answer, confusion
from pirtad.inference.evaluation.intervals import Bootstrap, Interval
from pirtad.inference.evaluation.ranking import any_hit, average_precision, hits_of, precision
from pirtad.inference.findings import Territory

DEPTHS = (1, 3, 5, 10)

Figures = dict[str, Any]
"""Figures by name: Interval, int, or tables of them; `document.plain` turns it into JSON."""


def bootstrap_of(answers: Sequence[Answer], seed: int) -> Bootstrap:
    """Resamples queries; those that show the same lesion together. Raises ValueError without answers."""
    return Bootstrap([answer.recipe.subject or answer.recipe for answer in answers], seed)


def score_retrieval_answers(answers: Sequence[Answer], bootstrap: Bootstrap) -> Figures:
    """map_at_n, acc_at_n, precision_at_n for n in DEPTHS; macro_map_at_1; multiclass_acc_at_1 (linear head),
    vote_accuracy and their balanced forms; per_class; confusion; the row always_anterior; n."""
    truths = [answer.truth for answer in answers]
    hits = hits_of(truths, [answer.similar for answer in answers], DEEPEST)
    members = {one: np.array([truth is one for truth in truths]) for one in Territory}
    classes = list(members.values())
    head = np.array([answer.head is answer.truth for answer in answers], dtype=np.float64)
    voted = np.array([answer.vote is answer.truth for answer in answers], dtype=np.float64)
    first = average_precision(hits[:, :1])
    figures: Figures = {"n": len(answers)}
    for name, measure in (("map", average_precision), ("acc", any_hit), ("precision", precision)):
        for depth in DEPTHS:
            figures[f"{name}_at_{depth}"] = bootstrap.mean(measure(hits[:, :depth]))
    figures |= {
        "macro_map_at_1": bootstrap.mean_of_means(first, classes),
        "multiclass_acc_at_1": bootstrap.mean(head),
        "balanced_accuracy": bootstrap.mean_of_means(head, classes),
        "vote_accuracy": bootstrap.mean(voted),
        "vote_balanced_accuracy": bootstrap.mean_of_means(voted, classes),
        "per_class": {
            str(territory): {
                "n": int(among.sum()),
                "map_at_1": bootstrap.mean(first, among),
                "map_at_5": bootstrap.mean(average_precision(hits[:, :5]), among),
                "acc_at_5": bootstrap.mean(any_hit(hits[:, :5]), among),
                "head_accuracy": bootstrap.mean(head, among),
                "vote_accuracy": bootstrap.mean(voted, among),
            }
            for territory, among in members.items()
            if among.any()
        },
        "confusion": {
            "order": [str(territory) for territory in Territory],
            "head": confusion(truths, [answer.head for answer in answers]),
            "vote": confusion(truths, [answer.vote for answer in answers]),
        },
        "always_anterior": always_anterior(truths, bootstrap),
    }
    return figures


def always_anterior(truths: Sequence[Territory], bootstrap: Bootstrap) -> dict[str, Interval | None]:
    """What a program scores that looks at nothing and says "anterior": over all, over infarcts, and balanced."""
    right = np.array([truth is Territory.ANTERIOR for truth in truths], dtype=np.float64)
    infarcts = np.array([truth is not Territory.NORMAL for truth in truths])
    return {
        "multiclass_acc_at_1": bootstrap.mean(right),
        "among_infarcts": bootstrap.mean(right, infarcts),
        "balanced_accuracy": bootstrap.mean_of_means(
            right, [np.array([truth is one for truth in truths]) for one in Territory]
        ),
    }

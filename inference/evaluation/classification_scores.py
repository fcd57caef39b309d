"""Classification measures (PIRTA table 6) of linear head and vote, and how they depend on place and size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.answers import Answer, confusion
from pirtad.inference.evaluation.intervals import Bootstrap
from pirtad.inference.evaluation.retrieval_scores import Figures, always_anterior
from pirtad.inference.findings import InfarctType, Territory

# Edges of the groups by size, ml; chosen.
SIZES_ML = {
    "below_1_ml": (0.0, 1.0),
    "1_to_5_ml": (1.0, 5.0),
    "5_to_20_ml": (5.0, 20.0),
    "from_20_ml": (20.0, math.inf),
}


def score_classification(answers: Sequence[Answer], bootstrap: Bootstrap) -> Figures:
    """head and vote: each with multiclass_acc_at_1, balanced_accuracy, by_class (one against the rest, as table 6 has
    it), by_group and confusion; always_anterior; n; lesion_map where there are maps."""
    truths = [answer.truth for answer in answers]
    groups = groups_of(answers)
    figures: Figures = {"n": len(answers)}
    for name, said in (
        ("head", [answer.head for answer in answers]),
        ("vote", [answer.vote for answer in answers]),
    ):
        figures[name] = _of_one(truths, said, groups, bootstrap)
    figures["always_anterior"] = always_anterior(truths, bootstrap)
    if answers[0].lesion_map is not None:
        figures["lesion_map"] = score_maps(answers, bootstrap)
    return figures


def groups_of(answers: Sequence[Answer]) -> dict[str, NDArray[np.bool_]]:
    """Members (Q,) of each group: the classes, the sizes, lacunes and the posterior fossa."""
    groups = {str(one): np.array([answer.truth is one for answer in answers]) for one in Territory}
    infarcts = ~groups[Territory.NORMAL]
    volumes = np.array([answer.volume_ml for answer in answers])
    for name, (low, high) in SIZES_ML.items():
        groups[name] = infarcts & (volumes >= low) & (volumes < high)
    groups["lacune"] = np.array([answer.infarct_type is InfarctType.SMALL_LACUNE for answer in answers])
    groups["posterior_fossa"] = infarcts & np.array([answer.in_posterior_fossa for answer in answers])
    return groups


def _of_one(
    truths: Sequence[Territory],
    said: Sequence[Territory],
    groups: dict[str, NDArray[np.bool_]],
    bootstrap: Bootstrap,
) -> Figures:
    right = np.array([truth is one for truth, one in zip(truths, said, strict=True)], dtype=np.float64)
    called_infarct = np.array([one is not Territory.NORMAL for one in said], dtype=np.float64)
    by_class = {}
    for territory in Territory:
        true = np.array([truth is territory for truth in truths])
        claimed = np.array([one is territory for one in said])
        agree = (true == claimed).astype(np.float64)
        by_class[str(territory)] = {
            "accuracy": bootstrap.mean(agree),
            "sensitivity": bootstrap.mean(agree, true),
            "specificity": bootstrap.mean(agree, ~true),
        }
    return {
        "multiclass_acc_at_1": bootstrap.mean(right),
        "balanced_accuracy": bootstrap.mean_of_means(right, [groups[one] for one in Territory]),
        "by_class": by_class,
        "by_group": {
            name: {
                "n": int(among.sum()),
                "multiclass_acc_at_1": bootstrap.mean(right, among),
                "called_infarct": bootstrap.mean(called_infarct, among),
            }
            for name, among in groups.items()
            if among.any()
        },
        "confusion": {
            "order": [str(territory) for territory in Territory],
            "table": confusion(truths, said),
        },
    }


def score_maps(answers: Sequence[Answer], bootstrap: Bootstrap) -> Figures:
    """Of infarcts with a lesion on the grid: Dice, volume error (map less truth, ml and relative to the truth), share
    on the wrong side among those found, share of which nothing was found; all by group too. Of normal cases: what the
    map shows where nothing is. Raises ValueError when an answer has no map."""
    maps = [answer.lesion_map for answer in answers]
    if any(one is None for one in maps):
        raise ValueError("answers without a lesion map")
    scores = [one for one in maps if one is not None]
    dice = np.array([one.dice for one in scores])
    volumes = np.array([one.volume_ml for one in scores])
    true_volumes = np.array([one.true_volume_ml for one in scores])
    error_ml = volumes - true_volumes
    relative = np.divide(error_ml, true_volumes, out=np.zeros_like(error_ml), where=true_volumes > 0)
    wrong_side = np.array(
        [one.side != answer.side for one, answer in zip(scores, answers, strict=True)], dtype=np.float64
    )
    found, on_grid = volumes > 0, true_volumes > 0
    groups = groups_of(answers)
    normal = groups.pop(Territory.NORMAL)

    def of(among: NDArray[np.bool_]) -> Figures:
        return {
            "n": int(among.sum()),
            "dice": bootstrap.mean(dice, among),
            "dice_median": bootstrap.median(dice, among),
            "volume_error_ml": bootstrap.mean(error_ml, among),
            "absolute_volume_error_ml_median": bootstrap.median(np.abs(error_ml), among),
            "relative_volume_error_median": bootstrap.median(relative, among),
            "absolute_relative_volume_error_median": bootstrap.median(np.abs(relative), among),
            "wrong_side": bootstrap.mean(wrong_side, among & found),
            "nothing_found": bootstrap.mean((~found).astype(np.float64), among),
        }

    return {
        "infarcts": of(~normal & on_grid),
        "infarcts_off_the_grid": int((~normal & ~on_grid).sum()),
        "by_group": {name: of(among & on_grid) for name, among in groups.items() if (among & on_grid).any()},
        "normal": {
            "n": int(normal.sum()),
            "volume_ml": bootstrap.mean(volumes, normal),
            "something_found": bootstrap.mean(found.astype(np.float64), normal),
        },
    }

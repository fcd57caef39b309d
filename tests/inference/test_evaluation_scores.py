"""Every measure of the evaluation against an example worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pirtad.inference.evaluation.answers import Answer, confusion
from pirtad.inference.evaluation.classification_scores import score_classification, score_maps
from pirtad.inference.evaluation.document import plain
from pirtad.inference.evaluation.intervals import Bootstrap, Interval
from pirtad.inference.evaluation.lesion_map import MapScore, score_map, share_in_posterior_fossa, side_of
from pirtad.inference.evaluation.ranking import any_hit, average_precision, hits_of, precision
from pirtad.inference.evaluation.retrieval_scores import bootstrap_of, score_retrieval_answers
from pirtad.inference.findings import InfarctType, Territory
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.training.cases import CaseRecipe

NORMAL, ANTERIOR, DEEP, POSTERIOR = Territory


def similar(*territories: Territory) -> tuple[SimilarCase, ...]:
    return tuple(
        SimilarCase(f"sim-{rank:06d}", 0.9 - rank / 100, territory, "") for rank, territory in enumerate(territories)
    )


def answer(
    seed: int,
    truth: Territory,
    said: Territory,
    *retrieved: Territory,
    volume_ml: float = 10.0,
    infarct_type: InfarctType | None = None,
    lesion_map: MapScore | None = None,
    subject: str | None = None,
) -> Answer:
    return Answer(
        recipe=CaseRecipe(seed, truth, subject),
        infarct_type=infarct_type,
        volume_ml=0.0 if truth is NORMAL else volume_ml,
        side=None if truth is NORMAL else "left",
        in_posterior_fossa=truth is POSTERIOR,
        vector=np.array([1, 0], dtype=np.float32),
        odds=np.array([one is said for one in Territory], dtype=np.float32),
        similar=similar(*retrieved),
        lesion_map=lesion_map,
    )


FOUR = [
    answer(1, ANTERIOR, ANTERIOR, ANTERIOR, NORMAL, ANTERIOR, NORMAL, NORMAL),
    answer(2, ANTERIOR, DEEP, DEEP, ANTERIOR, DEEP, NORMAL, NORMAL, volume_ml=0.7),
    answer(3, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, NORMAL),
    answer(4, POSTERIOR, NORMAL, DEEP, DEEP, ANTERIOR, NORMAL, NORMAL, POSTERIOR, volume_ml=25.0),
]


def test_hits_average_precision_accuracy_and_precision() -> None:
    hits = hits_of([ANTERIOR, ANTERIOR, NORMAL], [one.similar for one in FOUR[:2]] + [similar(ANTERIOR)], 5)
    np.testing.assert_array_equal(hits, [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])
    # (1/1 + 2/3) / 2 hits; 1/2 over one hit; none.
    np.testing.assert_allclose(average_precision(hits), [5 / 6, 1 / 2, 0])
    np.testing.assert_allclose(average_precision(hits[:, :1]), [1, 0, 0])
    np.testing.assert_allclose(any_hit(hits), [1, 1, 0])
    np.testing.assert_allclose(precision(hits), [2 / 5, 1 / 5, 0])


def test_retrieval_figures_of_four_answers() -> None:
    found = score_retrieval_answers(FOUR, bootstrap_of(FOUR, 0))
    expected = {
        "map_at_1": 2 / 4,
        "map_at_5": (5 / 6 + 1 / 2 + 1 + 0) / 4,
        "map_at_10": (5 / 6 + 1 / 2 + 1 + 1 / 6) / 4,
        "acc_at_1": 2 / 4,
        "acc_at_3": 3 / 4,
        "acc_at_5": 3 / 4,
        "acc_at_10": 4 / 4,
        "precision_at_5": (2 + 1 + 5 + 0) / 20,
        "precision_at_10": (2 + 1 + 5 + 1) / 40,
        "macro_map_at_1": (1 / 2 + 1 + 0) / 3,
        "multiclass_acc_at_1": 2 / 4,
        "balanced_accuracy": (1 / 2 + 1 + 0) / 3,
    }
    assert {name: found[name].value for name in expected} == pytest.approx(expected)
    assert found["n"] == 4
    # The votes: normal (2.64 against 1.77 of anterior), deep, normal, deep.
    assert found["vote_accuracy"].value == pytest.approx(1 / 4)
    assert found["confusion"]["head"] == [[1, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found["confusion"]["vote"] == [[1, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert set(found["per_class"]) == {"normal", "anterior", "posterior"}
    assert found["per_class"]["anterior"]["n"] == 2
    assert found["per_class"]["anterior"]["map_at_1"].value == pytest.approx(1 / 2)
    always = {name: one.value for name, one in found["always_anterior"].items()}
    assert always == pytest.approx({"multiclass_acc_at_1": 1 / 2, "among_infarcts": 2 / 3, "balanced_accuracy": 1 / 3})


def test_classification_is_one_against_the_rest_and_by_group() -> None:
    found = score_classification(FOUR, bootstrap_of(FOUR, 0))["head"]
    # Head: anterior right, anterior called deep, normal right, posterior called normal.
    by_class = {
        name: tuple(None if one is None else one.value for one in row.values())
        for name, row in found["by_class"].items()
    }
    assert by_class["normal"] == pytest.approx((3 / 4, 1, 2 / 3))
    assert by_class["anterior"] == pytest.approx((3 / 4, 1 / 2, 1))
    assert by_class["deep_gray_matter"] == (pytest.approx(3 / 4), None, pytest.approx(3 / 4))
    assert by_class["posterior"] == pytest.approx((3 / 4, 0, 1))
    groups = {
        name: (row["n"], row["multiclass_acc_at_1"].value, row["called_infarct"].value)
        for name, row in found["by_group"].items()
    }
    assert groups == {
        "normal": (1, 1, 0),
        "anterior": (2, 0.5, 1),
        "posterior": (1, 0, 0),
        "below_1_ml": (1, 0, 1),
        "5_to_20_ml": (1, 1, 1),
        "from_20_ml": (1, 0, 0),
        "posterior_fossa": (1, 0, 0),
    }


def test_the_bootstrap_of_a_share_has_the_width_that_theory_gives() -> None:
    values = np.array([1.0] * 80 + [0.0] * 20)
    interval = Bootstrap(range(100), 0).mean(values)
    assert interval is not None
    assert interval.value == pytest.approx(0.8)
    half = 1.96 * math.sqrt(0.8 * 0.2 / 100)
    assert interval.low == pytest.approx(0.8 - half, abs=0.015)
    assert interval.high == pytest.approx(0.8 + half, abs=0.015)
    assert interval == Bootstrap(range(100), 0).mean(values)
    assert interval != Bootstrap(range(100), 1).mean(values)


def test_queries_of_one_lesion_are_drawn_together() -> None:
    values = np.repeat([1.0, 1.0, 1.0, 1.0, 0.0], 20)
    apart = Bootstrap(range(100), 0).mean(values)
    together = Bootstrap([number // 4 for number in range(100)], 0).mean(values)
    assert apart is not None
    assert together is not None
    assert together.value == apart.value
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(2, abs=0.25)  # sqrt of 4


def test_means_of_classes_leave_out_what_is_empty() -> None:
    bootstrap = Bootstrap(range(3), 0)
    values = np.array([1.0, 0.0, math.nan])
    none, first = np.zeros(3, dtype=bool), np.array([True, True, False])
    found = bootstrap.mean_of_means(values, [none, first])
    assert found is not None
    assert found.value == 0.5
    assert (found.low, found.high) == (0, 1)
    assert bootstrap.mean(values, none) is None
    with pytest.raises(ValueError, match="no queries"):
        Bootstrap([], 0)


def test_the_median_and_its_interval() -> None:
    values = np.array([9.0, 1.0, 2.0, 3.0, 100.0])
    everything = np.ones(5, dtype=bool)
    found = Bootstrap(range(5), 0).median(values, everything)
    assert found is not None
    assert found.value == 3
    assert (found.low, found.high) == (1, 100)
    assert Bootstrap(range(5), 0).median(values, ~everything) is None


def test_a_lesion_map_is_compared_on_the_grid() -> None:
    lesion = np.zeros(SHAPE, dtype=bool)
    lesion[60:64, 50, 20] = True
    probability = np.zeros(SHAPE, dtype=np.float32)
    probability[62:70, 50, 20] = 0.8
    found = score_map(probability, lesion)
    assert found == MapScore(dice=2 * 2 / 12, volume_ml=8 * 0.016, true_volume_ml=4 * 0.016, side="left")
    assert side_of(lesion[::-1]) == "right"
    empty = score_map(np.zeros(SHAPE, dtype=np.float32), lesion)
    assert (empty.dice, empty.side) == (0, None)
    assert math.isnan(score_map(probability, np.zeros(SHAPE, dtype=bool)).dice)


def test_map_figures_of_three_answers() -> None:
    answers = [
        answer(1, ANTERIOR, ANTERIOR, ANTERIOR, lesion_map=MapScore(0.8, 12.0, 10.0, "left")),
        answer(2, ANTERIOR, ANTERIOR, ANTERIOR, lesion_map=MapScore(0.2, 1.0, 2.0, "right"), volume_ml=2.0),
        answer(3, DEEP, DEEP, DEEP, lesion_map=MapScore(0.0, 0.0, 0.5, None), volume_ml=0.5),
        answer(4, NORMAL, NORMAL, NORMAL, lesion_map=MapScore(math.nan, 0.3, 0.0, "left")),
        answer(5, POSTERIOR, NORMAL, NORMAL, lesion_map=MapScore(math.nan, 0.0, 0.0, None)),
    ]
    found = score_maps(answers, bootstrap_of(answers, 0))
    of = {name: one.value for name, one in found["infarcts"].items() if isinstance(one, Interval)}
    assert of == pytest.approx(
        {
            "dice": 1 / 3,
            "dice_median": 0.2,
            "volume_error_ml": (2 - 1 - 0.5) / 3,
            "absolute_volume_error_ml_median": 1,
            "relative_volume_error_median": -0.5,
            "absolute_relative_volume_error_median": 0.5,
            "wrong_side": 1 / 2,
            "nothing_found": 1 / 3,
        }
    )
    assert found["infarcts_off_the_grid"] == 1
    assert found["normal"]["volume_ml"].value == pytest.approx(0.3)
    assert found["normal"]["something_found"].value == 1
    assert found["by_group"]["below_1_ml"]["n"] == 1
    assert "posterior" not in found["by_group"]
    with pytest.raises(ValueError, match="without a lesion map"):
        score_maps(FOUR, bootstrap_of(FOUR, 0))


def test_the_cerebellum_is_in_the_posterior_fossa_and_the_frontal_lobe_is_not() -> None:
    low_behind, high_before = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    low_behind[40:56, 70:80, 12:15] = True
    high_before[40:56, 20:30, 30:34] = True
    assert share_in_posterior_fossa(low_behind) > 0.9
    assert share_in_posterior_fossa(high_before) == 0
    assert share_in_posterior_fossa(np.zeros(SHAPE, dtype=bool)) == 0


def test_a_document_has_rounded_intervals_and_counts() -> None:
    found = plain({NORMAL: Interval(1 / 3, 0.0, 1.0), "n": 3, "table": [[1, 2]], "none": None})
    assert found == {"normal": {"value": 0.333333, "low": 0.0, "high": 1.0}, "n": 3, "table": [[1, 2]], "none": None}


def test_confusion_has_rows_of_truth() -> None:
    assert confusion([ANTERIOR], [NORMAL])[1] == [1, 0, 0, 0]

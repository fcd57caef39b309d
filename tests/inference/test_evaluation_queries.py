"""Which lesions are asked about: never one of training, all of the others once before one comes twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pirtad.inference.evaluation.queries import NotEvaluable, Split, held_out, opened, query_recipes
from pirtad.inference.findings import Territory
from pirtad.inference.simulation.lesion_masks import LesionFiles, LesionMasks, is_for_testing
from pirtad.inference.training import seeds

NORMAL, ANTERIOR, DEEP, POSTERIOR = Territory
SUBJECTS = {f"sub-{number}": (ANTERIOR if number % 4 else POSTERIOR) for number in range(10, 90)}


def masks(*more: str) -> LesionMasks:
    known = SUBJECTS | dict.fromkeys(more, ANTERIOR)
    return LesionMasks(Path("masks.zip"), known, {subject: f"{subject}_lesion.nii.gz" for subject in known})


def test_a_quarter_is_normal_and_drawn_infarcts_are_balanced() -> None:
    recipes = query_recipes(120, 0.25, 0, Split.INTERNAL)
    counted = Counter(recipe.territory for recipe in recipes)
    assert counted == {NORMAL: 30, ANTERIOR: 30, DEEP: 30, POSTERIOR: 30}
    assert {recipe.scanners for recipe in recipes} == {"training"}
    assert all(recipe.seed in seeds.TEST for recipe in recipes)
    assert len({recipe.seed for recipe in recipes}) == 120


def test_masks_come_once_each_in_a_seeded_order_and_then_again_with_other_seeds() -> None:
    once = query_recipes(80, 0.0, 0, Split.SHIFTED, SUBJECTS)
    assert {recipe.subject: recipe.territory for recipe in once} == SUBJECTS
    assert {recipe.scanners for recipe in once} == {"shifted"}
    twice = query_recipes(160, 0.0, 0, Split.SHIFTED, SUBJECTS)
    assert set(Counter(recipe.subject for recipe in twice).values()) == {2}
    assert len({recipe.seed for recipe in twice}) == 160
    assert query_recipes(80, 0.0, 0, Split.SHIFTED, SUBJECTS) == once
    assert [one.subject for one in query_recipes(80, 0.0, 1, Split.SHIFTED, SUBJECTS)] != [one.subject for one in once]


def test_what_was_trained_on_or_is_in_the_case_base_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "training_lesions.txt").write_text("sub-10\nsub-11\n")
    found = held_out(masks("sub-3"), tmp_path, ["simulated, version 3, seed 200001, lesion of SOOP sub-12", "a clinic"])
    assert set(found.subjects) == set(SUBJECTS) - {"sub-10", "sub-11", "sub-12"}
    assert found.subjects["sub-13"] is SUBJECTS["sub-13"]


def test_without_a_list_only_those_that_training_never_takes_are_held_out(tmp_path: Path) -> None:
    found = held_out(masks(), tmp_path, [])
    assert 0 < len(found.subjects) < len(SUBJECTS) / 2
    assert all(is_for_testing(subject) for subject in found.subjects)


def test_what_is_not_possible_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotEvaluable, match="every lesion of the set"):
        query_recipes(4, 0.25, 0, Split.INTERNAL, {})
    with pytest.raises(NotEvaluable, match="0 queries"):
        query_recipes(0, 0.25, 0, Split.INTERNAL)
    with pytest.raises(NotEvaluable, match="normal"):
        query_recipes(4, 1.5, 0, Split.INTERNAL)
    broken = tmp_path / "masks.zip"
    broken.write_bytes(b"no zip")
    with pytest.raises(NotEvaluable):
        opened(LesionFiles(broken, tmp_path / "table.tsv"))

"""Instruction examples: whose neighbours they show, what they teach, which patients they are about."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.shared import shared_data

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.fact_check import unsupported
from pirtad.inference.report.prompt import chat_messages
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.report.schema import possible_answers
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase, case_path, save_case
from pirtad.inference.training.lora.examples import OwnCases, Taught, example, examples_of, target_sentence
from pirtad.inference.training.lora.registries import draw_registry, read_participants

LACUNE = Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
MILD_LACUNE = Finding(Territory.ANTERIOR, SignalClass.MILD, InfarctType.SMALL_LACUNE)
WEDGE = Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL)
POSTERIOR = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
REGISTRY = Registry(75, "Female", "Altered Mentality", 32.0, "HTN, Afib")
MANIFEST = EncoderManifest("fake", "ab" * 32, PREPROCESSING_VERSION, ViTConfig(), "test", "2026-01-01")


def neighbours(*findings: Finding) -> tuple[SimilarCase, ...]:
    return tuple(
        SimilarCase(f"sim-{n}", 0.9 - 0.01 * n, one.territory, one.sentence()) for n, one in enumerate(findings)
    )


class FirstPixels:
    """An encoder whose vector is what the case's first voxels hold."""

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        vector = x[0, 0, 0, :4]
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def store(cache: Path, recipe: CaseRecipe, direction: int, finding: Finding) -> Path:
    array = np.zeros((2, *SHAPE), dtype=np.float16)
    array[0, 0, 0, direction] = 1
    nothing = np.zeros(SHAPE, dtype=np.uint8)
    case = SimulatedCase(recipe, array, nothing.astype(bool), nothing, finding, None, False, 1.0, {}, None)
    save_case(case, case_path(cache, recipe))
    return case_path(cache, recipe)


def base_of(rows: list[tuple[str, Finding, str, str | None, list[float]]]) -> CaseBase:
    vectors = np.array([vector for *_, vector in rows], dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cases = [Case(case_id, finding, "report", origin, patient) for case_id, finding, origin, patient, _ in rows]
    return CaseBase.build(cases, vectors, MANIFEST)


def test_an_example_never_shows_its_own_case_nor_its_lesion(tmp_path: Path) -> None:
    # Given a case base whose nearest cases are the query itself, made by two versions, its lesion and its patient
    nearest = [1.0, 0, 0, 0]
    own = [
        ("sim-000007", WEDGE, "simulated, version 4, seed 7, lesion of SOOP sub-12", None, nearest),
        ("sim-900007", WEDGE, "simulated, version 3, seed 7", None, nearest),
        ("sim-200001", WEDGE, "simulated, version 4, seed 200001, lesion of SOOP sub-12", None, nearest),
        ("soop-12", WEDGE, "SOOP, OpenNeuro ds004889", "soop-12", nearest),
    ]
    others = [
        (
            f"sim-21{n:04d}",
            LACUNE,
            f"simulated, version 4, seed {70 + n}, lesion of SOOP sub-12{n}",
            None,
            [1, 0.1, 0, n],
        )
        for n in range(6)
    ]
    base = base_of([*own, *others])
    recipe = CaseRecipe(7, Territory.ANTERIOR, "sub-12")
    path = store(tmp_path, recipe, 0, WEDGE)
    # When its example is made
    (made,) = examples_of(FirstPixels(), base, [path], lambda _: REGISTRY)
    # Then five others are shown, although the base's five nearest are mostly its own
    shown = {case.case_id for case in made.similar}
    assert len(shown) == 5
    assert not shown & {case_id for case_id, *_ in own}
    assert {case.case_id for case in base.search(np.array(nearest, dtype=np.float32))} >= {one[0] for one in own}
    assert OwnCases(base.cases).of(recipe) == {one[0] for one in own}


def test_a_case_whose_neighbours_have_no_majority_makes_no_example(tmp_path: Path) -> None:
    rows = [
        (f"sim-{n}", finding, f"simulated, version 4, seed {n}", None, [1, 0.01 * n, 0, 0])
        for n, finding in enumerate([LACUNE, LACUNE, POSTERIOR, POSTERIOR, Finding(Territory.NORMAL)], start=20)
    ]
    path = store(tmp_path, CaseRecipe(1, Territory.ANTERIOR), 0, LACUNE)
    assert examples_of(FirstPixels(), base_of(rows), [path], lambda _: REGISTRY) == []


@pytest.mark.parametrize(
    ("truth", "found", "expected", "taught"),
    [
        # one of five shows it, so it is supported
        (WEDGE, (LACUNE, LACUNE, LACUNE, LACUNE, WEDGE), WEDGE, Taught.TRUTH),
        # the territory is right and nobody shows the truth: the nearest that somebody shows
        (WEDGE, (MILD_LACUNE, MILD_LACUNE, MILD_LACUNE, LACUNE, POSTERIOR), LACUNE, Taught.NEAREST),
        # the vote has another territory: the truth would be an invention, even where one case shows it
        (POSTERIOR, (LACUNE, LACUNE, WEDGE, LACUNE, POSTERIOR), LACUNE, Taught.VOTE),
        (Finding(Territory.NORMAL), (WEDGE, WEDGE, WEDGE, WEDGE, WEDGE), WEDGE, Taught.VOTE),
    ],
)
def test_what_is_taught_is_always_supported(
    truth: Finding, found: tuple[Finding, ...], expected: Finding, taught: Taught
) -> None:
    similar = neighbours(*found)
    assert target_sentence(truth, weigh(similar)) == (expected.sentence(), taught)
    made = example("a", REGISTRY, similar, truth)
    assert unsupported(made.target, REGISTRY, weigh(similar), acute=False) == ()


def test_prompt_and_answer_are_the_products_own() -> None:
    similar = neighbours(*[LACUNE] * 5)
    made = example("a", REGISTRY, similar, LACUNE)
    assert made.messages == chat_messages(REGISTRY, similar)
    allowed = possible_answers(REGISTRY)
    assert allowed.parse(made.answer) == made.target
    assert list(json.loads(made.answer)) == list(allowed.options)
    assert ', "' not in made.answer  # compact
    assert "Altered Mentality" not in repr(made)


def test_patients_have_gaps_and_follow_from_the_seed(tmp_path: Path) -> None:
    drawn = [draw_registry((0, n), None) for n in range(400)]
    assert drawn == [draw_registry((0, n), None) for n in range(400)]
    assert drawn != [draw_registry((1, n), None) for n in range(400)]
    for name in ("age_years", "sex", "presentation", "nihss", "history"):
        assert 0.02 < sum(getattr(one, name) is None for one in drawn) / 400 < 0.4, name
    assert all(18 <= one.age_years <= 100 for one in drawn if one.age_years is not None)
    assert all(0 <= one.nihss <= 35 for one in drawn if one.nihss is not None)


def test_a_table_of_participants_is_read_with_its_gaps(tmp_path: Path) -> None:
    table = tmp_path / "participants.tsv"
    table.write_text("participant_id\tsex\tage\tnihss\na\tM\t89+\t3\nb\tF\t17\t2\nc\tn/a\tn/a\tn/a\nd\tF\t40\t77\n")
    read = read_participants(table)
    assert [(one.age_years, one.sex, one.nihss) for one in read] == [
        (89, "Male", 3.0),
        (None, None, None),  # and nobody under age
        (40, "Female", None),
    ]
    drawn = {draw_registry((0, n), read).age_years for n in range(60)}
    assert drawn == {89, None, 40}
    table.write_text("sex\tage\nM\t50\n")
    with pytest.raises(ValueError, match="no column nihss"):
        read_participants(table)


def test_soop_s_participants_can_be_read() -> None:
    read = read_participants(shared_data("soop/participants.tsv"))
    known = [one for one in read if one.nihss is not None]
    assert len(known) > 800
    assert len(read) > len(known)

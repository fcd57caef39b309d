"""Silhouettes of spaces whose answer is known, and the figures as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pirtad.inference.evaluation import neighbours
from pirtad.inference.evaluation.answers import Answer
from pirtad.inference.evaluation.experiment import EvaluationConfig, Experiment
from pirtad.inference.evaluation.figure_colours import RIGHT, WRONG
from pirtad.inference.evaluation.queries import NotEvaluable
from pirtad.inference.evaluation.remade import recipe_of
from pirtad.inference.evaluation.representation import score_representation
from pirtad.inference.evaluation.represented import represent
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.study import SIMULATION_VERSION
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase

MANIFEST = EncoderManifest(
    "test", "a" * 64, "1", ViTConfig(width=24, depth=1, heads=2, mlp_width=48, pooling_heads=2), "none", "2026-01-01"
)
PNG = b"\x89PNG\r\n"


def clustered(spread: float) -> tuple[np.ndarray, list[Territory]]:
    """Forty unit vectors, ten about one axis for each class."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(np.eye(8)[:4], 10, axis=0) + spread * rng.standard_normal((40, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [territory for territory in Territory for _ in range(10)]


def test_classes_that_part_have_a_silhouette_near_one_and_mixed_ones_near_zero() -> None:
    parted = score_representation(*clustered(0.02), seed=0)
    assert parted["silhouette_of_classes"] > 0.9
    assert parted["gaussian_mixture"]["silhouette_of_clusters"] > 0.9
    assert parted["gaussian_mixture"]["adjusted_rand_index"] == pytest.approx(1)
    assert set(parted["silhouette_by_class"]) == {str(one) for one in Territory}
    mixed = score_representation(*clustered(3.0), seed=0)
    assert abs(mixed["silhouette_of_classes"]) < 0.2
    assert mixed["gaussian_mixture"]["adjusted_rand_index"] < 0.5
    vectors, truths = clustered(0.02)
    with pytest.raises(ValueError, match="two classes"):
        score_representation(vectors[:10], truths[:10], 0)


def test_a_silhouette_by_hand() -> None:
    # On a line: 0 and 1 of one class, 4 of another. Of the 0: (4 - 1) / 4; of the 1: (3 - 1) / 3; of one alone: 0.
    vectors = np.array([[0.0], [1.0], [4.0]], dtype=np.float32)
    found = score_representation(vectors, [Territory.NORMAL, Territory.NORMAL, Territory.ANTERIOR], 0)
    assert found["silhouette_of_classes"] == pytest.approx((3 / 4 + 2 / 3 + 0) / 3)
    assert found["silhouette_by_class"]["normal"] == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_case_base_and_queries_are_scored_and_drawn_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # compiling takes longer than so few points do
    pytest.importorskip("umap", reason="the optional extra evaluate")
    pytest.importorskip("matplotlib")
    vectors, truths = clustered(0.05)
    case_base = CaseBase.build(
        [Case(f"sim-{row}", finding_of(truths[row]), "report", "") for row in range(0, 40, 2)], vectors[::2], MANIFEST
    )
    answers = [
        Answer(CaseRecipe(row, truths[row]), None, 1.0, None, False, vectors[row], np.zeros(4), (), None)
        for row in range(1, 40, 2)
    ]
    config = EvaluationConfig(tmp_path, tmp_path, tmp_path)
    encoder = Encoder(ViT(MANIFEST.config), MANIFEST)

    experiment = Experiment(config, encoder, case_base, answers, 0, 0, None, tmp_path)
    found = represent(experiment, tmp_path / "new" / "plane.png")

    assert (found["n"], found["cases"]) == (20, 20)
    assert found["together"]["silhouette_of_classes"] > 0.7
    assert found["queries"]["gaussian_mixture"]["adjusted_rand_index"] == pytest.approx(1)
    assert found["plane"]["silhouette_of_classes"] > 0.5
    assert (tmp_path / "new" / "plane.png").read_bytes().startswith(PNG)
    with pytest.raises(NotEvaluable, match="one case of a class"):
        represent(replace(experiment, answers=answers[::5]), tmp_path / "plane.png")


def finding_of(territory: Territory) -> Finding:
    if territory is Territory.NORMAL:
        return Finding(territory)
    return Finding(territory, SignalClass.STRONG, InfarctType.SMALL_LACUNE)


def case(territory: Territory, *, lesion: bool = True) -> SimulatedCase:
    array = np.zeros((2, *SHAPE), dtype=np.float16)
    array[:, 20:76, 20:92, 8:40] = 1
    mask = np.zeros(SHAPE, dtype=np.bool_)
    mask[60:66, 40:50, 30:33] = lesion
    recipe = CaseRecipe(1, territory)
    return SimulatedCase(
        recipe, array, mask, mask.astype(np.uint8), finding_of(territory), "left", False, 1.0, {}, None
    )


def test_the_slice_shown_is_the_lesion_s_middle_or_the_brain_s() -> None:
    assert neighbours.middle_slice(case(Territory.ANTERIOR)) == 31
    assert neighbours.middle_slice(case(Territory.NORMAL, lesion=False)) == pytest.approx(24, abs=1)


def test_rows_are_drawn_framed_by_right_and_wrong_with_blanks_for_what_is_not_there(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from PIL import Image  # noqa: PLC0415

    image = case(Territory.ANTERIOR)
    row = [
        neighbours.Panel("query", image, None),
        neighbours.Panel("one", image, RIGHT),
        neighbours.Panel("two", None, WRONG),
    ]
    neighbours.draw([row, row[:2]], "title", tmp_path / "figure.png")
    pixels = np.asarray(Image.open(tmp_path / "figure.png").convert("RGB")).reshape(-1, 3)
    for colour in (RIGHT, WRONG):
        wanted = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)])
        assert (pixels == wanted).all(axis=1).sum() > 500


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        (
            f"simulated, version {SIMULATION_VERSION}, seed 200001",
            CaseRecipe(200001, Territory.ANTERIOR),
        ),
        (
            f"simulated, version {SIMULATION_VERSION}, seed 200001, lesion of SOOP sub-12",
            CaseRecipe(200001, Territory.ANTERIOR, "sub-12"),
        ),
        ("simulated, version 0, seed 200001", None),
        ("a clinic, 2019", None),
    ],
)
def test_a_case_is_made_again_from_its_provenance(provenance: str, expected: CaseRecipe | None) -> None:
    finding = Finding(Territory.ANTERIOR, SignalClass.MILD, InfarctType.SMALL_LACUNE)
    assert recipe_of(Case("sim-200001", finding, "report", provenance)) == expected

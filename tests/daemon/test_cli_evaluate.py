"""`pirtad evaluate` on four simulated queries, with a small untrained encoder and a case base that holds them."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.untrained import write_untrained
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app
from pirtad.inference.evaluation import representation
from pirtad.inference.evaluation.queries import Split, query_recipes
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.study import SIMULATION_VERSION
from pirtad.inference.training.cases import ensure_cases, load_case

OPTIONS = ["--n", "4", "--seed", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weights (with a decoder), weights/case_base and cache. The case base holds the four queries themselves under
    their true provenance, and one case of a clinic that is like none of them."""
    root = tmp_path_factory.mktemp("evaluate")
    weights = root / "weights"
    weights.mkdir()
    config = ViTConfig(width=24, depth=1, heads=2, mlp_width=48, pooling_heads=2, map_width=8)
    manifest = write_untrained(weights, config)

    paths = ensure_cases(root / "cache", query_recipes(4, 0.25, 0, Split.INTERNAL), 1)
    encoder = Encoder.load(weights)
    cases, vectors = [], []
    for path in paths:
        made = load_case(path)
        provenance = f"simulated, version {SIMULATION_VERSION}, seed {made.seed}"
        cases.append(Case(f"sim-{made.seed:06d}", made.finding, "report", provenance))
        vectors.append(encoder.encode(made.array.astype(np.float32)))
    cases.append(Case("clinic-1", Finding(Territory.NORMAL), "report", "a clinic"))
    vectors.append(-vectors[0])
    CaseBase.build(cases, np.stack(vectors).astype(np.float32), manifest).save(weights / "case_base")
    return root


def evaluate(place: Path, command: str, *more: str) -> tuple[int, str, str]:
    options = ["--weights", str(place / "weights"), "--cache", str(place / "cache"), *OPTIONS, *more]
    result = CliRunner().invoke(app, ["evaluate", command, *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_retrieval_finds_the_queries_themselves_and_writes_what_it_prints(place: Path, tmp_path: Path) -> None:
    code, stdout, _ = evaluate(place, "retrieval", "--json", "--out", str(tmp_path / "out"))
    assert code == 0
    found = json.loads(stdout)
    assert found == json.loads((tmp_path / "out" / "retrieval.json").read_text())
    n = found["n"]
    assert 2 <= n <= 4  # an infarct that nobody could see is left out
    assert found["of"]["queries_left_out"] == 4 - n
    # Each query meets itself first, and once in the case base; precision falls off as 1/k at best.
    for name in ("map_at_1", "acc_at_1", "acc_at_5", "macro_map_at_1"):
        assert found[name] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert 1 / 10 <= found["precision_at_10"]["value"] <= 2 / 10
    assert {"low", "value", "high"} == set(found["multiclass_acc_at_1"])
    assert sum(row["n"] for row in found["per_class"].values()) == n
    assert found["of"]["lesion_set"] == {"kind": "parametric"}
    assert found["of"]["split"] == "internal"
    assert str(place) not in stdout


def test_the_table_stands_beside_the_paper_s_figures_and_says_they_are_on_other_data(place: Path) -> None:
    code, stdout, _ = evaluate(place, "retrieval")
    assert code == 0
    row = next(line for line in stdout.splitlines() if line.startswith("mAP@1 "))
    assert row.split() == ["mAP@1", "100.0", "100.0-100.0", "94.0", "71.2"]
    assert "other data" in " ".join(stdout.split())


def test_classification_has_head_vote_groups_and_the_lesion_map(place: Path) -> None:
    code, stdout, _ = evaluate(place, "classification", "--json")
    assert code == 0
    found = json.loads(stdout)
    assert set(found["head"]) == set(found["vote"]) >= {"multiclass_acc_at_1", "by_class", "by_group", "confusion"}
    assert np.sum(found["head"]["confusion"]["table"]) == found["n"]
    assert 0 <= found["lesion_map"]["infarcts"]["dice"]["value"] < 0.5  # untrained
    code, stdout, _ = evaluate(place, "classification")
    assert code == 0
    assert "lesion map" in stdout
    assert "…" not in stdout  # all of it fits 80 columns


@pytest.mark.skipif(find_spec("matplotlib") is None or find_spec("umap") is None, reason="the optional extra evaluate")
def test_the_figure_shows_queries_and_leaves_blank_what_can_not_be_made_again(place: Path, tmp_path: Path) -> None:
    code, stdout, stderr = evaluate(place, "figure", "--rows", "2", "--out", str(tmp_path))
    assert code == 0
    assert "2 queries" in stdout
    assert "1 of" in stderr  # the clinic's case
    assert (tmp_path / "neighbours.png").read_bytes().startswith(b"\x89PNG")


def test_without_the_packages_the_command_says_what_to_install(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(representation, "missing_packages", lambda: ["umap-learn"])
    code, _, stderr = evaluate(place, "representation")
    assert code == 4
    assert "umap-learn" in stderr
    assert "pirtad[evaluate]" in stderr


def test_what_can_not_be_evaluated_ends_with_4_and_what_does_not_belong_together_with_1(
    place: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "masks.zip"
    broken.write_bytes(b"no zip")
    code, _, stderr = evaluate(place, "retrieval", "--lesions", str(broken), "--territories", str(broken))
    assert (code, "zip" in stderr) == (4, True)
    assert evaluate(place, "retrieval", "--territories", str(broken))[0] == 2
    (tmp_path / "empty").mkdir()
    code, _, stderr = evaluate(place, "retrieval", "--case-base", str(tmp_path / "empty"))
    assert (code, "case_base_missing" in stderr) == (1, True)

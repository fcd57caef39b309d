"""`pirtad evaluate reports` from simulated query to written figures, with a small untrained encoder and a scripted
language model."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import typer
from support.untrained import write_untrained
from typer.testing import CliRunner

from pirtad.daemon.cli.evaluate_reports import app_command
from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.evaluation.queries import Split, query_recipes
from pirtad.inference.evaluation.reports import text_metrics
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.training.cases import ensure_cases, load_case
from pirtad.worker import engine as worker_engine

pytestmark = pytest.mark.skipif(
    find_spec("nltk") is None or find_spec("rouge_score") is None, reason="the optional extra evaluate"
)
N = 2  # a normal study and an infarct


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weights, weights/case_base and cache: the case base holds each query itself, three times."""
    root = tmp_path_factory.mktemp("reports")
    weights = root / "weights"
    weights.mkdir()
    manifest = write_untrained(weights, ViTConfig(width=24, depth=1, heads=2, mlp_width=48, pooling_heads=2))
    encoder = Encoder.load(weights)
    cases, vectors = [], []
    for made in map(load_case, ensure_cases(root / "cache", query_recipes(N, 0.5, 0, Split.INTERNAL), 1)):
        for copy in range(3):
            report = f"Findings: {made.finding.sentence()}\nImpression: Seen on the {made.side}."
            cases.append(Case(f"sim-{3 * made.seed + copy}", made.finding, report, "simulated"))
            vectors.append(encoder.encode(made.array.astype(np.float32)))
    cases.append(Case("sim-1", Finding(Territory.NORMAL), "Findings: none.", "simulated"))
    vectors.append(-vectors[0])
    CaseBase.build(cases, np.stack(vectors).astype(np.float32), manifest).save(weights / "case_base")
    return root


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> FakeLanguageModel:
    """The configured language model; without a script it gives the first instance of the schema."""
    fake = FakeLanguageModel()
    monkeypatch.setattr(worker_engine, "language_model", lambda settings: fake)
    return fake


def evaluate(place: Path, *more: str) -> tuple[int, str, str]:
    app = typer.Typer()
    app.callback()(lambda: None)
    app_command(app)
    options = ["--weights", str(place / "weights"), "--cache", str(place / "cache"), "--normal-share", "0.5"]
    result = CliRunner().invoke(app, ["reports", "--n", str(N), *options, *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_figures_table_and_printed_reports_are_written(
    place: Path, model: FakeLanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a site that drafts without a sure vote, for the encoder is untrained
    monkeypatch.setenv("PIRTAD_REPORT__LEAST_SIMILARITY", "-1")
    out = tmp_path / "out"
    code, stdout, stderr = evaluate(place, "--no-alone", "--json", "--print", "1", "--out", str(out))
    assert code == 0, stderr
    found = json.loads(stdout)
    # Then what is printed is what is written, the queries meet themselves, and progress has an estimate
    assert found == json.loads((out / "reports.json").read_text())
    assert found["n"] == N
    assert found["retrieval"]["acc_at_1"]["value"] == 1.0
    assert set(found["systems"]) == {"pirtad", "nearest report copied", "template vote"}
    assert (
        found["systems"]["template vote"]["territory_acc_at_1"]["value"] == found["retrieval"]["vote_accuracy"]["value"]
    )
    assert found["systems"]["template vote"]["invented_registry_facts_per_100"]["value"] == 0
    assert sum(share["value"] for share in found["basis"].values()) == pytest.approx(1)
    assert found["abstention_curve"] is None  # no calibration beside this case base
    assert found["of"]["language_model"]["name"] == "fake"
    assert f"reports {N}/{N}, 0 s left" in stderr
    assert "territory Acc@1, all" in (out / "reports.txt").read_text()
    (page,) = (out / "reports").iterdir()
    assert "AI DRAFT - NOT REVIEWED" in page.read_text()
    assert str(place) not in stdout


def test_a_model_that_can_not_be_asked_is_asked_again_and_then_ends_with_3(
    place: Path, model: FakeLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pirtad.inference.report.generate.reasons_to_abstain", lambda *_: ())
    down = LanguageModelUnavailable("llm_unreachable", "the endpoint can't be reached")
    model.__init__([down])  # once: the first query's second attempt succeeds
    assert evaluate(place, "--no-alone")[0] == 0
    model.__init__([down] * 3)
    code, _, stderr = evaluate(place, "--no-alone")
    assert (code, "llm_unreachable" in stderr) == (3, True)


def test_what_does_not_go_together_is_wrong_usage_and_missing_packages_are_named(
    place: Path, model: FakeLanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(place, "--print", "1")[0] == 2
    assert evaluate(place, "--vlm", "http://127.0.0.1:1/v1")[0] == 2
    monkeypatch.setattr(text_metrics, "missing_packages", lambda: ["rouge-score"])
    code, _, stderr = evaluate(place)
    assert (code, "rouge-score" in stderr, "pirtad[evaluate]" in stderr) == (4, True, True)

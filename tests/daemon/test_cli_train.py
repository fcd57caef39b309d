"""`pirtad train` is a thin wrapper: what its commands hand on, and what they make of a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.training import ablations, pretrain, train
from pirtad.inference.training.configuration import RunConfig, TrainingConfig


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list:
    configs = []

    def take(config: RunConfig) -> EncoderManifest:
        configs.append(config)
        if config.steps == 1:
            raise ValueError("holds a run with another configuration")
        return EncoderManifest(config.name, "ab" * 32, "1", config.vit, config.command, "2026-01-01")

    monkeypatch.setattr(train, "train_encoder", take)
    monkeypatch.setattr(pretrain, "train_mae", take)
    return configs


def test_what_is_given_is_handed_on_and_the_rest_stays_as_training_has_it(handed_on: list) -> None:
    assert CliRunner().invoke(app, ["train", "encoder", "run", "out"]).exit_code == 0
    options = ["--steps", "7", "--cases", "12", "--seed", "0", "--name", "mine", "--no-bfloat16", "--cache", "c"]
    options += ["--objective", "paper", "--contrastive-weight", "0.25", "--device", "cpu", "--compile"]
    result = CliRunner().invoke(app, ["train", "encoder", "run", "out", *options])

    assert result.exit_code == 0
    assert "mine in out" in result.stdout
    default, given = handed_on
    assert default.command.startswith("pirtad")
    untouched = TrainingConfig(cache=default.cache, run=Path("run"), out=Path("out"), command=default.command)
    assert default == untouched
    assert (given.steps, given.training_cases, given.name, given.bfloat16) == (7, 12, "mine", False)
    assert (given.cache, given.batch_size) == (Path("c"), untouched.batch_size)
    assert (given.objective, given.contrastive_weight, given.device, given.compile) == ("paper", 0.25, "cpu", True)


def test_a_published_run_is_named_and_options_win_over_it(handed_on: list) -> None:
    arguments = [
        "train",
        "mae",
        "run",
        "out",
        "--config",
        "paper_small_mae",
        "--keep-share",
        "0.5",
        "--normalised-targets",
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--steps", "9", "--batch-size", "32"]).exit_code == 0
    whole, short = handed_on
    assert (whole.recipe, whole.epochs, whole.keep_share, whole.normalised_targets) == (
        "paper_small_mae",
        500,
        0.5,
        True,
    )
    assert short.total_steps == 9
    assert short.peak_learning_rate == pytest.approx(8e-4)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["encoder", "run", "out", "--steps", "1"], "another configuration"),
        (["mae", "run", "out", "--steps", "1"], "another configuration"),
        (["encoder", "run", "out", "--config", "paper_small_mae"], "pirtad train mae"),
        (["mae", "run", "out", "--config", "no_such_run"], "published ones"),
    ],
)
def test_a_run_that_is_not_possible_ends_with_4(handed_on: list, arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(app, ["train", *arguments])
    assert result.exit_code == 4
    assert complaint in result.stderr


def test_a_comparison_with_a_failed_row_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    configs = []

    def compare(config: ablations.AblationConfig) -> list[ablations.Row]:
        configs.append(config)
        return [ablations.Row("paper, small set", "paper_small", 8, None, "the loss is not a number")]

    monkeypatch.setattr(ablations, "run_ablations", compare)
    arguments = ["run", "out", "--steps", "5", "--mae-steps", "6", "--batch-size", "8", "--threads", "1"]
    result = CliRunner().invoke(app, ["train", "ablations", *arguments])
    assert result.exit_code == 1
    assert "paper, small set: the loss is not a number" in result.stderr
    (config,) = configs
    assert (config.steps, config.mae_steps, config.batch_size, config.threads) == (5, 6, 8, 1)

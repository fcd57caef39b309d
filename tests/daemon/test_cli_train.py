"""`pirtad train encoder` is a thin wrapper: what it hands on, and what it makes of a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch) -> list:
    from pirtad.inference.models.manifest import EncoderManifest  # noqa: PLC0415
    from pirtad.inference.training import train  # noqa: PLC0415

    configs = []

    def train_encoder(config: train.TrainingConfig) -> EncoderManifest:
        configs.append(config)
        if config.steps == 1:
            raise ValueError("holds a run with another configuration")
        return EncoderManifest(config.name, "ab" * 32, "1", config.vit, config.command, "2026-01-01")

    monkeypatch.setattr(train, "train_encoder", train_encoder)
    return configs


def test_what_is_given_is_handed_on_and_the_rest_stays_as_training_has_it(handed_on: list) -> None:
    from pirtad.inference.training.train import TrainingConfig  # noqa: PLC0415

    assert CliRunner().invoke(app, ["train", "encoder", "run", "out"]).exit_code == 0
    options = ["--steps", "7", "--cases", "12", "--seed", "0", "--name", "mine", "--no-bfloat16", "--cache", "c"]
    result = CliRunner().invoke(app, ["train", "encoder", "run", "out", *options])

    assert result.exit_code == 0
    assert "mine in out" in result.stdout
    default, given = handed_on
    assert default.command.startswith("pirtad")
    untouched = TrainingConfig(cache=default.cache, run=Path("run"), out=Path("out"), command=default.command)
    assert default == untouched
    assert (given.steps, given.training_cases, given.name, given.bfloat16) == (7, 12, "mine", False)
    assert (given.cache, given.batch_size) == (Path("c"), untouched.batch_size)


def test_a_run_that_can_not_go_on_ends_with_4(handed_on: list) -> None:
    result = CliRunner().invoke(app, ["train", "encoder", "run", "out", "--steps", "1"])
    assert result.exit_code == 4
    assert "another configuration" in result.stderr

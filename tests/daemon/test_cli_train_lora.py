"""`pirtad train lora` is a thin wrapper: what it hands on, and what it makes of a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pirtad.daemon.cli import train_lora
from pirtad.inference.engine import SHIPPED_CASE_BASE, SHIPPED_WEIGHTS
from pirtad.inference.errors import ModelMismatch
from pirtad.inference.training.lora import tune
from pirtad.inference.training.lora.configuration import TuneConfig


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    made.callback()(lambda: None)
    train_lora.app_command(made)
    return made


@pytest.fixture
def handed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TuneConfig]:
    configs: list[TuneConfig] = []
    monkeypatch.chdir(tmp_path)  # no pirtad.toml of the checkout
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", str(tmp_path / "data"))

    def take(config: TuneConfig) -> dict:
        configs.append(config)
        if config.steps == 1:
            raise ValueError("holds a run with another configuration")
        if config.steps == 2:
            raise ModelMismatch("weights_missing", "no such encoder")
        examples = {"training": 3, "held_out": 20}
        return {"name": config.name, "base": {"name": "Tiny"}, "examples": examples, "held_out": {"pass_rate": 0.95}}

    monkeypatch.setattr(tune, "tune_lora", take)
    return configs


def test_what_is_given_is_handed_on_and_the_rest_is_as_settings_and_file_have_it(
    app: typer.Typer, handed_on: list[TuneConfig], tmp_path: Path
) -> None:
    for name in ("model", "encoder"):
        (tmp_path / name).mkdir()
    plain = CliRunner().invoke(app, ["lora", "run", "out"])
    assert plain.exit_code == 0, plain.output
    options = ["--config", "lora_paper", "--base", "model", "--weights", "encoder", "--rank", "4", "--steps", "9"]
    given = CliRunner().invoke(app, ["lora", "run", "out", *options, "--first-case", "0", "--name", "mine"])
    assert given.exit_code == 0, given.output
    assert "mine for Tiny in out: 95% of 20 held-out answers" in given.stdout
    default, other = handed_on
    assert (default.weights, default.case_base, default.base) == (SHIPPED_WEIGHTS, SHIPPED_CASE_BASE, None)
    assert default.models == tmp_path / "data" / "models"
    assert (default.rank, default.epochs, default.recipe) == (16, 10, "")
    assert (other.weights, other.case_base) == (Path("encoder"), Path("encoder/case_base"))
    assert (other.base, other.rank, other.steps, other.first_case) == (Path("model"), 4, 9, 0)
    assert (other.recipe, other.training_cases, other.bfloat16) == ("lora_paper", 827, True)
    assert other.command.startswith("pirtad")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--steps", "1"], "another configuration"),
        (["--steps", "2"], "no such encoder [weights_missing]"),
        (["--config", "small"], "pirtad train encoder"),
        (["--config", "no_such_run"], "lora_small"),
    ],
)
def test_a_run_that_is_not_possible_ends_with_4(
    app: typer.Typer, handed_on: list[TuneConfig], options: list[str], complaint: str
) -> None:
    result = CliRunner().invoke(app, ["lora", "run", "out", *options])
    assert result.exit_code == 4
    assert complaint in result.stderr


def test_without_peft_it_says_what_to_install(
    app: typer.Typer, handed_on: list[TuneConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_lora, "find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["lora", "run", "out"])
    assert result.exit_code == 4
    assert "pirtad[train]" in result.stderr
    assert handed_on == []

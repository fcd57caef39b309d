"""Configurations of runs: the published ones, what the command line changes, what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from pirtad.inference.models.vit import ViT
from pirtad.inference.training.configuration import (
    CONFIGS,
    KINDS,
    MaeConfig,
    TrainingConfig,
    configure,
    named_settings,
    origin_of,
)
from pirtad.inference.training.mae import MaskedAutoencoder

PLACES = {"cache": Path("cache"), "run": Path("run"), "out": Path("out")}
PUBLISHED = sorted(path.stem for path in CONFIGS.glob("*.toml") if not path.stem.startswith("lora_"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_run_makes_a_network(name: str) -> None:
    settings = named_settings(name)
    config = configure(KINDS[settings["kind"]], settings, PLACES)  # type: ignore[type-var]
    assert config.recipe == name
    assert config.total_steps > config.warmup_steps
    with torch.device("meta"):  # shapes only
        model = ViT(config.vit)
        if isinstance(config, MaeConfig):
            MaskedAutoencoder(model, config.decoder_width, config.decoder_depth, config.decoder_heads, False)
    assert config.weight_decay == 0.05
    if isinstance(config, TrainingConfig) and config.starts_from:
        first = configure(MaeConfig, named_settings(config.starts_from), PLACES)
        assert dataclasses.replace(first.vit, map_width=0) == dataclasses.replace(config.vit, map_width=0)


def test_the_papers_figures_are_in_the_files() -> None:
    mae = configure(MaeConfig, named_settings("pirta_base_mae"), PLACES)
    assert (mae.learning_rate, mae.weight_decay, mae.epochs, mae.keep_share) == (6.4e-3, 0.05, 500, 0.25)
    assert mae.peak_learning_rate == pytest.approx(6.4e-3)  # at a batch of 256
    assert dataclasses.replace(mae, batch_size=32).peak_learning_rate == pytest.approx(8e-4)
    tuned = configure(TrainingConfig, named_settings("pirta_base"), PLACES)
    assert (tuned.objective, tuned.learning_rate, tuned.epochs, tuned.vit.width) == ("paper", 1e-3, 1000, 768)
    assert configure(TrainingConfig, named_settings("paper_small"), PLACES).training_cases == 827


def test_the_shipped_recipe_is_what_training_does_unasked() -> None:
    named = configure(TrainingConfig, named_settings("small"), PLACES)
    assert dataclasses.replace(named, recipe="") == TrainingConfig(**PLACES)


def test_the_command_line_wins_over_the_file_and_steps_over_epochs(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('kind = "mae"\nepochs = 3\ntraining_cases = 100\nbatch_size = 32\n[vit]\nwidth = 96\n')
    settings = named_settings(str(path))
    read = configure(MaeConfig, settings, PLACES | {"seed": None})
    assert (read.recipe, read.total_steps, read.vit.width, read.seed) == ("mine", 12, 96, 0)
    given = configure(MaeConfig, settings, PLACES | {"steps": 5, "seed": 9})
    assert (given.total_steps, given.seed) == (5, 9)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('kind = "mae"\n', "pirtad train mae"),
        ("stepps = 3\n", "unknown settings stepps"),
        ('out = "elsewhere"\n', "unknown settings out"),
        ("[vit]\nwidht = 3\n", "of the network widht"),
        ('steps = "many"\n', "setting steps"),
        ('objective = "best"\n', "setting objective"),
        ("steps = \n", "not TOML"),
    ],
)
def test_a_file_with_a_mistake_is_refused_with_its_name(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=complaint):
        configure(TrainingConfig, named_settings(str(path)), PLACES)


def test_an_unknown_run_names_the_published_ones() -> None:
    with pytest.raises(ValueError, match="paper_small_no_pretraining"):
        named_settings("no_such_run")


def test_a_table_without_masks_is_refused() -> None:
    with pytest.raises(ValueError, match="without the lesion masks"):
        TrainingConfig(**PLACES, territories=Path("table.tsv"))


def test_the_same_experiment_has_the_same_digest_wherever_it_runs(tmp_path: Path) -> None:
    one = TrainingConfig(**PLACES)
    there = dataclasses.replace(one, cache=tmp_path, run=tmp_path, out=tmp_path, threads=7, device="cpu", loaders=3)
    assert origin_of(one) == origin_of(there)
    for change in ({"seed": 1}, {"bfloat16": False}, {"steps": 7}, {"objective": "paper"}):
        assert origin_of(dataclasses.replace(one, **change)) != origin_of(one)
    # A lesion archive counts by its content.
    (tmp_path / "a.zip").write_bytes(b"one")
    (tmp_path / "b.zip").write_bytes(b"one")
    (tmp_path / "c.zip").write_bytes(b"two")
    a, b, c = (origin_of(dataclasses.replace(one, lesions=tmp_path / f"{name}.zip")) for name in "abc")
    assert a == b != c

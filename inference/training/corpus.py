"""The simulated cases that a run trains on and watches."""

from __future__ import annotations

from pathlib import Path

from pirtad.inference.simulation.lesion_masks import LesionFiles, open_masks
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import CaseRecipe, balanced_recipes, ensure_cases
from pirtad.inference.training.configuration import RunConfig


def lesion_files_of(config: RunConfig) -> LesionFiles | None:
    """The real lesions that are shown in two of three infarcts, None where all are drawn."""
    return None if config.lesions is None else LesionFiles(config.lesions, config.territories)


def training_paths(config: RunConfig) -> list[Path]:
    """The files of the training cases, made where missing."""
    return _ensure(config, training_recipes(config))


def validation_paths(config: RunConfig) -> list[Path]:
    """The files of the cases that are watched; their real lesions may be training's, their brains are not."""
    return _ensure(config, _recipes(config, seeds.first(seeds.VALIDATION, config.validation_cases)))


def training_recipes(config: RunConfig) -> list[CaseRecipe]:
    """What the training cases follow from; lesions held out for tests are not among them."""
    return _recipes(config, seeds.first(seeds.TRAINING, config.training_cases))


def _recipes(config: RunConfig, chosen: range) -> list[CaseRecipe]:
    files = lesion_files_of(config)
    return balanced_recipes(chosen, None if files is None else open_masks(files))


def _ensure(config: RunConfig, recipes: list[CaseRecipe]) -> list[Path]:
    return ensure_cases(config.cache, recipes, config.workers, lesion_files_of(config))

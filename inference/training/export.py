"""From a trained network to the directory that the product and `--start` load."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.training.configuration import Origin, RunConfig
from pirtad.inference.training.corpus import training_recipes

# An absolute path, of which the last part is kept: what a manifest says of its origin must not say whose machine.
_ABSOLUTE = re.compile(r"(?<![\w./-])(?:~|[A-Za-z]:)?[/\\](?:[^\s'\"/\\]*[/\\])*")


# Beside the weights: subjects whose real lesions were trained on, one a line, for who tests on lesions of the same set.
TRAINING_LESIONS_FILE = "training_lesions.txt"


def lesions_trained_on(config: RunConfig, start: Path | None) -> frozenset[str] | None:
    """Subjects of the run's own cases and of those that the encoder in `start` has seen; None if that is not known."""
    before: set[str] = set()
    if start is not None:
        listed = start / TRAINING_LESIONS_FILE
        if not listed.is_file():
            return None
        before = set(listed.read_text(encoding="utf-8").split())
    return frozenset(before | {recipe.subject for recipe in training_recipes(config) if recipe.subject is not None})


def export(
    weights: Mapping[str, torch.Tensor],
    config: RunConfig,
    origin: Origin,
    lesions: frozenset[str] | None,
    classifies: bool,
) -> EncoderManifest:
    """Write weights.safetensors, manifest.json and, where known, training_lesions.txt to `config.out`."""
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / TRAINING_LESIONS_FILE).unlink(missing_ok=True)
    if lesions is not None:
        text = "".join(f"{subject}\n" for subject in sorted(lesions))
        (config.out / TRAINING_LESIONS_FILE).write_text(text, encoding="utf-8")
    part = config.out / f"{WEIGHTS_FILE}.{os.getpid()}.part"
    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, part)
    part.replace(config.out / WEIGHTS_FILE)
    manifest = EncoderManifest(
        name=config.name,
        weights_sha256=sha256_of(config.out / WEIGHTS_FILE),
        preprocessing_version=PREPROCESSING_VERSION,
        config=config.vit,
        training_command=_ABSOLUTE.sub("", config.command),
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        recipe=config.recipe,
        recipe_sha256=origin.recipe_sha256,
        started_from_sha256=origin.started_from_sha256,
        classifies=classifies,
    )
    manifest.write(config.out)
    return manifest

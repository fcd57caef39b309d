"""A run's directory: the configuration it belongs to, and the checkpoint it goes on from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pirtad.inference.training.configuration import Origin, RunConfig, origin_of

CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "checkpoint.pt"


def claim(config: RunConfig) -> Origin:
    """Make the directory and write config.json; ValueError if a run with other decisive settings was started there."""
    origin = origin_of(config)
    config.run.mkdir(parents=True, exist_ok=True)
    path = config.run / CONFIG_FILE
    if path.exists() and json.loads(path.read_text(encoding="utf-8")).get("recipe_sha256") != origin.recipe_sha256:
        raise ValueError(f"{config.run} holds a run with another configuration; give another directory")
    written = json.dumps(asdict(config) | {"recipe_sha256": origin.recipe_sha256}, indent=2, default=str)
    path.write_text(written + "\n", encoding="utf-8")
    return origin


def save_checkpoint(run: Path, state: Mapping[str, Any], done: int) -> None:
    """Write what `resume` reads; the file appears whole or not at all."""
    part = run / f"{CHECKPOINT_FILE}.part"
    torch.save({name: thing.state_dict() for name, thing in state.items()} | {"done": done}, part)
    part.replace(run / CHECKPOINT_FILE)


def resume(run: Path, state: Mapping[str, Any]) -> int:
    """Steps already done; the state (modules, optimiser, schedule) is set to what it was after them."""
    path = run / CHECKPOINT_FILE
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True, map_location="cpu")
    for name, thing in state.items():
        thing.load_state_dict(saved[name])
    return int(saved["done"])

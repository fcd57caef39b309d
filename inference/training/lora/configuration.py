"""Everything a tuning depends on, from a TOML file (configs/lora_*.toml) and the command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from pirtad.inference.models.digest import sha256_of

KIND = "lora"


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of one tuning. The paper gives epochs, batch_size and the five cases, and no other figure."""

    cache: Path
    """Directory of simulated and preprocessed cases; made where missing."""
    run: Path
    """Directory for checkpoint.pt, metrics.jsonl and config.json; an interrupted run goes on from there."""
    out: Path
    """Directory for the adapter and its manifest."""
    weights: Path
    """Directory of the encoder that retrieves."""
    case_base: Path
    """Directory of the case base it retrieves from."""
    models: Path
    """Where the bundled language model is kept, converted once; not used with `base`."""
    base: Path | None = None
    """Directory of a causal language model with a chat template, as `save_pretrained` writes; None: the bundled one."""
    lesions: Path | None = None
    """Archive of lesion masks that the simulation draws from; None simulates with its own shapes."""
    territories: Path | None = None
    """Table of the territories of those masks; None derives them."""
    participants: Path | None = None
    """TSV with the columns age, sex and nihss, from which patients are drawn; None: see registries.py."""
    recipe: str = ""
    """Name of the file that the settings come from."""
    name: str = "pirtad-lora"
    """Name of the adapter, for manifest and reports."""
    training_cases: int = 320
    """Simulated cases to make examples of, those of seeds.TRAINING from `first_case` on."""
    first_case: int = 4096
    """Published encoders are trained on the seeds before: of those the neighbours are too often right."""
    held_out_cases: int = 64
    """Simulated cases to watch, the first of seeds.VALIDATION; nothing is chosen by them."""
    epochs: int = 10
    """Passes over the examples (PIRTA section 2.3.2), unless `steps` says otherwise."""
    steps: int | None = None
    """Optimiser steps; None leaves it to `epochs`."""
    batch_size: int = 16
    """Examples a step (PIRTA section 2.3.2)."""
    micro_batch_size: int = 4
    """Examples at once in memory; gradients add up to the batch."""
    rank: int = 16
    """Of the update; vLLM's --max-lora-rank must not be less."""
    alpha: int = 32
    """The update counts alpha / rank."""
    dropout: float = 0.05
    """Of the update's input, while training."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the layers that get an update."""
    learning_rate: float = 2e-4
    """Peak: a linear rise over `warmup_steps`, then half a cosine to zero."""
    warmup_steps: int = 10
    """Steps of the rise."""
    weight_decay: float = 0.0
    """Of AdamW."""
    checkpoint_every_steps: int = 10
    """After how many steps the run is saved."""
    report_every_steps: int = 1
    """After how many steps progress is written."""
    seed: int = 0
    """Of the update's initial weights, the order of the examples, the patients and the dropout."""
    bfloat16: bool = False
    """The base model's weights in bfloat16, for a GPU; the update's stay float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    workers: int = 2
    """Processes that simulate."""
    threads: int = 2
    """Threads that train on a CPU."""
    tensorboard: bool = False
    """Metrics for TensorBoard too, where the package is installed."""
    command: str = ""
    """The command line, for the manifest."""

    def __post_init__(self) -> None:
        if self.territories is not None and self.lesions is None:
            raise ValueError("a table of territories without the lesion masks that it is of")
        least = {"training_cases": 1, "held_out_cases": 1, "epochs": 1, "batch_size": 1, "micro_batch_size": 1}
        least |= {"rank": 1, "warmup_steps": 1, "checkpoint_every_steps": 1, "report_every_steps": 1, "first_case": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"setting {name}: {getattr(self, name)}, at least {value}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"setting steps: {self.steps}, at least 1")


_FILES = ("lesions", "territories", "participants")
_PLACES = frozenset({"cache", "run", "out", "weights", "case_base", "models", "base", "command", *_FILES})
# What a run's result does not depend on: paths (files count by their content), the machine, how progress is told.
_NOT_DECISIVE = _PLACES | {"workers", "threads", "device", "tensorboard"}
_NOT_DECISIVE |= {"checkpoint_every_steps", "report_every_steps"}


def configure_tuning(settings: Mapping[str, Any], given: Mapping[str, Any]) -> TuneConfig:
    """A configuration from a file's settings (training.configuration.named_settings) and, before them, what the command
    line gave (None: nothing). Raises ValueError for a file of another kind of run, an unknown setting, or a value that
    is of the wrong type or not possible.
    """
    if settings.get("kind", KIND) != KIND:
        raise ValueError(f"{settings['recipe']} is a configuration for `pirtad train {settings['kind']}`")
    known = {one.name for one in fields(TuneConfig)} - _PLACES - {"recipe"}
    if strange := sorted(set(settings) - known - {"kind", "recipe"}):
        raise ValueError(f"{settings['recipe']}: unknown settings {', '.join(strange)}")
    merged = {name: value for name, value in settings.items() if name != "kind"}
    merged |= {name: value for name, value in given.items() if value is not None}
    if given.get("epochs") is not None and given.get("steps") is None:
        merged["steps"] = None
    try:
        return TypeAdapter(TuneConfig).validate_python(merged)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"setting {where}: {first['msg']}" if where else str(first["msg"])) from error


def recipe_sha256(config: TuneConfig, models: Mapping[str, str]) -> str:
    """Digest of what decides a run's result: two runs with the same one are the same experiment.

    models: digests of base model, encoder and case base. Raises OSError when a file is not there.
    """
    kept: dict[str, Any] = {name: value for name, value in asdict(config).items() if name not in _NOT_DECISIVE}
    for name in _FILES:
        path: Path | None = getattr(config, name)
        kept[f"{name}_sha256"] = sha256_of(path) if path is not None else ""
    text = json.dumps(kept | dict(models), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()

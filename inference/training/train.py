"""Train the encoder on simulated studies, from nothing to the weights directory that the product loads.

Run as `python -m pirtad.inference.training.train encoder --help` (and `cases`, for the case base).
"""

from __future__ import annotations

import datetime
import json
import math
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import ensure_cases, load_case
from pirtad.inference.training.data import TrainingSet, batches
from pirtad.inference.training.objective import TrainingHeads, collate
from pirtad.inference.training.voxels import BrainVoxels, voxels_of


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a training run depends on; written to the run's directory."""

    cache: Path
    """Directory of simulated and preprocessed cases; made where missing."""
    run: Path
    """Directory for checkpoint.pt, metrics.jsonl and config.json; an interrupted run goes on from there."""
    out: Path
    """Directory for weights.safetensors and manifest.json."""
    start: Path | None = None
    """Directory of an encoder of the same shape whose weights training begins with; None begins with nothing."""
    name: str = "pirtad-vit-small-sim"
    """Name of the encoder, for the manifest and the reports."""
    training_cases: int = 1200
    """Simulated cases to train on, the first of seeds.TRAINING."""
    validation_cases: int = 96
    """Simulated cases to watch, the first of seeds.VALIDATION; nothing is chosen by them."""
    steps: int = 2000
    """Optimiser steps."""
    batch_size: int = 32
    """Cases a step, a quarter of each class."""
    learning_rate: float = 1e-3
    """Peak of the schedule (PIRTA section 2.3.2, fine-tuning)."""
    weight_decay: float = 0.05
    """Of AdamW (PIRTA section 2.3.2)."""
    warmup_steps: int = 60
    """Linear rise before the cosine falls to zero."""
    checkpoint_every_steps: int = 200
    """After how many steps the run is saved and the validation cases are tried."""
    report_every_steps: int = 25
    """After how many steps progress is written."""
    seed: int = 0
    """Of the initial weights and of every batch."""
    bfloat16: bool = True
    """Mixed precision, for machines with AMX or AVX512-BF16; inference is float32 everywhere."""
    workers: int = 2
    """Processes that simulate."""
    threads: int = 2
    """Threads that train."""
    vit: ViTConfig = field(default_factory=lambda: ViTConfig(map_width=32))
    """Shape of the network."""
    command: str = ""
    """The command line, for the manifest."""


def train_encoder(config: TrainingConfig) -> EncoderManifest:
    """Simulate what is missing, train, write weights and manifest to `config.out`.

    Progress goes to stdout and to metrics.jsonl. Raises ValueError when the run's directory belongs to another
    configuration.
    """
    config.run.mkdir(parents=True, exist_ok=True)
    _claim(config)
    validation = ensure_cases(config.cache, seeds.first(seeds.VALIDATION, config.validation_cases), config.workers)
    training = ensure_cases(config.cache, seeds.first(seeds.TRAINING, config.training_cases), config.workers)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    cases = TrainingSet(training)
    watched = [voxels_of(load_case(path)) for path in validation]

    model, heads = ViT(config.vit), TrainingHeads(config.vit)
    if config.start is not None:
        _begin_with(model, config.start)
    optimiser = torch.optim.AdamW(_groups([model, heads], config.weight_decay), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    state = {"model": model, "heads": heads, "optimiser": optimiser, "schedule": schedule}
    first_step = _resume(config.run / "checkpoint.pt", state)

    started = time.monotonic()
    for step, batch in enumerate(
        batches(cases, config.vit, config.batch_size, config.seed, range(first_step, config.steps)), start=first_step
    ):
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=config.bfloat16):
            encoded = model(batch.x.bfloat16() if config.bfloat16 else batch.x)
            parts = heads(encoded, batch)
        optimiser.zero_grad(set_to_none=True)
        parts["loss"].backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], 1.0)
        optimiser.step()
        schedule.step()
        done = step + 1
        save = done % config.checkpoint_every_steps == 0 or done == config.steps
        if save or done % config.report_every_steps == 0:
            record: dict[str, Any] = {name: round(float(value.detach()), 4) for name, value in parts.items()}
            record |= {"step": done, "batch_accuracy": _hits(encoded.logits, batch.territory)}
            if save:
                record["validation_accuracy"] = _accuracy(model, watched, config)
                _checkpoint(config.run / "checkpoint.pt", state, done)
            left_s = (time.monotonic() - started) / (done - first_step) * (config.steps - done)
            _report(config.run / "metrics.jsonl", record, left_s)
    return _export(model, config)


def _begin_with(model: ViT, directory: Path) -> None:
    """Set the weights to those of a finished encoder, which may lack a decoder; ValueError for another shape."""
    manifest = EncoderManifest.read(directory)
    if replace(manifest.config, map_width=0) != replace(model.config, map_width=0):
        raise ValueError(f"{directory} holds an encoder of another shape")
    if manifest.config.map_width not in (0, model.config.map_width):
        raise ValueError(f"{directory} holds a decoder of another width")
    model.load_state_dict(load_file(directory / WEIGHTS_FILE), strict=bool(manifest.config.map_width))


def _groups(modules: list[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and positions do not (as in ViT and MAE)."""
    named = [(name, value) for module in modules for name, value in module.named_parameters()]
    matrices = [value for name, value in named if value.ndim == 2]
    others = [value for name, value in named if value.ndim != 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _rate(step: int, config: TrainingConfig) -> float:
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _hits(logits: torch.Tensor, territory: torch.Tensor) -> float:
    return round(float((logits.argmax(1) == territory).float().mean()), 4)


def _accuracy(model: ViT, cases: list[BrainVoxels], config: TrainingConfig) -> float:
    """Share of the cases that the linear head classifies right, in float32."""
    model.eval()
    hits = 0.0
    with torch.inference_mode():
        for start in range(0, len(cases), config.batch_size):
            batch = collate(cases[start : start + config.batch_size], config.vit)
            hits += float((model(batch.x).logits.argmax(1) == batch.territory).sum())
    return round(hits / max(1, len(cases)), 4)


def _claim(config: TrainingConfig) -> None:
    """Write config.json, or check that the run there was started with the same one."""
    text = json.dumps(asdict(config) | {"command": ""}, indent=2, default=str) + "\n"
    path = config.run / "config.json"
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{config.run} holds a run with another configuration; give another directory")
    path.write_text(text, encoding="utf-8")


def _checkpoint(path: Path, state: dict[str, Any], done: int) -> None:
    part = path.with_suffix(".part")
    torch.save({name: thing.state_dict() for name, thing in state.items()} | {"done": done}, part)
    part.replace(path)


def _resume(path: Path, state: dict[str, Any]) -> int:
    """Steps already done; the state is set to what it was after them."""
    if not path.exists():
        return 0
    saved = torch.load(path, weights_only=True)
    for name, thing in state.items():
        thing.load_state_dict(saved[name])
    print(f"going on after step {saved['done']}", flush=True)
    return int(saved["done"])


def _report(path: Path, record: dict[str, Any], left_s: float) -> None:
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(record) + "\n")
    shown = ", ".join(f"{name} {value}" for name, value in record.items())
    print(f"{shown}, {left_s / 60:.1f} min left", flush=True)


def _export(model: ViT, config: TrainingConfig) -> EncoderManifest:
    config.out.mkdir(parents=True, exist_ok=True)
    part = config.out / f"{WEIGHTS_FILE}.{os.getpid()}.part"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, part)
    part.replace(config.out / WEIGHTS_FILE)
    manifest = EncoderManifest(
        name=config.name,
        weights_sha256=sha256_of(config.out / WEIGHTS_FILE),
        preprocessing_version=PREPROCESSING_VERSION,
        config=config.vit,
        training_command=config.command,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    manifest.write(config.out)
    return manifest


if __name__ == "__main__":
    from pirtad.inference.training.command import main

    main()

"""Train the encoder on simulated studies, to the weights directory that the product loads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import ViT
from pirtad.inference.training.cases import load_case
from pirtad.inference.training.configuration import TrainingConfig
from pirtad.inference.training.contrastive import supervised_contrastive
from pirtad.inference.training.corpus import training_paths, validation_paths
from pirtad.inference.training.data import TrainingSet, in_advance
from pirtad.inference.training.device import compile_blocks, device_of
from pirtad.inference.training.export import export, lesions_trained_on
from pirtad.inference.training.fit import fit
from pirtad.inference.training.objective import Batch, PaperObjective, TrainingHeads, collate
from pirtad.inference.training.run_directory import claim
from pirtad.inference.training.voxels import BrainVoxels, voxels_of


def train_encoder(config: TrainingConfig) -> EncoderManifest:
    """Simulate what is missing, train, write weights and manifest to `config.out`.

    Progress goes to stdout, metrics.jsonl and TensorBoard. Raises ValueError when the run's directory belongs to
    another configuration, `config.start` does not fit, the device is not there or the loss is not a number any more;
    ModelMismatch when `config.start` is no encoder.
    """
    _check_start(config)
    device = device_of(config.device)
    origin = claim(config)
    lesions = lesions_trained_on(config, config.start)
    validation = validation_paths(config)
    cases = TrainingSet(training_paths(config), config.augmentation)
    watched = [voxels_of(load_case(path)) for path in validation]
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = ViT(config.vit)
    heads = TrainingHeads(config.vit) if config.objective == "dense" else PaperObjective()
    if config.start is not None:
        _begin_with(model, config.start)
    model.to(device)
    heads.to(device)
    compile_blocks(model, config.compile, device)

    def prepare(step: int) -> Batch:
        return collate(cases.draw(config.batch_size, (config.seed, step)), config.vit)

    def batches(steps: range) -> Iterator[Batch]:
        return in_advance(prepare, steps, config.loaders)

    def losses(batch: Batch, _step: int) -> dict[str, torch.Tensor]:
        batch = batch.to(device)
        encoded = model(batch.x.bfloat16() if config.bfloat16 else batch.x)
        parts: dict[str, torch.Tensor] = heads(encoded, batch)
        if config.contrastive_weight:
            parts["contrastive"] = supervised_contrastive(encoded.embedding, batch.territory)
            parts["loss"] = parts["loss"] + config.contrastive_weight * parts["contrastive"]
        parts["batch_accuracy"] = (encoded.logits.argmax(1) == batch.territory).float().mean()
        return parts

    fit(
        config,
        device,
        {"model": model, "heads": heads},
        batches,
        losses,
        lambda: {"validation_accuracy": _accuracy(model, watched, config, device)},
    )
    return export(model.state_dict(), config, origin, lesions, classifies=True)


def _check_start(config: TrainingConfig) -> None:
    """ValueError when the encoder to begin with is not of the recipe that the configuration asks for."""
    found = EncoderManifest.read(config.start).recipe if config.start is not None else None
    if config.starts_from and found != config.starts_from:
        given = "none was given" if found is None else f"the one given is of {found or 'an unnamed one'}"
        raise ValueError(f"{config.recipe} begins with an encoder of the recipe {config.starts_from}; {given}")


def _begin_with(model: ViT, directory: Path) -> None:
    """Set the weights to those of a finished encoder, which may lack a decoder; ValueError for another shape."""
    manifest = EncoderManifest.read(directory)
    if replace(manifest.config, map_width=0) != replace(model.config, map_width=0):
        raise ValueError(f"{directory} holds an encoder of another shape")
    if manifest.config.map_width not in (0, model.config.map_width):
        raise ValueError(f"{directory} holds a decoder of another width")
    model.load_state_dict(load_file(directory / WEIGHTS_FILE), strict=bool(manifest.config.map_width))


def _accuracy(model: ViT, cases: Sequence[BrainVoxels], config: TrainingConfig, device: torch.device) -> float:
    """Share of the cases that the linear head classifies right, in float32."""
    model.eval()
    hits = 0.0
    with torch.inference_mode():
        for start in range(0, len(cases), config.batch_size):
            batch = collate(cases[start : start + config.batch_size], config.vit).to(device)
            hits += float((model(batch.x).logits.argmax(1) == batch.territory).sum())
    return round(hits / max(1, len(cases)), 4)

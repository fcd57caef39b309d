"""Pretrain the encoder by a masked autoencoder, to a directory that `pirtad train encoder --start` takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViT
from pirtad.inference.training.cases import load_case
from pirtad.inference.training.configuration import MaeConfig
from pirtad.inference.training.corpus import training_paths, validation_paths
from pirtad.inference.training.data import TrainingSet, in_advance
from pirtad.inference.training.device import compile_blocks, device_of
from pirtad.inference.training.export import export, lesions_trained_on
from pirtad.inference.training.fit import fit
from pirtad.inference.training.mae import MaskedAutoencoder
from pirtad.inference.training.objective import images_of
from pirtad.inference.training.run_directory import claim
from pirtad.inference.training.voxels import voxels_of


def train_mae(config: MaeConfig) -> EncoderManifest:
    """Simulate what is missing, pretrain, write the encoder and its manifest to `config.out`.

    The manifest says that the head is not trained, and the product refuses such an encoder. The weights have no
    decoder of the lesion map. Raises ValueError as `train_encoder` does.
    """
    config = replace(config, vit=replace(config.vit, map_width=0))
    device = device_of(config.device)
    origin = claim(config)
    validation = validation_paths(config)
    cases = TrainingSet(training_paths(config), config.augmentation)
    watched = [voxels_of(load_case(path)) for path in validation]
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    model = MaskedAutoencoder(
        ViT(config.vit), config.decoder_width, config.decoder_depth, config.decoder_heads, config.normalised_targets
    ).to(device)
    compile_blocks(model.encoder, config.compile, device)

    def prepare(step: int) -> torch.Tensor:
        return images_of(cases.draw_unlabelled(config.batch_size, (config.seed, step)), config.vit)

    def batches(steps: range) -> Iterator[torch.Tensor]:
        return in_advance(prepare, steps, config.loaders)

    def losses(x: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
        # A mask is a function of seed and step, so that an interrupted run goes on as it would have.
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        parts: dict[str, torch.Tensor] = model(x.to(device), config.keep_share, generator)
        return parts

    def watch() -> dict[str, float]:
        model.eval()
        generator = torch.Generator().manual_seed(config.seed)
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(watched), config.batch_size):
                part = watched[start : start + config.batch_size]
                total += len(part) * float(
                    model(images_of(part, config.vit).to(device), config.keep_share, generator)["loss"]
                )
        return {"validation_loss": round(total / max(1, len(watched)), 5)}

    fit(config, device, {"model": model}, batches, losses, watch)
    return export(model.encoder.state_dict(), config, origin, lesions_trained_on(config, None), classifies=False)

"""An encoder that was never trained, on disk as a trained one would be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase


def write_untrained(directory: Path, config: ViTConfig) -> EncoderManifest:
    """Weights and manifest of a network as it is born."""
    torch.manual_seed(0)
    save_file({name: value.contiguous() for name, value in ViT(config).state_dict().items()}, directory / WEIGHTS_FILE)
    digest = sha256_of(directory / WEIGHTS_FILE)
    manifest = EncoderManifest("untrained", digest, PREPROCESSING_VERSION, config, "test", "2026-01-01")
    manifest.write(directory)
    return manifest


def untrained_models(directory: Path, map_width: int = 0) -> Path:
    """The same in the shipped shape, with a case base of eight random vectors in its folder `case_base`."""
    return tiny_models(directory, ViTConfig(map_width=map_width))


def tiny_models(directory: Path, config: ViTConfig) -> Path:
    """An untrained encoder of any shape, with a case base of eight random vectors in its folder `case_base`."""
    directory.mkdir(parents=True, exist_ok=True)
    manifest = write_untrained(directory, config)
    vectors = np.random.default_rng(2).normal(size=(8, config.width))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cases = [Case(f"test-{n}", Finding(Territory.NORMAL), "A report.", "random") for n in range(8)]
    CaseBase.build(cases, vectors.astype(np.float32), manifest).save(directory / "case_base")
    return directory

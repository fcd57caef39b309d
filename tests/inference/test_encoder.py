"""The encoder is believed only when its files belong together."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.manifest import MANIFEST_FILE, WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION

SMALL = ViTConfig(width=48, depth=1, heads=3, mlp_width=96, pooling_heads=4)
SHIPPED = Path(str(files("pirtad.inference"))) / "weights" / "small"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An untrained encoder as training would leave it."""
    torch.manual_seed(0)
    save_file(ViT(SMALL).state_dict(), tmp_path / WEIGHTS_FILE)
    digest = sha256_of(tmp_path / WEIGHTS_FILE)
    EncoderManifest("untrained", digest, PREPROCESSING_VERSION, SMALL, "none", "2026-01-01").write(tmp_path)
    return tmp_path


def study(seed: int = 0) -> np.ndarray:
    x = np.zeros((2, 96, 112, 48), dtype=np.float32)
    x[:, 30:60, 30:80, 10:40] = np.random.default_rng(seed).uniform(0.5, 1.5, (2, 30, 50, 30))
    return x


def edit_manifest(directory: Path, **changes: object) -> None:
    path = directory / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_vector_has_length_one_and_is_reproducible(directory: Path) -> None:
    encoder = Encoder.load(directory)
    vector = encoder.encode(study())
    assert vector.shape == (encoder.dimension,) == (48,)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_array_equal(vector, Encoder.load(directory).encode(study()))
    assert not np.allclose(vector, encoder.encode(study(1)), atol=1e-4)


def test_probabilities_add_up(directory: Path) -> None:
    _, odds = Encoder.load(directory).encode_and_classify(study())
    assert odds.shape == (4,)
    assert odds.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_manifest_comes_back(directory: Path) -> None:
    manifest = Encoder.load(directory).manifest
    assert manifest.name == "untrained"
    assert manifest.config == SMALL
    assert manifest.weights_sha256 == sha256_of(directory / WEIGHTS_FILE)


def test_altered_weights_are_refused(directory: Path) -> None:
    path = directory / WEIGHTS_FILE
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelMismatch) as refused:
        Encoder.load(directory)
    assert refused.value.code == "weights_digest"


@pytest.mark.parametrize("name", [MANIFEST_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(ModelMismatch, match=name):
        Encoder.load(directory)


def test_another_preprocessing_is_refused(directory: Path) -> None:
    edit_manifest(directory, preprocessing_version="of another time")
    with pytest.raises(ModelMismatch, match="of another time") as refused:
        Encoder.load(directory)
    assert refused.value.code == "preprocessing_version"


def test_a_configuration_that_does_not_fit_is_refused(directory: Path) -> None:
    edit_manifest(directory, config=dataclasses.asdict(dataclasses.replace(SMALL, width=96)))
    with pytest.raises(ModelMismatch) as refused:
        Encoder.load(directory)
    assert refused.value.code == "weights_shape"


@pytest.mark.parametrize(
    "text",
    ["not json", "[]", "{}", '{"schema": 2}', '{"schema": 1, "config": {}, "unknown": 1}'],
)
def test_an_unreadable_manifest_is_refused(directory: Path, text: str) -> None:
    (directory / MANIFEST_FILE).write_text(text)
    with pytest.raises(ModelMismatch) as refused:
        Encoder.load(directory)
    assert refused.value.code == "encoder_manifest"


@pytest.mark.parametrize(
    "x",
    [np.zeros((96, 112, 48), np.float32), np.full((2, 96, 112, 48), np.nan, np.float32)],
    ids=["one channel", "not finite"],
)
def test_an_input_of_another_kind_is_refused(directory: Path, x: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shape|finite"):
        Encoder.load(directory).encode(x)


def test_the_shipped_encoder_loads() -> None:
    encoder = Encoder.load(SHIPPED)
    assert encoder.manifest.config == ViTConfig(map_width=32)
    assert "pirtad" in encoder.manifest.training_command
    assert (SHIPPED / WEIGHTS_FILE).stat().st_size < 16 * 2**20

"""The trained encoder as the product uses it: weights that are checked before they are believed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.manifest import WEIGHTS_FILE, EncoderManifest
from pirtad.inference.models.vit import Encoded, ViT


@dataclass(frozen=True, slots=True)
class Seen:
    """vector: unit, float32 (D,). odds: of the head's classes (4,), in the order of Territory. lesion_probability:
    float32 (96, 112, 48), 0 outside the brain; None when the weights have no decoder."""

    vector: NDArray[np.float32]
    odds: NDArray[np.float32]
    lesion_probability: NDArray[np.float32] | None


class Encoder:
    """From a preprocessed study to the unit vector that retrieval compares. Safe to share between threads."""

    def __init__(self, model: ViT, manifest: EncoderManifest, device: str = "cpu") -> None:
        self._model = model.to(device).eval()
        self._device = device
        self.manifest = manifest

    @classmethod
    def load(cls, directory: Path, device: str = "cpu") -> Encoder:
        """The encoder in `directory` (weights.safetensors, manifest.json).

        Raises ModelMismatch when a file is missing, altered, or does not belong with this program.
        """
        manifest = EncoderManifest.read(directory)
        if not manifest.classifies:
            raise ModelMismatch(
                "encoder_not_fine_tuned",
                f"encoder {manifest.name} is pretrained only: its class probabilities would be made up",
                "fine-tune it with `pirtad train encoder --start`",
            )
        model = ViT(manifest.config)
        try:
            model.load_state_dict(load_file(directory / WEIGHTS_FILE))
        except (RuntimeError, SafetensorError) as error:
            raise ModelMismatch(
                "weights_shape", f"{WEIGHTS_FILE} does not fit the manifest's configuration: {error}"
            ) from error
        return cls(model, manifest, device)

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.manifest.config.width

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vector float32 (D,) of one study; x: (2, 96, 112, 48), preprocess.NetworkInput.array."""
        return self.encode_and_classify(x)[0]

    def encode_and_classify(self, x: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The unit vector (D,) and the four class probabilities (4,) of the linear head, in the order of Territory."""
        return _vector_and_odds(self._run(x))

    def see(self, x: NDArray[np.float32]) -> Seen:
        """All that one forward pass gives, for `encode_and_classify` and `lesion_probability` at once."""
        encoded = self._run(x)
        vector, odds = _vector_and_odds(encoded)
        has_map = self.manifest.config.map_width > 0
        return Seen(vector, odds, self._lesion_map(encoded, x) if has_map else None)

    def lesion_probability(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probability of acute infarct float32 (96, 112, 48), 0 outside the brain.

        Raises ValueError when the weights have no decoder (manifest.config.map_width is 0).
        """
        return self._lesion_map(self._run(x), x)

    def _lesion_map(self, encoded: Encoded, x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            probability = self._model.lesion_probability(encoded)[0].cpu().numpy()
        brain = (x != 0).any(axis=0)
        return np.where(brain, probability, np.float32(0)).astype(np.float32)

    def _run(self, x: NDArray[np.float32]) -> Encoded:
        """x: (2, 96, 112, 48), checked, as a batch of one."""
        expected = (self.manifest.config.channels, *self.manifest.config.image_shape)
        if x.shape != expected:
            raise ValueError(f"an input of shape {x.shape}, expected {expected}")
        if not np.isfinite(x).all():
            raise ValueError("the input holds values that are not finite")
        batch = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))[None].to(self._device)
        with torch.inference_mode():
            return cast("Encoded", self._model(batch))


def _vector_and_odds(encoded: Encoded) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    unit = torch.nn.functional.normalize(encoded.embedding.float(), dim=1)[0]
    odds = encoded.logits.float().softmax(1)[0]
    return unit.cpu().numpy(), odds.cpu().numpy()

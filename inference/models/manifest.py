"""manifest.json beside an encoder's weights: what they are, and what they may be used with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION

MANIFEST_FILE = "manifest.json"
WEIGHTS_FILE = "weights.safetensors"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class EncoderManifest:
    """name: of the encoder, for reports. weights_sha256: of weights.safetensors. preprocessing_version: of the arrays
    it was trained on. training_command and created (ISO date): where it comes from.

    Weights made before these were recorded lack the rest. recipe: name of the run's configuration, one of
    inference/training/configs or a file's own; recipe_sha256: of what decides the result in it; started_from_sha256:
    of the weights that training began with. classifies: whether the head has been trained; a masked autoencoder's
    encoder is there to be fine-tuned, and its head says nothing."""

    name: str
    weights_sha256: str
    preprocessing_version: str
    config: ViTConfig
    training_command: str
    created: str
    recipe: str = ""
    recipe_sha256: str = ""
    started_from_sha256: str = ""
    classifies: bool = True

    def write(self, directory: Path) -> None:
        """Write manifest.json; the file appears whole or not at all."""
        part = directory / f"{MANIFEST_FILE}.part"
        part.write_text(json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=2) + "\n", encoding="utf-8")
        part.replace(directory / MANIFEST_FILE)

    @classmethod
    def read(cls, directory: Path) -> EncoderManifest:
        """Read manifest.json and check it against the weights beside it and against this program's preprocessing.

        Raises ModelMismatch: `encoder_missing`, `encoder_manifest` (unreadable), `weights_digest`,
        `preprocessing_version`.
        """
        for name in (MANIFEST_FILE, WEIGHTS_FILE):
            if not (directory / name).is_file():
                raise ModelMismatch("encoder_missing", f"no {name} in the encoder's directory {directory}")
        manifest = cls._parse((directory / MANIFEST_FILE).read_text(encoding="utf-8"))
        digest = sha256_of(directory / WEIGHTS_FILE)
        if digest != manifest.weights_sha256:
            raise ModelMismatch(
                "weights_digest",
                f"{WEIGHTS_FILE} has sha256 {digest[:12]}, its manifest says {manifest.weights_sha256[:12]}",
                "copy weights and manifest again from the same source",
            )
        if manifest.preprocessing_version != PREPROCESSING_VERSION:
            raise ModelMismatch(
                "preprocessing_version",
                f"encoder {manifest.name} was trained on preprocessing {manifest.preprocessing_version}, "
                f"this program has {PREPROCESSING_VERSION}",
                "use the encoder that came with this version, or train one",
            )
        return manifest

    @classmethod
    def _parse(cls, text: str) -> EncoderManifest:
        try:
            raw: dict[str, Any] = json.loads(text)
            schema = raw.pop("schema")
            if schema != _SCHEMA:
                raise ModelMismatch("encoder_manifest", f"the encoder's manifest has schema {schema}, not {_SCHEMA}")
            config = raw.pop("config")
            for name in ("image_shape", "patch_shape"):
                config[name] = tuple(config[name])
            return cls(config=ViTConfig(**config), **raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelMismatch("encoder_manifest", f"the encoder's manifest can not be read: {error}") from error

"""From a tuned model to the directory that LocalModel and vLLM load."""

from __future__ import annotations

import datetime
import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.report.constrained import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from pirtad.inference.report.local_model import ADAPTER_MANIFEST, system_sha256
from pirtad.inference.training.lora.base import Base
from pirtad.inference.training.lora.configuration import TuneConfig

_SCHEMA = 1


def export(
    weights: Mapping[str, torch.Tensor],
    adapter_config: Mapping[str, Any],
    base: Base,
    config: TuneConfig,
    origin: Mapping[str, object],
) -> dict[str, Any]:
    """Write adapter_config.json, adapter_model.safetensors (PEFT's names) and manifest.json to `config.out`, and return
    the manifest. It comes last and names the others' digests, so a directory that was half replaced is refused.

    origin: what else the manifest says of where the adapter comes from.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    described = {name: _plain(value) for name, value in adapter_config.items()}
    # PEFT writes the base's path here, which is this machine's.
    described["base_model_name_or_path"] = base.name
    _write(config.out / ADAPTER_CONFIG, json.dumps(described, indent=2, sort_keys=True).encode())
    _write(config.out / ADAPTER_WEIGHTS, save({name: value.cpu().contiguous() for name, value in weights.items()}))
    manifest = {
        "schema": _SCHEMA,
        "name": config.name,
        "base": {"name": base.name, "sha256": base.sha256},
        "files": {name: sha256_of(config.out / name) for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS)},
        "system_sha256": system_sha256(),
        "recipe": config.recipe,
        **origin,
        "command": without_folders(config.command),
        "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    _write(config.out / ADAPTER_MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return manifest


def without_folders(command: str) -> str:
    """A command line with the last part of each absolute path alone: a manifest does not say whose machine it was."""
    parts = []
    for part in shlex.split(command):
        option, equals, value = part.rpartition("=")
        parts.append(option + equals + (Path(value).name if Path(value).is_absolute() else value))
    return shlex.join(parts)


def _plain(value: object) -> object:
    """What JSON can say: PEFT has sets and enumerations of strings."""
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(str(one) for one in value)
    return str(value.value) if hasattr(value, "value") else value


def _write(path: Path, content: bytes) -> None:
    """The file appears whole or not at all, and survives a power loss."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    part.replace(path)

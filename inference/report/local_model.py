"""The bundled language model, in this process and without network: SmolLM2-135M-Instruct, float32, greedy."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.report.gguf_cache import bundled_gguf, converted, file_sha256
from pirtad.inference.report.language_model import JsonSchema, Message

if TYPE_CHECKING:
    from pirtad.inference.report.constrained import ConstrainedDecoder


class LocalModel:
    """A `LanguageModel` that loads on first use. Threads take turns: the model uses every core there is."""

    def __init__(self, cache_dir: Path, gguf: Path | None = None) -> None:
        """cache_dir: where the converted model is kept. gguf: another model's file instead of the bundled one.

        Raises ModelMismatch when there is no bundled model.
        """
        self._cache_dir = cache_dir
        self._gguf = gguf or bundled_gguf()
        self._load_lock = threading.Lock()
        self._turn = threading.Lock()
        self._digest = ""
        self._decoder: ConstrainedDecoder | None = None

    @property
    def name(self) -> str:
        """The GGUF file's name without its ending."""
        return self._gguf.stem

    @property
    def digest(self) -> str:
        """sha256 hex of the GGUF file."""
        with self._load_lock:
            return self._digest_locked()

    def load(self) -> ConstrainedDecoder:
        """Convert (the first time on this machine) and load (the first time in this process)."""
        with self._load_lock:
            if self._decoder is None:
                # Imported here: transformers takes seconds, and a worker with an endpoint never needs it.
                from pirtad.inference.report.constrained import ConstrainedDecoder  # noqa: PLC0415

                directory = converted(self._gguf, self._digest_locked(), self._cache_dir)
                self._decoder = ConstrainedDecoder.load(directory)
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

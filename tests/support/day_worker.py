"""The light worker: `python -m support.day_worker DIR`.

It is pirtad's with tiny untrained models (by its settings) and no language model: the one seam, put in here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pirtad.worker.engine
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.language_model import JsonSchema, Message
from pirtad.worker.contract import Stage
from pirtad.worker.main import run_worker
from pirtad.worker.settings import Settings, load_settings


class _Forgetful(FakeLanguageModel):
    """Keeps no request: its list would look like a leak."""

    def complete(self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, timeout_s: float) -> str:
        """See `LanguageModel.complete`."""
        answer = super().complete(messages, json_schema, max_tokens, timeout_s)
        self.requests.clear()
        return answer


def _no_language_model(_settings: Settings) -> FakeLanguageModel:
    return _Forgetful()


def main(directory: Path) -> int:
    """Run until ended; the exit code."""
    pirtad.worker.engine.language_model = _no_language_model  # type: ignore[assignment]
    return run_worker(load_settings(directory / "pirtad.toml"), tuple(Stage), 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""How a run tells where it is: metrics.jsonl, TensorBoard, and a bar on a terminal or lines elsewhere."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

METRICS_FILE = "metrics.jsonl"


class Progress:
    """A context in which a run reports. What an interrupted run wrote after its checkpoint is dropped."""

    def __init__(self, run: Path, total_steps: int, done: int, tensorboard: bool) -> None:
        self._total, self._first, self._started = total_steps, done, time.monotonic()
        self._path = run / METRICS_FILE
        _keep_until(self._path, done)
        self._writer = _writer(run / "tensorboard", done) if tensorboard else None
        self._bar: Bar | None = None
        if sys.stdout.isatty():
            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(TextColumn("{task.description}"), *columns)
            self._task = self._bar.add_task("step", total=total_steps, completed=done)
        elif done:
            print(f"going on after step {done}", flush=True)

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def advance(self, done: int) -> None:
        """So many steps are done."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done)

    def report(self, record: Mapping[str, float]) -> None:
        """Metrics after `record["step"]` steps."""
        done = int(record["step"])
        with self._path.open("a", encoding="utf-8") as out:
            out.write(json.dumps(dict(record)) + "\n")
        if self._writer is not None:
            for name, value in record.items():
                if name != "step":
                    self._writer.add_scalar(name, value, done)
        shown = ", ".join(f"{name} {value}" for name, value in record.items())
        if self._bar is not None:
            self._bar.console.print(shown, highlight=False, markup=False)
        else:
            left_s = (time.monotonic() - self._started) / max(1, done - self._first) * (self._total - done)
            print(f"{shown}, {left_s / 60:.1f} min left", flush=True)


def _keep_until(path: Path, done: int) -> None:
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= done]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _writer(directory: Path, done: int) -> Any:  # noqa: ANN401 - the package has no types
    """TensorBoard's writer, None where the package is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an optional package

    return SummaryWriter(str(directory), purge_step=done)

"""pirtad as it is installed (`pirtad listen`, two `pirtad worker`), the embedded queue, and a PACS.

Unlike the campaign's, these processes are started by themselves: none shares memory with another, and none that dies
is started again.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import redis

from pirtad.daemon import embedded_redis
from pirtad.inference.models.vit import ViTConfig
from support.brain_files import write_dicom
from support.campaign_setup import TINY_MODELS
from support.day_images import write_light_template
from support.day_pacs import AE_TITLE
from support.day_senders import STAT_AE
from support.live import MODEL_CACHE, answers, free_port
from support.untrained import tiny_models

QUIET_S = 4.0
WORKERS = 2
_CONFIG = """
[listener]
port = {listener_port}
[assembly]
quiet_period_s = {quiet_s}
[priority]
stat_calling_ae_titles = ["{stat_ae}"]
[storage]
data_dir = "{directory}/data"
min_free_bytes = 0
{models}
[pacs]
ae_title = "{pacs_ae}"
port = {pacs_port}
commitment = "off"
[log]
format = "json"
"""
_SHIPPED_MODELS = """
[inference]
threads = 1
[language_model]
cache_dir = "{cache}"
"""
_STOP_S = 30.0


class DayStack:
    """The processes of one part of a day, on a fresh directory. `support.campaign_check.Checker` looks at it too."""

    def __init__(self, directory: Path, *, is_full: bool) -> None:
        self.directory = directory.absolute()
        self.data_dir = self.directory / "data"
        self.data_dir.mkdir(parents=True)
        self._is_full = is_full
        self.listener_port, self._pacs_port = free_port(), free_port()
        (directory / "pacs.port").write_text(str(self._pacs_port), encoding="ascii")
        if is_full:
            write_dicom(directory / "template")
            models = _SHIPPED_MODELS.format(cache=MODEL_CACHE)
        else:
            tiny_models(directory / "models", ViTConfig(width=24, depth=2, mlp_width=48, cell_width=4))
            write_light_template(directory / "template")
            models = TINY_MODELS.format(directory=self.directory)
        config = _CONFIG.format(
            directory=self.directory, pacs_ae=AE_TITLE, models=models, listener_port=self.listener_port,
            pacs_port=self._pacs_port, quiet_s=QUIET_S, stat_ae=STAT_AE,
        )  # fmt: skip
        (directory / "pirtad.toml").write_text(config, encoding="utf-8")
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._ledger: sqlite3.Connection | None = None
        self._redis: redis.Redis | None = None

    def start(self, timeout_s: float = 300.0) -> None:
        """Start all and wait until studies would be received and worked on; TimeoutError otherwise."""
        pirtad = [sys.executable, "-m", "pirtad.daemon.cli", "--config", str(self.directory / "pirtad.toml")]
        light_worker = [sys.executable, "-m", "support.day_worker", str(self.directory)]
        self._start("queue", list(embedded_redis.command_line(self.data_dir)))
        self._start("PACS", [sys.executable, "-m", "support.day_pacs", str(self.directory)])
        self._start("listener", [*pirtad, "listen"])
        _wait(lambda: answers(self.listener_port) and answers(self._pacs_port), timeout_s, "the listener and the PACS")
        for number in range(1, WORKERS + 1):
            self._start(f"worker {number}", [*pirtad, "worker", "--processes", "1"] if self._is_full else light_worker)
        logs = [self._log(f"worker {number}") for number in range(1, WORKERS + 1)]
        _wait(lambda: all(b"models loaded" in log.read_bytes() for log in logs), timeout_s, "the models")

    def processes(self) -> dict[str, int]:
        """Process ids by name, without the PACS, which is the test's; a worker's pool process as "worker N pool"."""
        found: dict[str, int] = {}
        for name, process in self._started.items():
            if name == "PACS":
                continue
            found[name] = process.pid
            if name.startswith("worker"):
                for number, pid in enumerate(_children(process.pid)):
                    found[f"{name} pool" + (f" {number}" if number else "")] = pid
        return found

    def dead(self) -> list[str]:
        """Names of processes that ended by themselves."""
        return [name for name, process in self._started.items() if process.poll() is not None]

    def ledger(self) -> sqlite3.Connection:
        """To read from."""
        if self._ledger is None:
            path = self.data_dir / "ledger.sqlite"
            self._ledger = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)
        return self._ledger

    def queue(self) -> redis.Redis:
        """The queue's server."""
        if self._redis is None:
            self._redis = redis.Redis(unix_socket_path=str(self.data_dir / "redis.sock"))
        return self._redis

    def unfinished(self) -> int:
        """Studies being received, and jobs that are not at their end."""
        query = (
            "SELECT (SELECT count(*) FROM studies WHERE open_since IS NOT NULL) + "
            "(SELECT count(*) FROM jobs WHERE state IN ('queued', 'running', 'waiting'))"
        )
        return int(self.ledger().execute(query).fetchone()[0])

    def close(self) -> None:
        """End all, workers first."""
        for connection in (self._ledger, self._redis):
            if connection is not None:
                connection.close()
        for process in reversed(self._started.values()):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, name: str, command: list[str]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        with self._log(name).open("ab") as log:
            self._started[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def _log(self, name: str) -> Path:
        return self.directory / f"{name.replace(' ', '-')}.log"


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except OSError:
        return []


def _wait(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s for {what}")
        time.sleep(0.1)

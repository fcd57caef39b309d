"""pirtad, a PACS and senders on a fresh data directory, on loopback: started, killed, and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis

from pirtad.daemon import embedded_redis
from pirtad.inference.models.vit import ViTConfig
from support.brain_files import write_dicom
from support.campaign_control import Control, PacsMode, Slot
from support.campaign_nursery import Nursery
from support.campaign_roles import PACS_AE
from support.campaign_studies import write_template
from support.live import MODEL_CACHE, free_port
from support.untrained import tiny_models

_CONFIG = """
[listener]
port = {listener_port}
[assembly]
quiet_period_s = 1
early_start = false
[storage]
data_dir = "{directory}/data"
min_free_bytes = 0
[queue]
lease_s = 6
max_attempts = 50
backoff_base_s = 0.2
backoff_cap_s = 1
{models}
[pacs]
ae_title = "{pacs_ae}"
port = {pacs_port}
timeout_s = 5
commitment = "off"
picture = false
[log]
format = "json"
"""
_TINY_MODELS = """
[inference]
weights_dir = "{directory}/models"
case_base_dir = "{directory}/models/case_base"
threads = 1
"""
_SHIPPED_MODELS = """
[language_model]
cache_dir = "{cache}"
"""
_RETIRE_S = 60.0
_ENOUGH_UNFINISHED = 6  # chosen: there is always something to hit, and a count is soon reached


@dataclass
class Working:
    """What is under way at a moment. running: (stage, process id of its owner). waiting: jobs between two stages."""

    receiving: bool
    assembling: int
    running: list[tuple[str, int]] = field(default_factory=list)
    waiting: int = 0


class Stack:
    """Everything of one campaign. `tend` starts what is dead, as a supervisor does.

    is_full: with the shipped models, the bundled language model and studies of a usual size.
    """

    def __init__(self, directory: Path, workers: int = 2, senders: int = 2, *, is_full: bool = False) -> None:
        self.directory = directory
        self.patience = 30.0 if is_full else 1.0  # times as slow
        self.data_dir = directory / "data"
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / "pirtad.toml").exists():
            ports = {"listener_port": free_port(), "pacs_port": free_port()}
            (directory / "listener.port").write_text(str(ports["listener_port"]), encoding="ascii")
            (directory / "pacs.port").write_text(str(ports["pacs_port"]), encoding="ascii")
            if is_full:
                (directory / "full").touch()
                write_dicom(directory / "template")
                models = _SHIPPED_MODELS.format(cache=MODEL_CACHE)
            else:
                tiny_models(directory / "models", ViTConfig(width=24, depth=2, mlp_width=48, cell_width=4))
                write_template(directory / "template")
                models = _TINY_MODELS.format(directory=directory.absolute())
            config = _CONFIG.format(directory=directory.absolute(), pacs_ae=PACS_AE, models=models, **ports)
            (directory / "pirtad.toml").write_text(config, encoding="utf-8")
        self.control = Control(directory / "control")
        self.roles = [
            ("pacs", 0),
            ("listener", 0),
            *(("worker", number) for number in range(workers)),
            *(("sender", number) for number in range(senders)),
        ]
        self._senders = senders
        self.pids: dict[tuple[str, int], int] = {}
        self._redis: subprocess.Popen[bytes] | None = None
        self.is_redis_wanted = True
        self._is_ending = False
        self._nursery = Nursery(directory)
        self._ledger: sqlite3.Connection | None = None

    def tend(self) -> None:
        """Start what should run and does not."""
        if self.is_redis_wanted and (self._redis is None or self._redis.poll() is not None):
            self.data_dir.mkdir(exist_ok=True)
            with (self.directory / "redis.log").open("ab") as log:
                self._redis = subprocess.Popen(embedded_redis.command_line(self.data_dir), stdout=log, stderr=log)
        for role in self.roles:
            if role not in self.pids or not is_alive(self.pids[role]):
                self.pids[role] = self._nursery.start(*role)

    def kill(self, role: str, number: int = 0) -> None:
        """SIGKILL to the process and all its children."""
        pid = self.pids[role, number]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def kill_redis(self) -> None:
        """SIGKILL."""
        if self._redis is not None:
            self._redis.kill()
            self._redis.wait()

    def wipe_redis(self) -> None:
        """Lose all that it holds; it may be down just now."""
        client = redis.Redis(unix_socket_path=str(self.data_dir / "redis.sock"), socket_timeout=1)
        with contextlib.suppress(redis.RedisError):
            client.flushall()
        client.close()

    def ledger(self) -> sqlite3.Connection:
        """To read from."""
        if self._ledger is None:
            path = self.data_dir / "ledger.sqlite"
            self._ledger = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10, isolation_level=None)
        return self._ledger

    def working(self) -> Working:
        """What is under way."""
        receiving = any(self.control.get(Slot.BUSY_FIRST + number) for number in range(self._senders))
        ledger = self.ledger()
        assembling = ledger.execute("SELECT count(*) FROM studies WHERE open_since IS NOT NULL").fetchone()[0]
        seen = Working(receiving, assembling)
        for state, stage, owner in ledger.execute(
            "SELECT state, stage, owner FROM jobs WHERE state IN ('queued', 'running', 'waiting')"
        ):
            if state == "running":
                seen.running.append((stage, int(owner.split(":")[-2])))
            else:
                seen.waiting += 1
        if not self._is_ending:
            self.control.set(Slot.PAUSED, seen.waiting + len(seen.running) + assembling >= _ENOUGH_UNFINISHED)
        return seen

    def resume(self) -> None:
        """Let senders send, as long as there is not too much to do."""
        self._is_ending = False
        self.control.set(Slot.PACS_MODE, PacsMode.SOUND)

    def wait_until_up(self, timeout_s: float) -> bool:
        """Whether the ledger is there in time, which the listener makes last."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.tend()
            try:
                self.working()
            except sqlite3.Error:
                self._ledger = None
                time.sleep(0.05)
            else:
                return True
        return False

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Let all that was begun end, with no new study and nothing wrong; whether it did in time."""
        self._is_ending = True
        self.control.set(Slot.PAUSED, 1)
        self.control.set(Slot.PACS_MODE, PacsMode.SOUND)
        self.is_redis_wanted = True
        deadline = time.monotonic() + timeout_s
        quiet_since: float | None = None
        while time.monotonic() < deadline:
            self.tend()
            seen = self.working()
            if seen.receiving or seen.assembling or seen.running or seen.waiting:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > 0.3:
                return True
            time.sleep(0.03)
        return False

    def close(self) -> None:
        """End all."""
        if self._ledger is not None:
            self._ledger.close()
        self._nursery.close()
        self.kill_redis()
        for pid in self.pids.values():
            deadline = time.monotonic() + _RETIRE_S
            while is_alive(pid) and time.monotonic() < deadline:
                time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no mere zombie of it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"

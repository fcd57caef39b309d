"""pirtad under its supervisor, a PACS and senders on a fresh data directory, on loopback: killed, and started again."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from support.campaign_control import Control, PacsMode, Slot
from support.campaign_nursery import Nursery

WORKERS = 2
_SENDERS = 2
_START_S = 120.0
_RETIRE_S = 60.0
_ENOUGH_UNFINISHED = 6  # chosen: there is always something to hit, and a count is soon reached
_MORE = 4
_PAUSED_S = 0.02


@dataclass
class Working:
    """What is under way at a moment.

    receiving: a sender has a study to bring, and sending: an association with the listener that runs now.
    running: (stage, process id of its owner). waiting: jobs between two stages.
    """

    receiving: bool
    sending: bool
    assembling: int
    running: list[tuple[str, int]] = field(default_factory=list)
    waiting: int = 0


class Stack:
    """Everything of one campaign. `tend` starts what is dead of what is not the supervisor's.

    is_full: with the shipped models, the bundled language model and studies of a usual size.
    told: what was seen that must not be; emptied by whoever counts it.
    """

    def __init__(self, directory: Path, *, is_full: bool = False) -> None:
        self.directory = directory
        self.patience = 30.0 if is_full else 1.0  # times as slow
        self.data_dir = directory / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if is_full:
            (directory / "full").touch()
        self.control = Control(directory / "control")
        self.told: list[str] = []
        self.pids: dict[tuple[str, int], int] = {}
        self._is_ending = False
        self._enough, self._unfinished = _ENOUGH_UNFINISHED, 0
        self._ledger: sqlite3.Connection | None = None
        self._nursery = Nursery(directory)

    def tend(self) -> None:
        """Start what should run and does not."""
        for role in (("pacs", 0), ("supervisor", 0), *(("sender", number) for number in range(_SENDERS))):
            if role not in self.pids or not is_alive(self.pids[role]):
                self.pids[role] = self._nursery.start(*role)

    def pid(self, role: str, number: int = 0) -> int:
        """Of a process, the supervisor's among them; 0 if it never started."""
        slot = {"queue": Slot.QUEUE_PID, "listener": Slot.LISTENER_PID, "worker": Slot.WORKER_PID_FIRST + number}
        return int(self.control.get(slot[role])) if role in slot else self.pids.get((role, number), 0)

    def supervised(self) -> list[int]:
        """Process ids of what the supervisor started; each leads a group."""
        roles = [("queue", 0), ("listener", 0), *(("worker", number) for number in range(WORKERS))]
        return [pid for role in roles if (pid := self.pid(*role))]

    def kill(self, role: str, number: int = 0) -> None:
        """SIGKILL to the process and all its children that share its group; returns once it is dead."""
        pid = self.pid(role, number)
        while pid and is_alive(pid):
            with contextlib.suppress(ProcessLookupError):  # it was born a moment ago and leads no group yet
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.001)

    @contextmanager
    def no_redis(self) -> Iterator[None]:
        """The server is killed, and not started within the block."""
        self.control.set(Slot.REDIS_AWAY, 1)
        self.kill("queue")
        yield
        self.control.set(Slot.REDIS_AWAY, 0)

    @contextmanager
    def more_arriving(self) -> Iterator[None]:
        """Senders go on within the block for some studies, however much there is to do already."""
        self._enough = max(_ENOUGH_UNFINISHED, self._unfinished + _MORE)
        yield
        self._enough = _ENOUGH_UNFINISHED

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
        receiving = any(self.control.get(Slot.BUSY_FIRST + number) for number in range(_SENDERS))
        listener = self.pid("listener")
        sending = any(self.control.get(Slot.SENDING_FIRST + number) == listener for number in range(_SENDERS))
        ledger = self.ledger()
        assembling = ledger.execute("SELECT count(*) FROM studies WHERE open_since IS NOT NULL").fetchone()[0]
        seen = Working(receiving, sending, assembling)
        for state, stage, owner in ledger.execute(
            "SELECT state, stage, owner FROM jobs WHERE state IN ('queued', 'running', 'waiting')"
        ):
            if state == "running":
                seen.running.append((stage, int(owner.split(":")[-2])))
            else:
                seen.waiting += 1
        if not self._is_ending:
            self._unfinished = seen.waiting + len(seen.running) + assembling
            self.control.set(Slot.PAUSED, self._unfinished >= self._enough)
        return seen

    def ended(self) -> list[str]:
        """Studies that are reported or shelved at this moment."""
        states = "('reported', 'set_aside', 'failed')"
        return [uid for (uid,) in self.ledger().execute(f"SELECT study_uid FROM studies WHERE state IN {states}")]

    def resume(self) -> None:
        """Let senders send, as long as there is not too much to do."""
        self._is_ending = False
        self.control.set(Slot.PACS_MODE, PacsMode.SOUND)

    def begin(self) -> None:
        """Start all on a directory that is new; TimeoutError if it is not up in time."""
        deadline = time.monotonic() + _START_S
        config = self.directory / "pirtad.toml"
        if not config.exists():
            maker = self._nursery.start("setup")
            while is_alive(maker):
                time.sleep(0.01)
        if not config.exists():
            raise RuntimeError("no configuration was made; see setup.log")
        while time.monotonic() < deadline:
            self.tend()
            try:
                self.working()
            except sqlite3.Error:  # the listener makes the ledger
                self._ledger = None
                time.sleep(0.05)
            else:
                return
        raise TimeoutError("the stack did not start; see its logs")

    def wait_until_quiet(self, timeout_s: float) -> bool:
        """Let all that was begun end, with no new study and nothing wrong; whether it did in time."""
        self._is_ending = True
        self.control.set(Slot.PAUSED, 1)
        self.control.set(Slot.PACS_MODE, PacsMode.SOUND)
        self.control.set(Slot.REDIS_AWAY, 0)
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
            time.sleep(_PAUSED_S)
        return False

    def close(self) -> None:
        """End all."""
        if self._ledger is not None:
            self._ledger.close()
        self._nursery.close()
        for pid in (*self.pids.values(), *self.supervised()):
            deadline = time.monotonic() + _RETIRE_S
            while is_alive(pid) and time.monotonic() < deadline:
                time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and no mere zombie of it."""
    return _group_of_living(pid) is not None


def living_groups(leaders: list[int]) -> set[int]:
    """Those of these process groups of which a process lives."""
    found = (_group_of_living(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit())
    return {group for group in found if group in leaders}


def _group_of_living(pid: int) -> int | None:
    """The process group of one that lives."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    state, _, group = stat.rpartition(")")[2].split()[:3]
    return None if state in "ZX" else int(group)

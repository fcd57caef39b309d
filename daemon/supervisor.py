"""Runs pirtad's processes on one machine: starts them in order, restarts what dies, stops them in reverse order.

`Restarts` is the pure part: when a child that died is due again. `Supervisor` is the edge: processes, signals, clock.
It has one thread; its children are tied to it (see `orphans`) and each has a process group of its own, so that a
Ctrl-C on the terminal reaches the supervisor alone and the order of stopping holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FrameType

from pirtad.daemon.orphans import tied

BACKOFF_BASE_S = 1.0  # chosen; see ADR 8
BACKOFF_CAP_S = 30.0
HEALTHY_AFTER_S = 60.0  # one that lived so long starts again without the history of its failures
_TICK_S = 0.2
_STDERR = 2  # children log; standard output is for what a program may read


# Chosen: a server that is sound answers in less; one that is not must not keep images from being received.
OTHERS_WAIT_S = 15.0


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running.

    stop_grace_s: from SIGTERM to SIGKILL. answers: whether it is up; asked until the first yes.
    others_wait: groups after this child's start once it answers, or after OTHERS_WAIT_S; without it they don't wait.
    """

    name: str
    argv: tuple[str, ...]
    stop_grace_s: float = 15.0
    answers: Callable[[], bool] = lambda: True
    others_wait: bool = False


@dataclass(slots=True)
class Restarts:
    """When a child is started again: after 1, 2, 4 ... 30 s, and after 1 s again once it had lived for a minute."""

    failures: int = 0
    due_at: float = 0.0

    def died(self, started_at: float, now: float) -> float:
        """Note a death and return the wait in seconds."""
        if now - started_at >= HEALTHY_AFTER_S:
            self.failures = 0
        wait_s = min(BACKOFF_BASE_S * 2.0**self.failures, BACKOFF_CAP_S)
        self.failures += 1
        self.due_at = now + wait_s
        return wait_s


@dataclass(slots=True)
class _Slot:
    child: Child
    restarts: Restarts = field(default_factory=Restarts)
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0


class Supervisor:
    """Keeps groups of children running until `stop` or a signal.

    Groups are started in the order given and stopped in reverse order, the next one once all of a group have ended.
    `say` is told what an operator wants to read; `on_ready` is called once, when every child has answered.
    """

    def __init__(
        self, groups: Iterable[Iterable[Child]], say: Callable[[str], None], on_ready: Callable[[], None]
    ) -> None:
        self._groups = [[_Slot(child) for child in group] for group in groups]
        self._say = say
        self._on_ready = on_ready
        self._signals = 0

    def run(self) -> None:
        """Start everything and supervise until SIGTERM, SIGINT or SIGHUP; return when every child has ended."""
        previous = {number: signal.signal(number, self._signalled) for number in _STOP_SIGNALS}
        try:
            self._start_and_watch()
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def stop(self) -> None:
        """Ask `run` to return; a second call cuts the waiting short."""
        self._signals += 1

    def pids(self) -> dict[str, int]:
        """Process ids of the children that run at this moment, by name."""
        slots = (slot for group in self._groups for slot in group)
        return {slot.child.name: slot.process.pid for slot in slots if slot.process is not None}

    def _signalled(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()

    def _start_and_watch(self) -> None:
        begun: list[_Slot] = []
        for group in self._groups:
            begun += group
            awaited = [slot for slot in group if slot.child.others_wait]
            patience_ends_at = time.monotonic() + OTHERS_WAIT_S
            while not self._signals:
                self._tend(begun)
                if all(slot.child.answers() for slot in awaited) or time.monotonic() > patience_ends_at:
                    break
                time.sleep(_TICK_S)
        silent = list(begun)
        while not self._signals:
            self._tend(begun)
            if silent:
                silent = [slot for slot in silent if slot.process is None or not slot.child.answers()]
                if not silent:
                    self._on_ready()
            time.sleep(_TICK_S)

    def _tend(self, slots: list[_Slot]) -> None:
        """Bury the dead and start what is due."""
        now = time.monotonic()
        for slot in slots:
            if slot.process is not None and (status := slot.process.poll()) is not None:
                slot.process = None
                wait_s = slot.restarts.died(slot.started_at, now)
                self._say(f"{slot.child.name} ended {_how(status)}; starting it again in {wait_s:.0f} s")
            if slot.process is None and slot.restarts.due_at <= now:
                try:
                    slot.process = _start(slot.child)
                except OSError as error:  # no room for another process now: the others go on
                    wait_s = slot.restarts.died(now, now)
                    self._say(f"{slot.child.name} can't be started ({error.strerror}); trying again in {wait_s:.0f} s")
                slot.started_at = now

    def _stop_all(self) -> None:
        for group in reversed(self._groups):
            running = [(slot, slot.process) for slot in group if slot.process is not None]
            for _, process in running:
                _signal_group(process, signal.SIGTERM)
            asked_at = time.monotonic()
            for slot, process in running:
                if not self._wait(process, asked_at + slot.child.stop_grace_s):
                    self._say(f"{slot.child.name} does not stop; killing it")
                    _signal_group(process, signal.SIGKILL)
                    process.wait()
                slot.process = None

    def _wait(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """Whether it ends in time; a second signal ends the patience."""
        while process.poll() is None:
            if time.monotonic() > deadline or self._signals > 1:
                return False
            time.sleep(_TICK_S / 4)
        return True


_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def _start(child: Child) -> subprocess.Popen[bytes]:
    return subprocess.Popen(tied(child.argv), stdin=subprocess.DEVNULL, stdout=_STDERR, start_new_session=True)


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # SIGTERM goes to the child alone, which ends its own children in its own order; SIGKILL to all of them.
    if number is not signal.SIGKILL:
        process.send_signal(number)
        return
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _how(status: int) -> str:
    return f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"

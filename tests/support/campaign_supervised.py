"""`pirtad up` of a campaign: the supervisor itself, unchanged but that its children are forked from it, warm.

Run for real it starts each child with `orphans.tied` and exec, which takes the seconds of an import; that those die
with it is tried in `tests/daemon/test_cli_up.py`. Waits between restarts are cut to 20 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pirtad.daemon.supervisor
from pirtad.daemon import embedded_redis
from pirtad.daemon.cli import up
from pirtad.daemon.supervisor import Child
from pirtad.worker.settings import load_settings
from support.campaign_control import Control, Slot
from support.campaign_nursery import born
from support.campaign_setup import CONFIG

WORKERS = 2
_RESTART_S, _TICK_S = 0.02, 0.02


class _Forked:
    """What the supervisor asks of a process, for one that was forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its exit status, once it has ended."""
        if self._status is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = os.waitstatus_to_exitcode(status) if ended else None
        return self._status

    def wait(self) -> int:
        """The same, awaited."""
        while (status := self.poll()) is None:
            time.sleep(_TICK_S)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        """To it alone."""
        os.kill(self.pid, number)


def supervisor(directory: Path, control: Control, _number: int) -> int:
    """`pirtad up`, without the page."""
    settings = load_settings(directory / CONFIG)
    data_dir = settings.storage.data_dir

    def groups(_settings: object, _config: object) -> list[list[Child]]:
        return [
            [Child("queue", ("queue", "0", str(int(Slot.QUEUE_PID))),
                   answers=lambda: embedded_redis.answers(data_dir), others_wait=True)],
            [Child(f"worker {number}", ("worker", str(number), str(Slot.WORKER_PID_FIRST + number)))
             for number in range(WORKERS)],
            [Child("listener", ("listener", "0", str(int(Slot.LISTENER_PID))))],
        ]  # fmt: skip

    def start(child: Child) -> subprocess.Popen[bytes]:
        role, number, slot = child.argv
        forked = _Forked(born(directory, role, int(number)))
        control.set(int(slot), forked.pid)
        return cast("subprocess.Popen[bytes]", forked)

    module = pirtad.daemon.supervisor
    module.BACKOFF_BASE_S = module.BACKOFF_CAP_S = _RESTART_S
    module._TICK_S = _TICK_S
    module._start = cast("Callable[[Child], subprocess.Popen[bytes]]", start)
    up.children = groups
    return up.run_everything(settings, None)


def queue(directory: Path, control: Control, _number: int) -> int:
    """The embedded server, once it may be there."""
    while control.get(Slot.REDIS_AWAY):
        time.sleep(0.01)
    command = embedded_redis.command_line(load_settings(directory / CONFIG).storage.data_dir)
    os.execv(command[0], command)

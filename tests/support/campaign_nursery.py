"""Starts the campaign's processes by forking one that has imported everything: some 10 ms instead of seconds.

It is single-threaded and has used nothing of what it imported, so that a child is what a fresh interpreter would be.
Commands come on standard input, a line each: `<role> [number]`; the answer is the child's process id.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import subprocess
import sys
import traceback
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_NO_MORE_FILES = 4096
_MODULES = (
    "alembic.command", "celery.app.trace", "celery.bin.worker", "celery.concurrency.prefork",
    "celery.worker.components", "faiss", "highdicom", "kombu.transport.redis", "monai", "pynetdicom",
    "pirtad.inference.engine", "pirtad.inference.lesion.measure", "pirtad.worker.look",
    "support.campaign_roles", "support.campaign_setup", "support.campaign_supervised",
)  # fmt: skip


class Nursery:
    """The conductor's side. It starts at once and answers when it has imported all."""

    def __init__(self, directory: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment["PYTHONPATH"] = str(Path(__file__).parents[1])
        with (directory / "nursery.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.campaign_nursery", str(directory)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, text=True,
            )  # fmt: skip
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            self.close()
            raise RuntimeError("the nursery did not start; see nursery.log")

    def start(self, role: str, number: int = 0) -> int:
        """A new process in this role, in a process group of its own; its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{role} {number}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and by that all its children."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def born(directory: Path, role: str, number: int) -> int:
    """Fork a child that plays the role to its end, in a session of its own; its process id.

    As after `pirtad.daemon.orphans.tied` and exec: tied to the process that forked it, with no file and no signal
    handler of it.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        tie_to(parent)
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.closerange(3, _NO_MORE_FILES)  # locks among them, which a child must not hold on
        log = os.open(directory / f"{role}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        roles = importlib.import_module("support.campaign_roles").ROLES
        control = importlib.import_module("support.campaign_control").Control(directory / "control")
        status = roles[role](directory, control, number)
    except SystemExit as ended:
        status = int(ended.code or 0)
    except Exception:  # noqa: BLE001 - the end of a process: told, as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def tie_to(parent: int) -> None:
    """Die with the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _serve(directory: Path) -> None:
    # Imported here and not in the conductor, once for every child.
    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a child's collector leaves these pages shared

    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([sys.stdin], [], [], 0.05)
        _reap()
        if not readable:
            continue
        words = sys.stdin.readline().split()
        if not words:
            return
        print(born(directory, words[0], int(words[1])), flush=True)


if __name__ == "__main__":
    tie_to(os.getppid())
    _serve(Path(sys.argv[1]))

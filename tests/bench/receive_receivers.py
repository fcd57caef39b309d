"""The receivers that are compared, each started on loopback in a fresh directory, and what each costs.

pirtad: its listener alone, nobody works on the studies, no queue's server. The same under libeatmydata (Debian's
eatmydata), which makes every sync a call that does nothing: what a mode without durability would give. DCMTK's storescp
(`+B`: bytes as they come; `--fork` for several senders). Debian's Orthanc. pynetdicom's storescp application.
dicom-ai-router from PyPI (bench/receive_router.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import receive_router
from support import live
from support.live import Orthanc, Stack

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Receiver:
    """A running receiver, and the directory everything it receives lies in."""

    port: int
    ae_title: str
    pid: int
    directory: Path


Start = Callable[[Path, dict[str, str], int], AbstractContextManager[Receiver]]


@dataclass(frozen=True)
class Kind:
    """A receiver, and how many images it is given: one that takes seconds for few is given few."""

    name: str
    start: Start
    tuned_share: float  # of all images, where TCP_NODELAY is set
    stock_per_sender: int | None = None  # where it is not; None: as many as with it
    is_ours: bool = False
    needs: Callable[[], str] = str  # why it can't be run here; "" if it can


PIRTAD, NOT_DURABLE, STORESCP, ORTHANC = "pirtad", "pirtad, not durable", "storescp +B", "Orthanc"
EATMYDATA = ("eatmydata",)


class _Wrapped(Stack):
    """pirtad as the argument of another program."""

    before: Sequence[str] = ()

    def command(self, *arguments: str) -> list[str]:
        return [*self.before, *super().command(*arguments)]


def pirtad(*before: str) -> Start:
    """Its listener as it is shipped; `before`: the program that runs it."""

    @contextmanager
    def start(directory: Path, environment: dict[str, str], senders: int) -> Iterator[Receiver]:
        stack = _Wrapped(directory, redis_port=live.free_port(), pacs_port=live.free_port())
        stack.before = before
        # As it is shipped: a second would close studies in the middle of a round.
        text = stack.config.read_text()
        stack.config.write_text(text.replace("quiet_period_s = 1\n", "quiet_period_s = 10\n"))
        with stack.listener() as child:
            is_synced = "libeatmydata" not in Path(f"/proc/{child.pid}/maps").read_text()
            if is_synced != (before != EATMYDATA):
                raise SystemExit("libeatmydata is where it must not be, or is not where it must be")
            yield Receiver(stack.listener_port, "PIRTAD", child.pid, directory)

    return start


@contextmanager
def _storescp(directory: Path, environment: dict[str, str], senders: int) -> Iterator[Receiver]:
    fork = ["--fork"] if senders > 1 else []
    command = [live.tool("storescp"), "+B", "-pdu", "131072", *fork, "-od", "."]
    with _program(command, directory, environment) as receiver:
        yield receiver


@contextmanager
def _pynetdicom(directory: Path, environment: dict[str, str], senders: int) -> Iterator[Receiver]:
    command = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "--max-pdu", "131072", "-od", "."]
    with _program(command, directory, environment) as receiver:
        yield receiver


@contextmanager
def _router(directory: Path, environment: dict[str, str], senders: int) -> Iterator[Receiver]:
    directory.mkdir()
    port = live.free_port()
    command, more = receive_router.prepare(directory, port)
    with live.process(command, directory / "log", env={**environment, **more}, cwd=directory) as child:
        live.wait_for(lambda: live.answers(port), 60, "dicom-ai-router")
        yield Receiver(port, receive_router.AE_TITLE, child.pid, directory)


@contextmanager
def _program(command: list[str], directory: Path, environment: dict[str, str]) -> Iterator[Receiver]:
    directory.mkdir()
    port = live.free_port()
    with live.process([*command, str(port)], directory / "log", env=environment, cwd=directory) as child:
        live.wait_for(lambda: live.answers(port), 60, command[0])
        yield Receiver(port, "ANY-SCP", child.pid, directory)


def orthanc(*before: str) -> Start:
    """Debian's Orthanc; `before`: the program that runs it."""

    @contextmanager
    def start(directory: Path, environment: dict[str, str], senders: int) -> Iterator[Receiver]:
        with Orthanc(directory, environment, before=before).running() as server:
            pid = min(pid for pid in _processes() if str(directory) in _read(pid, "cmdline"))
            yield Receiver(server.dicom_port, "ORTHANC", pid, directory)

    return start


def _no_eatmydata() -> str:
    return "" if shutil.which("eatmydata") else "eatmydata is not installed"


KINDS = (
    Kind(PIRTAD, pirtad(), 1.0, is_ours=True),
    Kind(NOT_DURABLE, pirtad(*EATMYDATA), 1.0, is_ours=True, needs=_no_eatmydata),
    Kind(STORESCP, _storescp, 1.0, 20),
    Kind(ORTHANC, orthanc(), 0.3, 20),
    Kind("pynetdicom storescp", _pynetdicom, 0.13),
    Kind("dicom-ai-router", _router, 0.07, needs=receive_router.missing),
)


def cpu_s(pid: int) -> float:
    """CPU seconds of a process and its descendants, also of those that ended (proc(5))."""
    fields = _read(pid, "stat").rpartition(")")[2].split()
    own = sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS_PER_S if fields else 0.0
    return own + sum(cpu_s(child) for child in _children(pid))


def peak_mib(pid: int) -> float:
    """Largest resident memory of a process and of its living descendants, added up."""
    found = [int(line.split()[1]) for line in _read(pid, "status").splitlines() if line.startswith("VmHWM")]
    return sum(found) / 1024 + sum(peak_mib(child) for child in _children(pid))


def end(pid: int) -> None:
    """Kill a receiver and its descendants: its directory is thrown away, and some take seconds to end in order."""
    for child in _children(pid):
        end(child)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    """Those not waited for: living, or ended and not asked after yet, as storescp leaves its own."""
    found = []
    for one in _processes():
        fields = _read(one, "stat").rpartition(")")[2].split()
        if fields and int(fields[1]) == pid:
            found.append(one)
    return found


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:  # it ended meanwhile
        return ""

"""Real servers for the live tests: each is started here, on loopback, and ended by its process handle."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import BasicTextSRStorage

from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database

ROOT = Path(__file__).resolve().parents[2]
MODEL_CACHE = ROOT / ".cache" / "models"
_CLONE_NEWNET = 0x40000000  # sched.h
_CLONE_NEWUSER = 0x10000000


def tool(name: str) -> str:
    """Absolute path of a system program; skipped without it on a laptop, failed without it in CI.

    pynetdicom installs scripts named like DCMTK's programs: the virtual environment is not searched.
    """
    search = os.pathsep.join(["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"])
    found = shutil.which(name, path=search)
    if found is None:
        missing(f"{name} is not installed")
    return found


def missing(what: str) -> Any:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and this is CI")
    pytest.skip(what)


def enter_private_network() -> None:
    """Put this process (its children, and threads that start later) into a network of its own with loopback alone.

    Debian's Orthanc binds every address; here there is none but 127.0.0.1.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWNET | _CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        missing(f"no private network namespace to be had ({os.strerror(ctypes.get_errno())})")
    subprocess.run([tool("ip"), "link", "set", "lo", "up"], check=True)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.1) -> Any:
    """Poll until the condition holds and return its value; fails by name after the timeout.

    Used where another process is awaited, never to let time pass.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every_s)
    pytest.fail(f"waited {timeout_s:.0f} s for {what}")


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def process(command: list[str], log: Path, **kwargs: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is ended with the block."""
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdout=out, stderr=out, **kwargs)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass(frozen=True)
class WrittenStudy:
    """A study on disk, and what was simulated."""

    study_uid: str
    directory: Path
    territory: str


class Orthanc:
    """A PACS: Debian's Orthanc in the private network."""

    def __init__(
        self,
        directory: Path,
        environment: dict[str, str] | None = None,
        extra: dict[str, Any] | None = None,
        before: Sequence[str] = (),  # the program that runs it
    ) -> None:
        self.directory = directory
        self._before = before
        self._extra = extra or {}
        self._environment = environment
        self.dicom_port = free_port()
        self.http_port = free_port()
        directory.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def running(self) -> Iterator[Orthanc]:
        """Start, wait until it answers, stop at the end; its storage stays for the next start."""
        config = self.directory / "orthanc.json"
        config.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(self.directory / "db"),
                    "IndexDirectory": str(self.directory / "db"),
                    "DicomAet": "ORTHANC",
                    "DicomPort": self.dicom_port,
                    "HttpPort": self.http_port,
                    "RemoteAccessAllowed": False,
                    "DicomServerEnabled": True,
                    "DicomAlwaysAllowStore": True,
                    "Plugins": [],
                    **self._extra,
                }
            )
        )
        with process(
            [*self._before, tool("Orthanc"), str(config)], self.directory / "orthanc.log", env=self._environment
        ):
            wait_for(lambda: answers(self.http_port) and answers(self.dicom_port), 30, "Orthanc")
            yield self

    def get(self, path: str) -> bytes:
        """A resource of its REST interface."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.http_port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def reports(self, study_uid: str | None = None) -> list[bytes]:
        """The narratives it holds (of one study), as files."""
        return self.results(study_uid, BasicTextSRStorage)

    def results(self, study_uid: str | None, *sop_classes: str) -> list[bytes]:
        """The objects of these SOP classes (of one study), as files."""
        files = []
        for instance in json.loads(self.get("/instances")):
            tags = json.loads(self.get(f"/instances/{instance}/simplified-tags"))
            if tags.get("SOPClassUID") in sop_classes and study_uid in (None, tags.get("StudyInstanceUID")):
                files.append(self.get(f"/instances/{instance}/file"))
        return files


class Stack:
    """pirtad's processes on a data directory of their own."""

    def __init__(self, directory: Path, redis_port: int, pacs_port: int, pacs_ae: str = "ORTHANC") -> None:
        self.directory = directory
        self.listener_port = free_port()
        self.web_port = free_port()
        self.log = directory / "pirtad.log"
        self.config = directory / "pirtad.toml"
        directory.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f"""
[listener]
port = {self.listener_port}
[assembly]
quiet_period_s = 1
[storage]
data_dir = "{directory / "data"}"
[queue]
redis_url = "redis://127.0.0.1:{redis_port}/0"
lease_s = 10
backoff_base_s = 0.5
backoff_cap_s = 2
[language_model]
cache_dir = "{MODEL_CACHE}"
[pacs]
ae_title = "{pacs_ae}"
port = {pacs_port}
timeout_s = 5
[web]
port = {self.web_port}
"""
        )

    def command(self, *arguments: str) -> list[str]:
        """A pirtad command line with this stack's settings."""
        return [sys.executable, "-m", "pirtad.daemon.cli", "--config", str(self.config), *arguments]

    def call(self, *arguments: str, check: bool = True) -> str:
        """Run a command to its end and return what it printed."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=300, check=False)
        assert not check or done.returncode == 0, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def listener(self) -> Iterator[subprocess.Popen[bytes]]:
        """`pirtad listen`."""
        with process(self.command("listen"), self.log) as child:
            wait_for(lambda: answers(self.listener_port), 60, "the listener's port")
            yield child

    @contextmanager
    def worker(self, *queues: str) -> Iterator[subprocess.Popen[bytes]]:
        """`pirtad worker` for these queues (all three by default), in a process group of its own."""
        chosen = [part for queue in queues or ("prepare", "infer", "deliver") for part in ("--queue", queue)]
        with process(self.command("worker", *chosen), self.log, start_new_session=True) as child:
            try:
                yield child
            finally:
                if child.poll() is None:
                    child.send_signal(signal.SIGTERM)

    def studies(self) -> dict[str, dict[str, Any]]:
        """What `pirtad status --json` tells, by study UID; read here, since a command takes a second to start."""
        database = Database(f"sqlite:///{self.directory / 'data' / 'ledger.sqlite'}")
        try:
            return {view.study_uid: asdict(view) for view in views.studies(database)}
        finally:
            database.close()

    def told(self) -> dict[str, Any]:
        """`pirtad status --json`."""
        return dict(json.loads(self.call("status", "--json")))

    def wait_until(self, study_uids: list[str], state: str, timeout_s: float) -> dict[str, dict[str, Any]]:
        """Wait until every one of these studies is in `state`; returns the status."""

        def reached() -> dict[str, dict[str, Any]] | None:
            seen = self.studies()
            return seen if all(seen.get(uid, {}).get("state") == state for uid in study_uids) else None

        return wait_for(reached, timeout_s, f"{len(study_uids)} studies to be {state}; log {self.log}", every_s=0.1)

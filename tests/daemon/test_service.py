"""The listener's process as a whole: what it loads, how it starts, stops and ends."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification
from support.live import answers, free_port, wait_for
from support.receiving import PATIENT, STUDY, associated, image

from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import open_ledger

HEAVY = ("torch", "SimpleITK", "monai", "transformers", "faiss", "pirtad.inference")

MAIN = """
from pathlib import Path
from pirtad.daemon.service import run_listener
from pirtad.worker.settings import ListenerSettings, LogSettings, QueueSettings, Settings, StorageSettings, \\
    AssemblySettings
raise SystemExit(run_listener(Settings(
    listener=ListenerSettings(port={port}),
    assembly=AssemblySettings(quiet_period_s=0.2),
    storage=StorageSettings(data_dir=Path({data_dir!r})),
    queue=QueueSettings(redis_url={redis_url!r}),
    log=LogSettings(level="debug", format="json"),
)))
"""


@pytest.fixture
def data_dir():
    path = Path(tempfile.mkdtemp(prefix="pirtad-"))  # a Unix socket's path must be short
    yield path
    shutil.rmtree(path)


@contextmanager
def _listener(data_dir: Path, port: int, before: str = "", redis_url: str = "embedded"):
    program = before + MAIN.format(port=port, data_dir=str(data_dir), redis_url=redis_url)
    with (data_dir / "log").open("ab") as log:
        child = subprocess.Popen([sys.executable, "-P", "-c", program], stdout=log, stderr=log)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def _log(data_dir: Path) -> str:
    return (data_dir / "log").read_text()


@contextmanager
def _association(port: int):
    sender = AE("SCANNER")
    sender.add_requested_context(Verification)
    sender.add_requested_context(image().SOPClassUID, image().file_meta.TransferSyntaxUID)
    with associated(sender, port) as association:
        assert association.is_established
        yield association


def test_no_module_of_the_daemon_loads_the_heavy_libraries():
    # Of the command line, the exempt composition root, what every command imports: main
    program = f"""
import importlib, pkgutil, sys, pirtad.daemon
names = [module.name for module in pkgutil.walk_packages(pirtad.daemon.__path__, "pirtad.daemon.")]
names = [name for name in names if not name.startswith("pirtad.daemon.cli.")] + ["pirtad.daemon.cli.main"]
for name in names:
    importlib.import_module(name)
loaded = [name for name in {HEAVY!r} if name in sys.modules]
assert "pirtad.daemon.service" in names and "pirtad.daemon.listener" in sys.modules
raise SystemExit(f"loaded: {{loaded}}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_running_listener_receives_dispatches_and_stops(data_dir):
    port = free_port()
    with _listener(data_dir, port) as child:
        wait_for(lambda: answers(port) or child.poll() is not None, 60, "the port")
        with _association(port) as association:
            assert association.send_c_echo().Status == 0x0000
            assert association.send_c_store(image()).Status == 0x0000
            # The study becomes a job after its quiet period, also with no queue to publish to
            ledger = open_ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}")
            wait_for(lambda: [it.state for it in views.studies(ledger)] == [StudyState.QUEUED], 20, "the job")
            ledger.close()
            # None of the heavy libraries is mapped into the process, by whatever way
            maps = Path(f"/proc/{child.pid}/maps").read_text()
            assert "libsqlite3" in maps or "_sqlite3" in maps  # the way of looking works
            assert [name for name in ("libtorch", "SimpleITK", "faiss") if name in maps] == []
            # Told to stop, it lets the association end and is then gone
            child.send_signal(signal.SIGTERM)
            wait_for(lambda: not answers(port), 10, "the port to close")
            assert association.send_c_store(image(2)).Status == 0x0000
        assert child.wait(20) == 0
    assert not answers(port)
    log = _log(data_dir)
    assert '"signal": "SIGTERM"' in log
    assert STUDY in log
    assert PATIENT not in log
    assert "Traceback" not in log


def test_a_port_that_is_taken_ends_the_process_with_a_reason(data_dir):
    with _port_taken() as port, _listener(data_dir, port) as child:
        assert child.wait(60) == 1
    assert f"can't listen on 127.0.0.1 port {port}" in _log(data_dir)


@contextmanager
def _port_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_second_listener_on_the_same_data_directory_is_refused_and_sweeps_nothing(data_dir):
    port = free_port()
    with _listener(data_dir, port) as first:
        wait_for(lambda: answers(port) or first.poll() is not None, 60, "the port")
        arriving = data_dir / "spool" / ".incoming" / "arriving"
        arriving.write_bytes(b"half an image")
        with _listener(data_dir, free_port()) as second:
            assert second.wait(60) == 1
        assert arriving.exists()
        assert "another listener works on" in _log(data_dir)
        first.send_signal(signal.SIGINT)
        assert first.wait(20) == 0


def test_a_dispatcher_that_dies_ends_the_process_with_a_failure(data_dir):
    bug = """
import pirtad.daemon.dispatcher as module
def bug(*_):
    raise ValueError("a bug")
module.decide = bug
"""
    with _listener(data_dir, free_port(), before=bug) as child:
        assert child.wait(60) == 1
    assert "the dispatcher died" in _log(data_dir)


def test_killed_at_any_moment_it_still_has_all_it_said_yes_to(data_dir):
    # Given a listener that is killed with SIGKILL right after a Success, before it has registered anything
    never = """
import pirtad.daemon.registrar as module
module._GATHER_S = 1000.0
"""
    port = free_port()
    with _listener(data_dir, port, before=never) as child:
        wait_for(lambda: answers(port) or child.poll() is not None, 60, "the port")
        with _association(port) as association:
            assert [association.send_c_store(image(number)).Status for number in (1, 2, 3)] == [0, 0, 0]
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            association.abort()
    ledger = open_ledger(f"sqlite:///{data_dir / 'ledger.sqlite'}")
    assert views.studies(ledger) == []
    # Then by the time the next one answers, every image is in the ledger and at its place
    with _listener(data_dir, port) as child:
        wait_for(lambda: answers(port) or child.poll() is not None, 60, "the port")
        assert views.studies(ledger)[0].images == 3
    ledger.close()
    assert len(list((data_dir / "spool").rglob("*.dcm"))) == 3

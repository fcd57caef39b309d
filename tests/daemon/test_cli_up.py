"""`pirtad up` as a whole: the real processes, on ports and a data directory of their own."""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.live import answers, free_port, wait_for
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app
from pirtad.daemon.cli.up import children, port_answers, web_is_ready
from pirtad.worker.settings import Settings

_START_S = 120


@pytest.fixture
def directory() -> Iterator[Path]:
    # The queue's socket needs a short path.
    with tempfile.TemporaryDirectory(prefix="pirtad-") as name:
        yield Path(name)


def settings_in(directory: Path, redis_url: str = "embedded") -> Settings:
    return Settings.model_validate(
        {
            "listener": {"port": free_port()},
            "web": {"port": free_port()},
            "storage": {"data_dir": directory / "data"},
            "queue": {"redis_url": redis_url},
        }
    )


def config_for(settings: Settings, directory: Path) -> Path:
    config = directory / "pirtad.toml"
    config.write_text(
        f"[listener]\nport = {settings.listener.port}\n[web]\nport = {settings.web.port}\n"
        f'[storage]\ndata_dir = "{settings.storage.data_dir}"\n'
        # An endpoint that nobody asks: the bundled model would be converted first.
        '[language_model]\nbackend = "openai"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "none"\n'
    )
    return config


def test_the_children_and_their_order(directory: Path) -> None:
    names = [[child.name for child in group] for group in children(settings_in(directory), None)]
    assert names == [["queue"], ["web"], ["worker prepare", "worker infer", "worker deliver"], ["listener"]]

    elsewhere = children(settings_in(directory, "redis://127.0.0.1:6379/0"), Path("some.toml"))
    assert [child.name for child in elsewhere[0]] == ["web"]
    assert elsewhere[0][0].argv[1:] == (
        "-P", "-m", "pirtad.daemon.cli", "--config", str(Path("some.toml").absolute()), "web"
    )  # fmt: skip


def test_nothing_is_ready_where_nothing_runs(directory: Path) -> None:
    settings = settings_in(directory)
    assert not port_answers(settings.listener.host, settings.listener.port)
    assert not web_is_ready(settings)


def test_a_second_up_on_the_same_directory_is_refused(directory: Path) -> None:
    settings = settings_in(directory)
    settings.storage.data_dir.mkdir()
    with (settings.storage.data_dir / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = CliRunner().invoke(app, ["-c", str(config_for(settings, directory)), "up"])
    assert result.exit_code == 4
    assert "another `pirtad up`" in result.stderr


def living_descendants(pid: int) -> set[int]:
    """Process ids of all that this process started, and those started, and so on; no zombies."""
    parents: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        with suppress(OSError):
            if path.name.isdigit():
                state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    parents[int(path.name)] = int(parent)
    found: set[int] = set()
    while new := {one for one, parent in parents.items() if parent in (pid, *found)} - found:
        found |= new
    return found


def living(pids: set[int]) -> set[int]:
    """Those that are still there, whoever is their parent now."""
    states = {}
    for pid in pids:
        with suppress(OSError):
            states[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return {pid for pid, state in states.items() if state not in "ZX"}


def test_up_killed_leaves_nothing_running_and_the_next_gets_ready_says_so_once_and_ends_well(directory: Path) -> None:
    settings = settings_in(directory)
    command = [sys.executable, "-P", "-m", "pirtad.daemon.cli", "-c", str(config_for(settings, directory)), "up"]
    log = directory / "log"

    # Given a `pirtad up` that received and worked, and was killed together with nobody else
    with (directory / "first.log").open("wb") as err, subprocess.Popen(command, stderr=err) as first:
        try:
            # queue, page, listener, three workers and at least one pool process of each
            wait_for(lambda: answers(settings.listener.port), _START_S, "the listener")
            wait_for(lambda: len(living_descendants(first.pid)) >= 9, _START_S, "the pools")
            children_of_it = living_descendants(first.pid)
        finally:
            first.kill()

    # Then all that it had started is gone, and with that every lock and port
    wait_for(lambda: not living(children_of_it), 10, "the end of what it had started")

    # Given another `pirtad up` on the same data directory
    with log.open("wb") as err, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err) as process:
        try:
            assert process.stdout is not None
            wait_for(lambda: web_is_ready(settings), _START_S, "the page")
            assert process.stdout.readline().decode().startswith("ready: PIRTAD listens on 127.0.0.1:")

            # Then listener, page and queue answer
            assert answers(settings.listener.port)
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                f"http://127.0.0.1:{settings.web.port}/api/queues", timeout=10
            ) as response:
                assert json.load(response)["queues"] == {"prepare": 0, "infer": 0, "deliver": 0}

            # When it is told to stop
            process.send_signal(signal.SIGTERM)
            rest = process.stdout.read().decode()
            process.wait(60)
        finally:
            process.kill()

    # Then it ends well, having said nothing else on standard output, and no port is held
    assert process.returncode == 0, log.read_text()
    assert rest == ""
    assert not answers(settings.listener.port)
    assert not answers(settings.web.port)
    written = log.read_text()
    assert "starting it again" not in written
    assert written.index("signal=SIGTERM") < written.index("Finished server process") < written.index("ready to exit")

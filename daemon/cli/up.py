"""What `pirtad up` runs, in which order, and when it says that it is ready."""

from __future__ import annotations

import fcntl
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
import typer

from pirtad.daemon import embedded_redis
from pirtad.daemon.cli.common import Exit, connectable, own_command_line, stop, web_address
from pirtad.daemon.supervisor import Child, Supervisor
from pirtad.worker.contract import Stage
from pirtad.worker.logs import configure_logging
from pirtad.worker.settings import EMBEDDED, Settings

log = structlog.get_logger(__name__)

# A stage of one study takes seconds to two minutes (the language model on a CPU); what is cut off is done again.
_WORKER_GRACE_S = 150.0
_LISTENER_GRACE_S = 30.0  # it ends associations for 10 s by itself
_PROBE_TIMEOUT_S = 1.0


def run_everything(settings: Settings, config: Path | None) -> int:
    """Run until a signal; returns the exit code. Ends the command if another `up` has the data directory."""
    configure_logging(settings.log)
    data_dir = settings.storage.data_dir.absolute()
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        groups = children(settings, config)
    except (OSError, embedded_redis.EmbeddedServerError) as error:
        stop(Exit.FAILED, str(error))
    with _only_one(data_dir):
        Supervisor(groups, log.warning, on_ready=lambda: typer.echo(ready_line(settings))).run()
    log.info("everything stopped")
    return Exit.OK


def children(settings: Settings, config: Path | None) -> list[list[Child]]:
    """The processes in their order of starting; they are stopped in the reverse one."""
    groups = []
    if settings.queue.redis_url == EMBEDDED:
        data_dir = settings.storage.data_dir.absolute()
        groups.append(
            [
                Child(
                    "queue",
                    embedded_redis.command_line(data_dir),
                    answers=lambda: embedded_redis.answers(data_dir),
                    others_wait=True,
                )
            ]
        )
    groups.append([Child("web", own_command_line(config, "web"), answers=lambda: web_is_ready(settings))])
    groups.append(
        [
            Child(f"worker {stage}", own_command_line(config, "worker", "--queue", stage), stop_grace_s=_WORKER_GRACE_S)
            for stage in Stage
        ]
    )
    groups.append(
        [
            Child(
                "listener",
                own_command_line(config, "listen"),
                stop_grace_s=_LISTENER_GRACE_S,
                answers=lambda: port_answers(settings.listener.host, settings.listener.port),
            )
        ]
    )
    return groups


def ready_line(settings: Settings) -> str:
    """The one line that says that studies can be sent."""
    listener = settings.listener
    return f"ready: {listener.ae_title} listens on {listener.host}:{listener.port}, page at {web_address(settings)}/"


def port_answers(host: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        with socket.create_connection((connectable(host), port), timeout=_PROBE_TIMEOUT_S):
            return True
    except OSError:
        return False


def web_is_ready(settings: Settings) -> bool:
    """Whether /readyz answers that the page, the ledger and the queue are there."""
    # No proxy from the environment: the page is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{web_address(settings)}/readyz", timeout=_PROBE_TIMEOUT_S) as response:
            return bool(json.load(response).get("ready"))
    except (OSError, ValueError, urllib.error.URLError):
        return False


@contextmanager
def _only_one(data_dir: Path) -> Iterator[None]:
    """A lock on the data directory; the kernel drops it with this process, however it ends."""
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stop(Exit.NOT_POSSIBLE, f"another `pirtad up` runs with {data_dir}")
        yield

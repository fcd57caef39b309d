"""`pirtad up`, `listen`, `worker`, `web`: the processes that run until they are told to stop."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pirtad.daemon.cli.common import Exit, config_path, settings_of, stop
from pirtad.worker.contract import Stage


class QueueName(StrEnum):
    """The queues a worker can serve; each is a stage."""

    PREPARE = "prepare"
    INFER = "infer"
    DELIVER = "deliver"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command, epilog in (
        (up, "\b\nExample:\n  pirtad --config /etc/pirtad/pirtad.toml up"),
        (listen, "\b\nExample:\n  pirtad listen"),
        (worker, "\b\nExample:\n  pirtad worker --queue prepare --queue infer --processes 2"),
        (web, "\b\nExample:\n  pirtad web"),
        (demo, "\b\nExample:\n  pirtad demo --keep"),
    ):
        app.command(epilog=epilog)(command)


def up(context: typer.Context) -> None:
    """Run everything on this machine: queue, page, workers and listener.

    Starts the embedded queue (unless queue.redis_url names another), the page, one worker each for prepare, infer and
    deliver, and the listener, and starts again what dies. SIGTERM or Ctrl-C stops the listener first, then the workers
    (each finishes what it is working on), the page, and the queue last; a second one kills what still runs.
    """
    from pirtad.daemon.cli.up import run_everything

    settings = settings_of(context)
    raise typer.Exit(run_everything(settings, config_path(context)))


def listen(context: typer.Context) -> None:
    """Run the DICOM listener: takes studies in and queues them once they are complete."""
    from pirtad.daemon.service import run_listener

    raise typer.Exit(run_listener(settings_of(context)))


def worker(
    context: typer.Context,
    queue: Annotated[
        list[QueueName] | None, typer.Option("--queue", "-q", help="Queue to work on; repeat for more. Default: all.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, show_default="as in [queue]", help="Number of processes.")
    ] = None,
) -> None:
    """Run a worker for one or more queues."""
    from pirtad.worker.main import run_worker

    settings = settings_of(context)
    wanted = tuple(Stage(name) for name in QueueName if not queue or name in queue)
    raise typer.Exit(run_worker(settings, wanted, processes))


def web(context: typer.Context) -> None:
    """Serve the queue page, /api, /metrics, /healthz and /readyz."""
    from sqlalchemy.exc import SQLAlchemyError

    from pirtad.daemon.web.serve import serve
    from pirtad.worker.ledger.database import LedgerOutOfDate

    try:
        raise typer.Exit(serve(settings_of(context)))
    except LedgerOutOfDate as error:
        stop(Exit.FAILED, str(error))
    except SQLAlchemyError as error:
        stop(Exit.UNREACHABLE, f"the ledger can't be opened: {type(error).__name__}")


def demo(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", file_okay=False, help="Folder for the demo; emptied first.")
    ] = Path(".demo"),
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything running for a look; Ctrl-C ends it.")] = False,
) -> None:
    """Show the whole way with simulated patients and a PACS of its own; exit 1 if a report is missing or wrong."""
    from pirtad.daemon.cli.demo import run_demo

    marker = directory / "pirtad.toml"
    is_ours = marker.is_file() and "pirtad demo" in marker.read_text(encoding="utf-8", errors="replace")
    if directory.exists() and any(directory.iterdir()) and not is_ours:
        stop(Exit.NOT_POSSIBLE, f"{directory} is not empty and no demo has been in it: it would be emptied")
    raise typer.Exit(run_demo(directory.absolute(), keep=keep))

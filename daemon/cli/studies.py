"""`pirtad status`, `show`, `retry`, `cancel`: what an operator sees of the studies and does with them."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import Exit, ledger_of, settings_of, stop

if TYPE_CHECKING:
    from pirtad.daemon.web.snapshot import Snapshot
    from pirtad.worker.ledger.database import Database
    from pirtad.worker.settings import Settings

_WATCH_S = 2.0
_EXAMPLE_UID = "1.2.826.0.1.3680043.8.498.1"

StudyUid = Annotated[str, typer.Argument(metavar="STUDY_UID", help="The study's Study Instance UID.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command, example in (
        (status, "status --watch"),
        (show, f"show {_EXAMPLE_UID}"),
        (retry, f"retry {_EXAMPLE_UID}"),
        (cancel, f"cancel {_EXAMPLE_UID}"),
    ):
        app.command(epilog=f"\b\nExample:\n  pirtad {example}")(command)


def status(
    context: typer.Context,
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every 2 seconds until Ctrl-C.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Studies shown, the newest first.")] = 50,
) -> None:
    """Show the studies, the queues and the latest notices."""
    from rich.console import Console, Group
    from rich.live import Live

    from pirtad.daemon.cli import tables

    settings = settings_of(context)
    with ledger_of(settings) as database:
        if as_json:
            typer.echo(json.dumps(_snapshot(settings, database, limit).to_dict(), indent=2))
            return
        console = Console()

        def render() -> Group:
            return tables.status(_snapshot(settings, database, limit), time.time())

        if not watch:
            console.print(render())
            return
        try:
            with Live(render(), console=console, screen=True, auto_refresh=False) as live:
                while True:
                    time.sleep(_WATCH_S)
                    live.update(render(), refresh=True)
        except KeyboardInterrupt:
            return


def show(context: typer.Context, study_uid: StudyUid, as_json: AsJson = False) -> None:
    """Show one study in full: series, events, report text, deliveries."""
    from rich.console import Console

    from pirtad.daemon.cli import tables
    from pirtad.worker.ledger import views

    with ledger_of(settings_of(context)) as database:
        detail = views.study(database, study_uid)
    if detail is None:
        stop(Exit.NOT_POSSIBLE, f"no study {study_uid} is known here")
    if as_json:
        typer.echo(json.dumps(asdict(detail), indent=2))
    else:
        Console().print(tables.detail(detail, time.time()))


def retry(context: typer.Context, study_uid: StudyUid) -> None:
    """Start a study again that was set aside, failed or cancelled."""
    from pirtad.worker.ledger import jobs

    with ledger_of(settings_of(context)) as database:
        try:
            jobs.retry(database, study_uid, time.time())
        except jobs.NotPossible as error:
            stop(Exit.NOT_POSSIBLE, str(error))
    typer.echo(f"study {study_uid} is queued again")


def cancel(context: typer.Context, study_uid: StudyUid) -> None:
    """End an unfinished study without a report; its images are kept."""
    from pirtad.worker.ledger import jobs

    with ledger_of(settings_of(context)) as database:
        try:
            jobs.cancel(database, study_uid, time.time())
        except jobs.NotPossible as error:
            stop(Exit.NOT_POSSIBLE, str(error))
    typer.echo(f"study {study_uid} is cancelled; its images are kept")


def _snapshot(settings: Settings, database: Database, limit: int) -> Snapshot:
    from pirtad.daemon.web.snapshot import take
    from pirtad.worker.queue import redis_client

    client = redis_client(settings, timeout_s=2.0)
    try:
        return take(database, client, limit, notices=5)
    finally:
        client.close()

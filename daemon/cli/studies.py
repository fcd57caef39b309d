"""`pirtad status`, `show`, `shelf`, `retry`, `cancel`: what an operator sees of the studies and does with them."""

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
OfDestination = Annotated[str, typer.Option("--destination", help="Those whose delivery failed at this one.")]
OfReason = Annotated[str, typer.Option("--reason", metavar="CODE", help="Those that failed for this reason's code.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    for command, example in (
        (status, "status --watch"),
        (show, f"show {_EXAMPLE_UID}"),
        (shelf, "shelf --reason no-connection"),
        (retry, f"retry {_EXAMPLE_UID}\n  pirtad retry --all-failed --destination archive --dry-run"),
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


def shelf(
    context: typer.Context, destination: OfDestination = "", reason: OfReason = "", as_json: AsJson = False
) -> None:
    """Show the studies that were set aside, failed or cancelled, the oldest first, each with its reason."""
    from rich.console import Console

    from pirtad.daemon.cli import tables
    from pirtad.worker.ledger.shelf import shelved

    with ledger_of(settings_of(context)) as database:
        found = shelved(database, destination=destination, code=reason)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        Console().print(tables.shelf(found, time.time()))


def retry(
    context: typer.Context,
    study_uid: Annotated[
        str, typer.Argument(metavar="[STUDY_UID]", help="The study's Study Instance UID; or --all-failed.")
    ] = "",
    all_failed: Annotated[bool, typer.Option("--all-failed", help="Every study that failed.")] = False,
    destination: OfDestination = "",
    reason: OfReason = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show which these are.")] = False,
) -> None:
    """Start a study again that was set aside, failed or cancelled; draft one anew whose report was withdrawn.

    A destination that has its objects gets nothing again; the others get the same bytes.
    """
    from pirtad.worker.ledger import operating

    if all_failed == bool(study_uid) or ((destination or reason or dry_run) and not all_failed):
        stop(Exit.USAGE, "give a study UID, or --all-failed, which --destination, --reason and --dry-run go with")
    if all_failed:
        _retry_all(context, destination, reason, dry_run=dry_run)
        return
    with ledger_of(settings_of(context)) as database:
        try:
            operating.retry(database, study_uid, time.time())
        except operating.NotPossible as error:
            stop(Exit.NOT_POSSIBLE, str(error))
    typer.echo(f"study {study_uid} is queued again")


def _retry_all(context: typer.Context, destination: str, reason: str, *, dry_run: bool) -> None:
    from pirtad.worker.ledger.shelf import retry_all, shelved

    with ledger_of(settings_of(context)) as database:
        found = [one.study_uid for one in shelved(database, failed_only=True, destination=destination, code=reason)]
        done, not_possible = (found, {}) if dry_run else retry_all(database, found, time.time())
    for study_uid in done:
        typer.echo(study_uid)
    for told in not_possible.values():
        typer.echo(told, err=True)
    said = "would be queued again" if dry_run else "queued again"
    typer.echo(f"{len(done)} {'study' if len(done) == 1 else 'studies'} {said}", err=True)
    if not_possible:
        raise typer.Exit(Exit.NOT_POSSIBLE)


def cancel(context: typer.Context, study_uid: StudyUid) -> None:
    """End an unfinished study without a report; its images are kept."""
    from pirtad.worker.ledger import operating

    with ledger_of(settings_of(context)) as database:
        try:
            operating.cancel(database, study_uid, time.time())
        except operating.NotPossible as error:
            stop(Exit.NOT_POSSIBLE, str(error))
    typer.echo(f"study {study_uid} is cancelled; its images are kept")


def _snapshot(settings: Settings, database: Database, limit: int) -> Snapshot:
    from pirtad.daemon.web.snapshot import take
    from pirtad.worker.queue import redis_client

    client = redis_client(settings, timeout_s=2.0)
    try:
        return take(database, client, limit, notices=5, breaker_failures=settings.delivery.breaker_failures)
    finally:
        client.close()

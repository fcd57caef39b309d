"""`pirtad clean`, `pirtad forget`: remove images from the disk, by the settings' rule or by an operator's word."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import Exit, ledger_of, settings_of, stop
from pirtad.daemon.cli.studies import AsJson, StudyUid

if TYPE_CHECKING:
    from pirtad.daemon.retention import Outlook, Retention
    from pirtad.worker.ledger.retention import Removed

_EXAMPLE_UID = "1.2.826.0.1.3680043.8.498.1"


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog="\b\nExample:\n  pirtad clean --dry-run")(clean)
    app.command(epilog=f"\b\nExample:\n  pirtad forget {_EXAMPLE_UID} --yes")(forget)


def clean(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be removed, and what stays.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what [retention] in the settings says, now; the listener does the same by itself, every 30 seconds.

    Only images of studies whose reports were delivered everywhere; the ledger and its journal stay.
    """
    with _retention(context) as retention:
        outlook = retention.outlook()
        removed = [] if dry_run else retention.clean()
    if as_json:
        typer.echo(json.dumps(_told(outlook, removed, dry_run=dry_run), indent=2))
        return
    if dry_run:
        for planned in outlook.planned:
            typer.echo(f"{planned.study_uid}  {planned.images} images  {_mb(planned.size_bytes)}  {planned.why}")
    for one in removed:
        typer.echo(f"{one.study_uid}  {one.files} {one.what}  {_mb(one.size_bytes)}")
    total_bytes = sum(one.size_bytes for one in (outlook.planned if dry_run else removed))
    said = "would be removed" if dry_run else "removed"
    number = len(outlook.planned) if dry_run else len({one.study_uid for one in removed})
    typer.echo(f"{number} {'study' if number == 1 else 'studies'}, {_mb(total_bytes)} {said}", err=True)
    for reason, count in outlook.kept.items():
        typer.echo(f"kept: {count}, {reason}", err=True)


def forget(
    context: typer.Context,
    study_uid: StudyUid,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a study's images, whether or not a report was delivered, and what the hospital told of its patient.

    Its history, events and report objects stay. Not while it is received or worked on: cancel it first.
    """
    from pirtad.worker.ledger import operating

    if not yes:
        typer.confirm(f"The images of study {study_uid} are to be removed for good?", abort=True, err=True)
    with _retention(context) as retention:
        try:
            removed = retention.forget(study_uid)
        except operating.NotPossible as error:
            stop(Exit.NOT_POSSIBLE, str(error))
    if removed is None:
        typer.echo(f"study {study_uid} has no images any more")
    else:
        typer.echo(f"study {study_uid}: {removed.files} images removed, {_mb(removed.size_bytes)}")


@contextmanager
def _retention(context: typer.Context) -> Iterator[Retention]:
    from pirtad.daemon.retention import NoSpool, Retention

    settings = settings_of(context)
    with ledger_of(settings) as database:
        try:
            yield Retention(settings.retention, settings.storage, database, time.time)
        except NoSpool as error:
            stop(Exit.NOT_POSSIBLE, str(error))
        except OSError as error:
            stop(Exit.FAILED, f"a file can't be removed: {error.strerror}; the next pass goes on")


def _told(outlook: Outlook, removed: list[Removed], *, dry_run: bool) -> dict[str, object]:
    planned = [
        {"study_uid": one.study_uid, "images": one.images, "bytes": one.size_bytes, "why": str(one.why)}
        for one in outlook.planned
    ]
    return {
        "dry_run": dry_run,
        "free_bytes": outlook.free_bytes,
        "planned": planned,
        "removed": [
            {"study_uid": one.study_uid, "what": str(one.what), "files": one.files, "bytes": one.size_bytes}
            for one in removed
        ],
        "kept": {str(reason): count for reason, count in outlook.kept.items()},
    }


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"

"""`pirtad stat`: say how urgent a study is."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import getpass
import time
from typing import Annotated

import typer

from pirtad.daemon.cli.common import Exit, ledger_of, settings_of, stop
from pirtad.daemon.cli.studies import StudyUid

_EXAMPLE_UID = "1.2.826.0.1.3680043.8.498.1"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=f"\b\nExample:\n  pirtad stat {_EXAMPLE_UID}")(stat)


def stat(
    context: typer.Context,
    study_uid: StudyUid,
    routine: Annotated[bool, typer.Option("--routine", help="The study is not urgent after all.")] = False,
) -> None:
    """Put a study before those that wait, until its report is out. What an operator says of it holds."""
    from pirtad.worker.contract import Priority
    from pirtad.worker.ledger import priority

    settings = settings_of(context)
    wanted = Priority.ROUTINE if routine else Priority.STAT
    because = f"{priority.BY_OPERATOR} {_user()}".strip()
    with ledger_of(settings) as database:
        done = priority.set_priority(
            database, study_uid, wanted, because, settings.priority.objective_s(wanted), time.time()
        )
        if not done and not priority.is_known(database, study_uid):
            stop(Exit.NOT_POSSIBLE, f"no study {study_uid} is known here")
    typer.echo(f"study {study_uid} is {wanted.name}{'' if done else ' already'}")


def _user() -> str:
    try:
        return getpass.getuser()
    except OSError:  # a user id without a name, as in containers
        return ""

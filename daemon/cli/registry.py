"""`pirtad registry`: what is known of a patient beside the images, for a study that comes or waits for its draft."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import getpass
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pirtad.daemon.cli.common import Exit, ledger_of, printable, settings_of, stop
from pirtad.daemon.cli.studies import AsJson, StudyUid

if TYPE_CHECKING:
    from pirtad.worker.ledger.database import Database
    from pirtad.worker.ledger.registry_facts import Giving
    from pirtad.worker.registry.facts import GivenFacts

_EXAMPLE_UID = "1.2.826.0.1.3680043.8.498.1"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=f"\b\nExample:\n  pirtad registry {_EXAMPLE_UID} --age 75 --sex Female --nihss 12")(registry)


def registry(
    context: typer.Context,
    study_uid: StudyUid,
    age: Annotated[int | None, typer.Option(help="Whole years, 0 to 130.")] = None,
    sex: Annotated[str | None, typer.Option(help="Female, Male or Other.")] = None,
    nihss: Annotated[int | None, typer.Option(help="NIH Stroke Scale, 0 to 42.")] = None,
    presentation: Annotated[str | None, typer.Option(help="Clinical presentation, 256 characters at most.")] = None,
    history: Annotated[str | None, typer.Option(help="Past medical history, 512 characters at most.")] = None,
    patient_id: Annotated[
        str | None, typer.Option(help="Whose facts these are: not used if the images' PatientID is another.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="Who gives them.", show_default="the user of this system")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take back what was given.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give facts about the patient for a study's draft to come, in place of those given before; without any, show
    what is kept. A report that is there is not changed."""
    from pirtad.worker.registry.facts import FactsRefused, given_facts, giver

    raw = {
        "age_years": age, "sex": sex, "nihss": nihss, "presentation": presentation, "history": history,
        "patient_id": patient_id,
    }  # fmt: skip
    try:
        facts = given_facts(raw)
        given_by = giver(by, _user())
    except FactsRefused as error:
        stop(Exit.USAGE, str(error))
    if clear and facts.names():
        stop(Exit.USAGE, "--clear goes without facts")
    with ledger_of(settings_of(context)) as database:
        if clear or facts.names():
            _give(database, study_uid, facts, given_by, as_json=as_json)
        else:
            _show(database, study_uid, as_json=as_json)


def _give(database: Database, study_uid: str, facts: GivenFacts, given_by: str, *, as_json: bool) -> None:
    from pirtad.worker.ledger import registry_facts
    from pirtad.worker.ledger.operating import NotPossible
    from pirtad.worker.ledger.registry_facts import Giving

    giving = Giving(study_uid, time.time(), given_by, "cli", facts.to_dict())
    try:
        told = registry_facts.keep(database, giving)
    except NotPossible as error:
        stop(Exit.NOT_POSSIBLE, str(error))
    except ValueError as error:
        stop(Exit.USAGE, f"{error}: STUDY_UID")
    if as_json:
        typer.echo(json.dumps({**_head(giving), "kept": sorted(giving.facts), "told": told}, indent=2))
    elif facts.names():
        typer.echo(f"{', '.join(facts.names())}: {told}")
    else:
        typer.echo(f"study {study_uid} has no facts beside the images' and the worklist's")


def _show(database: Database, study_uid: str, *, as_json: bool) -> None:
    from pirtad.worker.ledger import registry_facts

    giving = registry_facts.newest(database, study_uid)
    if giving is None:
        stop(Exit.NOT_POSSIBLE, f"no facts are kept for study {study_uid}")
    if as_json:
        typer.echo(json.dumps({**_head(giving), "facts": giving.facts}, indent=2))
        return
    given = datetime.fromtimestamp(giving.given_at, tz=UTC).astimezone().isoformat(" ", "seconds")
    typer.echo(printable(f"given {given} by {giving.given_by} ({giving.via})"))
    for name, value in giving.facts.items():
        typer.echo(printable(f"{name}: {value}"))


def _head(giving: Giving) -> dict[str, Any]:
    return {
        "study_uid": giving.study_uid,
        "given_at": giving.given_at,
        "given_by": giving.given_by,
        "via": giving.via,
    }


def _user() -> str:
    """The name of who runs the command; its number where the system has no name for it, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        import os

        return f"uid {os.getuid()}"

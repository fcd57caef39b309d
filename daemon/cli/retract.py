"""`pirtad retract`: withdraw a study's wrong results from the PACS, by one rejection note about everything it got."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import Exit, ledger_of, printable, settings_of, stop
from pirtad.daemon.cli.studies import AsJson, StudyUid
from pirtad.worker.rejection import MAX_WORDS, TITLES, RejectionReason

if TYPE_CHECKING:
    from pirtad.worker.ledger.retractions import Withdrawable

_EXAMPLE = (
    '\b\nExample:\n  pirtad retract 1.2.826.0.1.3680043.8.498.1 --code patient-safety --reason "The side is wrong."'
)
_TOLD = {
    "requested": "is being withdrawn: a worker sends the note, and tries again until the PACS has it",
    "again": "is being withdrawn: the note had been given up, and is sent again",
    "under_way": "is being withdrawn already: the note is on its way, and no second one is sent",
    "withdrawn": "is withdrawn already: the PACS has the note, and no second one is sent",
}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog=_EXAMPLE)(retract)


def retract(
    context: typer.Context,
    study_uid: StudyUid,
    reason: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            help=f"Why, in words (at most {MAX_WORDS} characters). They stand in the note as they are, for everyone "
            "who opens the study in the PACS, and in the ledger: no patient data.",
        ),
    ],
    code: Annotated[
        RejectionReason,
        typer.Option(
            help="The note's title, which decides what an archive that knows IHE IOCM does: quality is hidden but "
            "there for those who ask; patient-safety and incorrect-worklist-entry are never shown again; what is "
            "retention-expired may be deleted."
        ),
    ] = RejectionReason.QUALITY,
    moved: Annotated[
        bool,
        typer.Option("--moved", help="The PACS that has the objects is the one in the settings, at another address."),
    ] = False,
    job: Annotated[
        str | None,
        typer.Option(
            metavar="JOB_ID",
            help="Withdraw this job's report alone, where a study has a revised one too. What each job delivered is in "
            "`pirtad show STUDY_UID --json`, and shown before this command asks.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Withdraw a study's delivered report, and those that it revises: one note in the PACS rejects all of their
    objects; the study's images are kept.

    Asked again it is the same note, and nothing is sent twice. To draft anew afterwards: pirtad retry.
    """
    from pirtad.worker.ledger import operating, retractions, views
    from pirtad.worker.ledger.deliveries import destination_names

    words = reason.strip()
    if not words or len(words) > MAX_WORDS or words in set(RejectionReason):
        stop(Exit.USAGE, f"--reason wants 1 to {MAX_WORDS} characters of words; the title is chosen by --code")
    settings = settings_of(context)
    destinations = destination_names(settings)
    with ledger_of(settings) as database:
        try:
            found = retractions.withdrawable(database, study_uid, job)
            if found is not None and not yes:
                having = [name for name in destinations if name in found.destinations]
                _ask(found, code, words, ", ".join(having or destinations))
            shown = () if found is None else [one.sop_instance_uid for one in found.objects]
            answer = retractions.request(
                database, study_uid, code, words, destinations, time.time(), is_moved=moved, job_id=job,
                expected=None if yes else shown,
            )  # fmt: skip
        except operating.NotPossible as error:
            hint = "; if it is the same PACS at another address: --moved" if "settings name" in str(error) else ""
            stop(Exit.NOT_POSSIBLE, f"{error}{hint}")
        detail = views.study(database, study_uid)
    if detail is None:
        stop(Exit.NOT_POSSIBLE, f"no study {study_uid} is known here")
    if as_json:
        told = {
            "study_uid": study_uid,
            "outcome": str(answer.requested),
            "state": str(detail.study.state),
            "code": TITLES[code].code,
            "meaning": TITLES[code].meaning,
            "withdraws": list(answer.withdraws),
        }
        typer.echo(json.dumps(told, indent=2))
    else:
        typer.echo(f"the report on study {study_uid} {_TOLD[answer.requested]}")


def _ask(found: Withdrawable, code: RejectionReason, words: str, destination: str) -> None:
    """Show what the note will say and about what; exit 1 unless the operator agrees. Asked on standard error."""
    typer.echo(f"A note goes to {destination}, titled {TITLES[code].meaning} ({TITLES[code].code}), about:", err=True)
    for one, job_id in zip(found.objects, found.results, strict=True):
        of_job = f" of job {job_id}" if len(found.job_ids) > 1 else ""
        typer.echo(f"  {one.role} {one.sop_instance_uid}{of_job}", err=True)
    typer.echo(f"Everyone who opens the study in the PACS can read in it:\n  {printable(words)}", err=True)
    typer.confirm("These words hold no patient data, and the report is to be withdrawn?", abort=True, err=True)

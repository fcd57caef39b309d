"""`pirtad doctor`: is everything there that a study needs, and what to do where it is not."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import Exit, config_path, stop
from pirtad.worker.settings import SettingsError, load_settings

if TYPE_CHECKING:
    from pirtad.daemon.cli.checks import Finding


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog="\b\nExample:\n  pirtad doctor")(doctor)


def doctor(
    context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False
) -> None:
    """Check settings, data directory, ledger, queue, ports, models, PACS and worklist; exit 1 if a check fails.

    Nothing is changed, and nothing is sent but C-ECHO and requests for associations.
    """
    from pirtad.daemon.cli import checks, model_checks, peer_checks
    from pirtad.daemon.cli.checks import Finding

    path = config_path(context)
    try:
        settings = load_settings(path)
    except SettingsError as error:
        typer.echo(f"FAIL  settings: {error}")
        stop(Exit.USAGE, "the other checks need usable settings")
    read = Finding("settings", True, str(path) if path is not None else "defaults and environment")
    findings = []
    for check in (lambda _: read, *checks.ALL, *peer_checks.ALL, *model_checks.ALL):
        findings.append(check(settings))
        if not as_json:
            _print(findings[-1])
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    raise typer.Exit(Exit.OK if all(finding.ok for finding in findings) else Exit.FAILED)


def _print(finding: Finding) -> None:
    typer.echo(f"{'OK  ' if finding.ok else 'FAIL'}  {finding.name}: {finding.detail}")
    if not finding.ok and finding.advice:
        typer.echo(f"      -> {finding.advice}")

"""`pirtad`: the global options, and the commands in the order that `--help` shows."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from pirtad.daemon.cli import (
    cases,
    clean,
    configuration,
    doctor,
    evaluate,
    inspecting,
    offline,
    registry,
    retract,
    run,
    send,
    stat,
    studies,
    train,
)
from pirtad.daemon.cli.common import CONFIG_VARIABLE, EXIT_CODES

_EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code.value}  {meaning}" for code, meaning in EXIT_CODES.items())

# rich_markup_mode None: plain help text, the same on every terminal and in docs/cli.md.
app = typer.Typer(
    name="pirtad",
    help="Drafts stroke reports from DWI and ADC as DICOM Structured Reports. Every report is a draft for a "
    "radiologist and says so.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"max_content_width": 120},
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pirtad {version('pirtad')}")
        raise typer.Exit


@app.callback()
def _global_options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", envvar=CONFIG_VARIABLE, show_default="./pirtad.toml, if it is there", dir_okay=False,
            help="Settings file.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:  # fmt: skip
    context.obj = config


for _group in (run, send, studies, stat, retract, registry, clean, inspecting, offline):
    _group.add_to(app)
app.add_typer(cases.app, name="cases")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
doctor.add_to(app)
app.add_typer(configuration.app, name="config")

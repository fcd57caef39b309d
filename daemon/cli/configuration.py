"""`pirtad config`: an example of the settings file, and a check of one."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import typer

from pirtad.daemon.cli.common import config_path, settings_of

app = typer.Typer(help="Write or check the settings file.", no_args_is_help=True, rich_markup_mode=None)


@app.command(epilog="\b\nExample:\n  pirtad config example > pirtad.toml")
def example() -> None:
    """Print a settings file with every setting, its meaning and its default."""
    from pirtad.daemon.cli.example_config import example_toml

    typer.echo(example_toml(), nl=False)


@app.command(epilog="\b\nExample:\n  pirtad --config /etc/pirtad/pirtad.toml config check")
def check(context: typer.Context) -> None:
    """Check the settings file and the environment; exit 2 with the line that is wrong."""
    settings_of(context)
    path = config_path(context)
    typer.echo(f"{path}: usable" if path is not None else "no settings file; the defaults and the environment: usable")

"""`pirtad cases`: provisional."""

from __future__ import annotations

import typer

app = typer.Typer(help="Build, extend, search and describe the case base.", no_args_is_help=True, rich_markup_mode=None)

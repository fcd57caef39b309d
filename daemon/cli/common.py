"""What the commands share: exit codes, settings, the ledger, and how an error ends a command."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from pirtad.worker.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from pirtad.worker.ledger.database import Database

DEFAULT_CONFIG = Path("pirtad.toml")
CONFIG_VARIABLE = "PIRTAD_CONFIG"
DEFAULT_CACHE = Path(".cache/cases")  # simulated and preprocessed cases, for training and case bases


class Exit(IntEnum):
    """Exit codes; `docs/cli.md` and `pirtad --help` list them."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_POSSIBLE = 4


EXIT_CODES = {
    Exit.OK: "done",
    Exit.FAILED: "what was asked for failed: a study was set aside, an image was not taken, a check says FAIL",
    Exit.USAGE: "wrong usage, or settings that can't be used",
    Exit.UNREACHABLE: "a service could not be reached: ledger, queue, DICOM peer, language model",
    Exit.NOT_POSSIBLE: "not found, or not possible in the state it is in",
}


def stop(code: Exit, message: str) -> NoReturn:
    """Say why on standard error and end the command."""
    typer.echo(printable(message), err=True)
    raise typer.Exit(int(code))


def config_path(context: typer.Context) -> Path | None:
    """The settings file in force: --config, PIRTAD_CONFIG, ./pirtad.toml if it is there, or none."""
    given = context.find_root().obj
    if isinstance(given, Path):
        return given
    return DEFAULT_CONFIG if DEFAULT_CONFIG.is_file() else None


def settings_of(context: typer.Context) -> Settings:
    """The settings, read now; exit 2 if they can't be used."""
    try:
        return load_settings(config_path(context))
    except SettingsError as error:
        stop(Exit.USAGE, str(error))


@contextmanager
def ledger_of(settings: Settings) -> Iterator[Database]:
    """The ledger for the time of the block.

    Exit 4 if there is none yet, 3 if it can't be reached, 1 if its schema is a newer version's.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from pirtad.worker.ledger.database import LedgerOutOfDate, open_ledger

    file = Path(settings.storage.ledger_url().removeprefix("sqlite:///"))
    if settings.storage.ledger_url().startswith("sqlite:///") and not file.is_file():
        # A question must not make a ledger where there is none.
        stop(Exit.NOT_POSSIBLE, f"no ledger at {file}: nothing has run with these settings yet, or in another folder")
    try:
        database = open_ledger(settings.storage.ledger_url())
    except LedgerOutOfDate as error:
        stop(Exit.FAILED, str(error))
    except (SQLAlchemyError, OSError) as error:
        stop(Exit.UNREACHABLE, f"the ledger can't be opened: {_first_line(error)}")
    try:
        yield database
    except SQLAlchemyError as error:
        stop(Exit.UNREACHABLE, f"the ledger can't be read: {_first_line(error)}")
    finally:
        database.close()


def printable(text: str) -> str:
    """Text from outside (headers, peers, models) for a terminal: control characters but line ends become U+FFFD."""
    return "".join("\ufffd" if unicodedata.category(one) == "Cc" and one != "\n" else one for one in text)


def own_command_line(config: Path | None, *arguments: str) -> tuple[str, ...]:
    """The command line that runs another pirtad command with these settings; `-P` keeps the current directory out of
    the import path."""
    chosen = () if config is None else ("--config", str(config.absolute()))
    return (sys.executable, "-P", "-m", "pirtad.daemon.cli", *chosen, *arguments)


def connectable(host: str) -> str:
    """An address to connect to for one to listen on: the local one for "every interface"."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def web_address(settings: Settings) -> str:
    """The page's URL on this machine, without a slash at its end."""
    host = connectable(settings.web.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.web.port}"


def _first_line(error: Exception) -> str:
    # SQLAlchemy's further lines are the statement and a link; a URL's password is not in its first line.
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__

"""`pirtad send`: a folder's DICOM files to a DICOM peer, e.g. to try pirtad out."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pirtad.daemon.cli.common import Exit, stop


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(epilog="\b\nExample:\n  pirtad send ./study 127.0.0.1:11112 --called PIRTAD --calling CT1")(send)


def send(
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", exists=True, file_okay=False, readable=True, help="Folder; all below it is sent."
        ),
    ],
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The DICOM peer's address.")],
    called: Annotated[str, typer.Option(metavar="AE", help="AE title called.")] = "PIRTAD",
    calling: Annotated[str, typer.Option(metavar="AE", help="AE title we call ourselves.")] = "PIRTADSEND",
) -> None:
    """Send every DICOM file in a folder by C-STORE.

    Files go out as they are on disk. Lists what was not stored; exit 1 if there is any, 3 without an association.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    from pirtad.daemon.cli.sending import send_directory

    host, port = _host_and_port(address)
    called, calling = _ae_title("--called", called), _ae_title("--calling", calling)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("sending", total=None)
        try:
            outcome = send_directory(
                directory, host, port, called_ae=called, calling_ae=calling,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )  # fmt: skip
        except OSError as error:
            stop(Exit.FAILED, f"can't be read: {error}")
    if not outcome.files:
        stop(Exit.NOT_POSSIBLE, f"no DICOM file in {directory}")
    for one in outcome.failed:
        typer.echo(f"{one.file.sop_instance_uid}  {one.file.path}  {one.problem}", err=True)
    passed_over = f", {outcome.others} other files passed over" if outcome.others else ""
    typer.echo(f"{outcome.stored} of {outcome.files} stored, {len(outcome.failed)} failed{passed_over}")
    if outcome.lost:
        stop(Exit.UNREACHABLE, outcome.lost)
    raise typer.Exit(Exit.FAILED if outcome.failed else Exit.OK)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise typer.BadParameter(f"{address!r} is not HOST:PORT", param_hint="HOST:PORT")
    return host.strip("[]"), int(port)


def _ae_title(option: str, title: str) -> str:
    # PS3.5 table 6.2-1, VR AE.
    if not 1 <= len(title.strip()) <= 16 or "\\" in title or not title.isascii() or not title.isprintable():
        raise typer.BadParameter("an AE title has 1 to 16 ASCII characters and no backslash", param_hint=option)
    return title

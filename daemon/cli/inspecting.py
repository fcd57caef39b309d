"""`pirtad inspect` and `volume`: what would be taken from a folder of DICOM files, and what it looks like."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pirtad.daemon.cli.common import Exit, settings_of, stop
from pirtad.daemon.cli.offline import Folder, study_files
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.dicom.frames import Series
    from pirtad.inference.volume import Volume
    from pirtad.worker.settings import Settings

VolumeKind = Annotated[
    Literal["dwi", "adc"] | None, typer.Option("--kind", help="Which of the chosen pair; dwi if not given.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", dir_okay=False, metavar="FILE.nii.gz", help="NIfTI file to write.")
]
OneSeries = Annotated[
    str, typer.Option("--series", metavar="UID", help="This series instead, chosen or not: UID or number.")
]
BValue = Annotated[float | None, typer.Option(min=0, help="With --series: only its images of this b value, in s/mm2.")]
Number = Annotated[
    int | None,
    typer.Option("--volume", min=1, metavar="N", help="With --series: which of several volumes in it, from 1."),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE if it is there.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog="\b\nExamples:\n  pirtad inspect ./study\n  pirtad inspect ./study --json")(inspect)
    app.command(
        epilog="\b\nExamples:\n  pirtad volume ./study --kind adc -o adc.nii.gz\n"
        "  pirtad volume ./study --series 701 --b-value 0 --volume 1 -o b0.nii.gz"
    )(volume)


def inspect(context: typer.Context, directory: Folder, as_json: AsJson = False) -> None:
    """Show which series of a study would be taken as DWI and ADC, and why the others would not.

    Exit 1 if the study can't be used, or a file can't be read.
    """
    from rich.console import Console

    from pirtad.daemon.cli import tables
    from pirtad.inference.dicom.choosing.inspection import Inspection, Refusal
    from pirtad.inference.dicom.choosing.select import inspect_series
    from pirtad.inference.errors import StudyNotUsable
    from pirtad.worker.selection import selection_rules

    settings = settings_of(context)
    try:
        with _reading(directory):
            series = _series_in(directory)
        found = inspect_series(series, selection_rules(settings))
    except StudyNotUsable as error:
        found = Inspection(None, None, (), Refusal(error.code, error.reason, error.hint))
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        Console().print(tables.inspection(found))
    raise typer.Exit(Exit.FAILED if found.refused else Exit.OK)


def volume(
    context: typer.Context,
    directory: Folder,
    output: Output,
    kind: VolumeKind = None,
    series: OneSeries = "",
    b_value: BValue = None,
    number: Number = None,
    force: Force = False,
) -> None:
    """Write an assembled volume as NIfTI: the DWI in its own units, the ADC map in mm2/s, or a series as it is stored.

    Exit 1 if the study, or the series, can't be used or a file can't be read or written, 4 if FILE is there already.
    """
    from pirtad.daemon.cli.nifti import write_nifti
    from pirtad.inference.errors import StudyNotUsable

    _refuse_what_makes_no_sense(output, kind, series, b_value, number)
    settings = settings_of(context)
    if output.exists() and not force:
        stop(Exit.NOT_POSSIBLE, f"{output} is there already; --force overwrites it")
    try:
        with _reading(directory):
            made, unit = (
                _of_series(directory, series, b_value, number)
                if series
                else _of_pair(settings, directory, kind or "dwi")
            )
    except StudyNotUsable as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    try:
        write_nifti(made, output)
    except OSError as error:
        stop(Exit.FAILED, f"{output} can't be written: {error.strerror}")
    shape, spacing = made.array.shape, made.spacing_mm
    voxels = f"{' x '.join(map(str, shape))} voxels of {' x '.join(f'{mm:.3g}' for mm in spacing)} mm"
    typer.echo(f"{output}: {voxels}; unit {unit}")


def _refuse_what_makes_no_sense(
    output: Path, kind: str | None, series: str, b_value: float | None, number: int | None
) -> None:
    if not output.name.endswith((".nii", ".nii.gz")):
        raise typer.BadParameter("the file's name must end in .nii or .nii.gz", param_hint="--output")
    if series and kind is not None:
        raise typer.BadParameter("is of the chosen pair; it doesn't go with --series", param_hint="--kind")
    for value, name in ((b_value, "--b-value"), (number, "--volume")):
        if value is not None and not series:
            raise typer.BadParameter("goes with --series", param_hint=name)


@contextmanager
def _reading(directory: Path) -> Iterator[None]:
    """End the command with the file's name where one can't be read: what it holds is unknown."""
    try:
        yield
    except OSError as error:
        # The system names the file where opening fails, but not where reading does.
        name = error.filename if error.filename is not None else f"a file in {directory}"
        stop(Exit.FAILED, f"{name} can't be read: {error.strerror or type(error).__name__}")


def _series_in(directory: Path) -> list[Series]:
    from pirtad.inference.dicom.reading.headers import read_series

    return read_series(study_files(directory))


def _of_series(directory: Path, series_uid: str, b_value: float | None, number: int | None) -> tuple[Volume, str]:
    """A volume and its unit."""
    from pirtad.inference.dicom.volumes.single import series_volume

    return series_volume(_series_in(directory), series_uid, b_value, number), "as stored and rescaled"


def _of_pair(settings: Settings, directory: Path, kind: Literal["dwi", "adc"]) -> tuple[Volume, str]:
    """A volume and its unit."""
    from pirtad.inference.dicom.choosing.select import choose_pair
    from pirtad.inference.dicom.volumes.assemble import assemble_pair
    from pirtad.worker.selection import selection_rules

    pair = assemble_pair(choose_pair(_series_in(directory), selection_rules(settings)))
    return (pair.dwi, "arbitrary") if kind == "dwi" else (pair.adc_mm2_per_s, "mm2/s")

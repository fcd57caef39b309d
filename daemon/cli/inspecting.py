"""`pirtad inspect` and `volume`: what would be taken from a folder of DICOM files, and what it looks like."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pirtad.daemon.cli.common import Exit, settings_of, stop
from pirtad.daemon.cli.offline import Folder, study_files
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.volume import Volume
    from pirtad.worker.settings import Settings

VolumeKind = Annotated[Literal["dwi", "adc"], typer.Option("--kind", help="Which of the chosen pair.")]
Output = Annotated[
    Path, typer.Option("--output", "-o", dir_okay=False, metavar="FILE.nii.gz", help="NIfTI file to write.")
]
OneSeries = Annotated[
    str, typer.Option("--series", metavar="UID", help="This series instead, chosen or not: UID or number.")
]
BValue = Annotated[float | None, typer.Option(min=0, help="With --series: only its images of this b value, in s/mm2.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(epilog="\b\nExamples:\n  pirtad inspect ./study\n  pirtad inspect ./study --json")(inspect)
    app.command(
        epilog="\b\nExamples:\n  pirtad volume ./study --kind adc -o adc.nii.gz\n"
        "  pirtad volume ./study --series 1.2.3 --b-value 0 -o b0.nii.gz"
    )(volume)


def inspect(context: typer.Context, directory: Folder, as_json: AsJson = False) -> None:
    """Show which series of a study would be taken as DWI and ADC, and why the others would not.

    Exit 1 if the study can't be used.
    """
    from rich.console import Console

    from pirtad.daemon.cli import tables
    from pirtad.inference.dicom.choosing.inspection import Inspection, Refusal
    from pirtad.inference.dicom.choosing.select import inspect_series
    from pirtad.inference.dicom.reading.headers import read_series
    from pirtad.inference.errors import StudyNotUsable
    from pirtad.worker.selection import selection_rules

    settings = settings_of(context)
    try:
        found = inspect_series(read_series(study_files(directory)), selection_rules(settings))
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
    kind: VolumeKind = "dwi",
    series: OneSeries = "",
    b_value: BValue = None,
) -> None:
    """Write an assembled volume as NIfTI: the DWI in its own units, or the ADC map in mm2/s.

    Exit 1 if the study, or the series, can't be used.
    """
    from pirtad.daemon.cli.nifti import write_nifti
    from pirtad.inference.errors import StudyNotUsable

    if not output.name.endswith((".nii", ".nii.gz")):
        raise typer.BadParameter("the file's name must end in .nii or .nii.gz", param_hint="--output")
    if b_value is not None and not series:
        raise typer.BadParameter("goes with --series", param_hint="--b-value")
    try:
        made = _volume(settings_of(context), directory, kind, series, b_value)
        write_nifti(made, output)
    except StudyNotUsable as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except OSError as error:
        stop(Exit.FAILED, f"{output} can't be written: {error.strerror}")
    shape, spacing = made.array.shape, made.spacing_mm
    typer.echo(f"{output}: {' x '.join(map(str, shape))} voxels of {' x '.join(f'{mm:.3g}' for mm in spacing)} mm")


def _volume(settings: Settings, directory: Path, kind: str, series_uid: str, b_value: float | None) -> Volume:
    from pirtad.inference.dicom.choosing.select import choose_pair
    from pirtad.inference.dicom.reading.headers import read_series
    from pirtad.inference.dicom.volumes.assemble import assemble_pair
    from pirtad.inference.dicom.volumes.single import series_volume
    from pirtad.worker.selection import selection_rules

    found = read_series(study_files(directory))
    if series_uid:
        return series_volume(found, series_uid, b_value)
    pair = assemble_pair(choose_pair(found, selection_rules(settings)))
    return pair.dwi if kind == "dwi" else pair.adc_mm2_per_s

"""`pirtad predict`: the pipeline on files, without listener, queue or PACS."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pirtad.daemon.cli.common import Exit, printable, settings_of, stop
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.prepared import Prepared
    from pirtad.worker.settings import Settings

Folder = Annotated[
    Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, readable=True, help="Folder with one study.")
]
OptionalFolder = Annotated[
    Path | None,
    typer.Argument(metavar="[DIR]", exists=True, file_okay=False, readable=True, help="Folder with one study."),
]

Dwi = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="DWI as NIfTI, with --adc instead of DIR.")]
Adc = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="ADC map as NIfTI.")]
BValue = Annotated[float, typer.Option(min=0, help="b value of the NIfTI DWI in s/mm2.")]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog="\b\nExamples:\n  pirtad predict ./study --json\n"
        "  pirtad predict --dwi sub-1_dwi.nii.gz --adc sub-1_adc.nii.gz"
    )(predict)


def predict(
    context: typer.Context,
    directory: OptionalFolder = None,
    dwi: Dwi = None,
    adc: Adc = None,
    b_value: BValue = 1000.0,
    as_json: AsJson = False,
) -> None:
    """Draft a report from one study's files; nothing is sent and nothing is stored.

    Exit 1 if the study can't be used, 3 if the language model can't be reached.
    """
    from pirtad.inference.errors import InferenceError, LanguageModelUnavailable, StudyNotUsable
    from pirtad.worker.engine import load_engine

    settings = settings_of(context)
    try:
        prepared = prepared_from(settings, directory, dwi, adc, b_value)
        report = load_engine(settings).draft(prepared)
    except StudyNotUsable as error:
        _refuse(error, as_json, Exit.FAILED)
    except LanguageModelUnavailable as error:
        _refuse(error, as_json, Exit.UNREACHABLE)
    except InferenceError as error:
        _refuse(error, as_json, Exit.FAILED)
    if not as_json:
        typer.echo(printable(report.text()), nl=False)
        return
    sections = json.loads(report.to_json())
    drafted: dict[str, Any] = {
        "territory": sections.pop("territory"),
        "similar": sections.pop("similar"),
        "report": sections,
        "text": report.text(),
    }
    typer.echo(json.dumps(drafted, indent=2))


def prepared_from(
    settings: Settings, directory: Path | None, dwi: Path | None, adc: Path | None, b_value_s_per_mm2: float
) -> Prepared:
    """Either the folder's study or the two NIfTI files, ready for the encoder; StudyNotUsable with the reason."""
    if directory is not None and dwi is None and adc is None:
        from pirtad.inference.prepare import prepare
        from pirtad.worker.selection import selection_rules

        return prepare(study_files(directory), selection_rules(settings))
    if directory is not None or dwi is None or adc is None:
        raise typer.BadParameter("give either DIR, or --dwi and --adc")
    from pirtad.daemon.cli.nifti import prepare_nifti

    return prepare_nifti(dwi, adc, b_value_s_per_mm2)


def _refuse(error: Any, as_json: bool, code: Exit) -> NoReturn:  # noqa: ANN401 - an InferenceError, imported late
    if as_json:
        typer.echo(json.dumps({"error": {"code": error.code, "reason": error.reason, "hint": error.hint}}, indent=2))
    stop(code, f"{error.reason} [{error.code}] {error.hint}".rstrip())


def study_files(directory: Path) -> list[Path]:
    """The DICOM Part 10 files (PS3.10 section 7.1: "DICM" after 128 bytes) below a folder, sorted.

    What else lies there is told on standard error, in case one of them was an image.
    """
    # Not rglob: it passes over a folder that may not be opened, and a lost image must not go unseen.
    files = sorted(
        Path(folder) / name for folder, _, names in os.walk(directory, onerror=_refuse_to_pass) for name in names
    )
    found = [path for path in files if _is_part10(path)]
    if len(found) < len(files):
        typer.echo(f"{len(files) - len(found)} files that are not DICOM passed over", err=True)
    return found


def _refuse_to_pass(error: OSError) -> None:
    raise error


def _is_part10(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"

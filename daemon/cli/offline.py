"""`pirtad predict`: the pipeline on files, without listener, queue or PACS."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pirtad.daemon.cli.common import Exit, printable, settings_of, stop
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.lesion.analysis import Analysis
    from pirtad.inference.prepared import Prepared
    from pirtad.inference.report.report import Report
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
Age = Annotated[int | None, typer.Option(min=0, max=130, help="Age in years, where the images do not tell it.")]
Sex = Annotated[str | None, typer.Option(help='"Female", "Male" or "Other", where the images do not tell it.')]
Nihss = Annotated[float | None, typer.Option(min=0, max=42, help="NIH Stroke Scale, which no header carries.")]
LesionMask = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", dir_okay=False, help="Write the measured lesion as a mask in the DWI's space, .nii or .nii.gz."
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        epilog="\b\nExamples:\n  pirtad predict ./study --json\n"
        "  pirtad predict --dwi sub-1_dwi.nii.gz --adc sub-1_adc.nii.gz --lesion-mask lesion.nii.gz"
    )(predict)


def predict(
    context: typer.Context,
    directory: OptionalFolder = None,
    dwi: Dwi = None,
    adc: Adc = None,
    b_value: BValue = 1000.0,
    lesion_mask: LesionMask = None,
    age: Age = None,
    sex: Sex = None,
    nihss: Nihss = None,
    as_json: AsJson = False,
) -> None:
    """Draft a report from one study's files and measure the lesion; nothing is sent and nothing is stored.

    Where no reliable draft can be given the report says why; NIfTI tells no age, so give it. Exit 1 if the study can't
    be used, 3 if the language model can't be reached, 4 if a mask is wanted from weights
    that have no lesion map.
    """
    from pirtad.inference.errors import InferenceError, LanguageModelUnavailable, StudyNotUsable
    from pirtad.worker.engine import load_engine

    settings = settings_of(context)
    _check_mask_path(lesion_mask)
    try:
        prepared = prepared_from(settings, directory, dwi, adc, b_value)
        engine = load_engine(settings)
        if not engine.maps_lesions:
            _tell_no_lesion_map(lesion_mask)
        report, analysis = engine.draft(_with_facts(prepared, age, sex, nihss))
    except StudyNotUsable as error:
        _refuse(error, as_json, Exit.FAILED)
    except LanguageModelUnavailable as error:
        _refuse(error, as_json, Exit.UNREACHABLE)
    except InferenceError as error:
        _refuse(error, as_json, Exit.FAILED)
    if lesion_mask is not None and analysis.lesion_mask is not None and prepared.pair is not None:
        from pirtad.daemon.cli.nifti import write_mask

        try:
            write_mask(analysis.lesion_mask, prepared.pair.dwi.affine, lesion_mask, like=dwi)
        except OSError as error:
            stop(Exit.FAILED, f"the lesion mask can't be written: {error.strerror or type(error).__name__}")
    if as_json:
        typer.echo(json.dumps(_as_json(report, analysis), indent=2))
    else:
        typer.echo(printable(f"{report.text()}\n{analysis.text()}"), nl=False)


def _with_facts(prepared: Prepared, age: int | None, sex: str | None, nihss: float | None) -> Prepared:
    """What the images say of the patient comes first; the command line fills the gaps."""
    known = prepared.registry
    if sex is not None and sex not in ("Female", "Male", "Other"):
        raise typer.BadParameter('--sex wants "Female", "Male" or "Other"')
    registry = replace(
        known,
        age_years=age if known.age_years is None else known.age_years,
        sex=known.sex or sex,
        nihss=nihss if known.nihss is None else known.nihss,
    )
    return replace(prepared, registry=registry)


def _as_json(report: Report, analysis: Analysis) -> dict[str, Any]:
    sections = json.loads(report.to_json())
    found = analysis.to_dict()
    return {
        "territory": sections.pop("territory"),
        "is_draft": report.is_draft,
        "probabilities": found["probabilities"],
        "similar": sections.pop("similar"),
        "out_of_distribution": found["out_of_distribution"],
        "lesion": found["lesion"],
        "agreement": found["agreement"],
        "report": sections,
        "text": report.text(),
    }


def _check_mask_path(path: Path | None) -> None:
    """Before any work: a wrong name would lose the measurement after a minute of it."""
    if path is None:
        return
    if not path.name.endswith((".nii", ".nii.gz")):
        raise typer.BadParameter("--lesion-mask wants a file name that ends in .nii or .nii.gz")
    if not path.absolute().parent.is_dir():
        raise typer.BadParameter("--lesion-mask wants a file in a folder that exists")


def _tell_no_lesion_map(wanted: Path | None) -> None:
    reason = "these weights have no decoder for a lesion map: no lesion is measured"
    if wanted is not None:
        stop(Exit.NOT_POSSIBLE, f"{reason}, and no mask can be written")
    typer.echo(reason, err=True)


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

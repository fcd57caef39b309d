"""`pirtad evaluate reports`: what the drafted reports are worth, beside simpler ways of writing them."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, settings_of, stop
from pirtad.daemon.cli.evaluation_config import SplitName, config_of
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.evaluation.reports.experiment import Writers
    from pirtad.inference.evaluation.reports.vision_baseline import VisionModel
    from pirtad.worker.settings import Settings

_EXAMPLES = (
    "\b\nExamples:\n  pirtad evaluate reports --n 300 --lesions masks.zip --territories counts.tsv --out evaluation\n"
    "  pirtad evaluate reports --n 20 --print 10 --out evaluation\n"
    "  pirtad evaluate reports --vlm http://127.0.0.1:8000/v1 --vlm-model llava-med"
)


class SliceName(StrEnum):
    """As in inference.evaluation.reports.vision_baseline.Slice."""

    MIDDLE = "middle"
    LESION = "lesion"


def app_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command("reports", epilog=_EXAMPLES)(reports)


def reports(
    context: typer.Context,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, show_default="inference.weights_dir", help="Folder of the encoder."),
    ] = None,
    case_base: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="case_base in --weights, else inference.case_base_dir",
            help="Folder of the case base.",
        ),
    ] = None,
    lesions: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Zip of lesion masks in MNI space to simulate from."),
    ] = None,
    territories: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Table of the masks' voxels by territory; goes with --lesions."),
    ] = None,
    split: Annotated[
        SplitName, typer.Option(help="Scanners: those of training, or shifted ones.")
    ] = SplitName.INTERNAL,
    n: Annotated[int, typer.Option("--n", min=1, help="Queries.")] = 40,
    normal_share: Annotated[float, typer.Option(min=0, max=1, help="Share of the queries without an infarct.")] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of queries and of the bootstrap.")] = 0,
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate.")] = 2,
    alone: Annotated[
        bool, typer.Option("--alone/--no-alone", help="Ask the language model without retrieved cases as well.")
    ] = True,
    vlm: Annotated[
        str, typer.Option(metavar="URL", help="OpenAI-compatible endpoint of a vision-language model to compare with.")
    ] = "",
    vlm_model: Annotated[str, typer.Option(help="Its model's name; goes with --vlm.")] = "",
    vlm_key_file: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="File that holds its API key.")
    ] = None,
    vlm_slice: Annotated[
        SliceName, typer.Option(help="The DWI slice it sees: the brain's middle, or the lesion's, chosen by the truth.")
    ] = SliceName.MIDDLE,
    printed: Annotated[
        int, typer.Option("--print", min=0, help="Reports to write with their evidence, as text files in --out.")
    ] = 0,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(file_okay=False, help="Folder to write the figures to as well.")] = None,
) -> None:
    """Measure reports drafted for held-out simulated studies: territory, unsupported and omitted statements, sides,
    negations, facts about the patient, wording, and what abstaining gains.

    Beside the product's reports stand the nearest case's report copied, the vote's template, the language model without
    retrieved cases and, with --vlm, a vision-language model that sees one slice. Exit 4 without the packages of the
    extra "evaluate".
    """
    if bool(vlm) != bool(vlm_model):
        raise typer.BadParameter("--vlm and --vlm-model go together")
    if printed and out is None:
        raise typer.BadParameter("--print needs --out")
    from pirtad.inference.errors import InferenceError, LanguageModelUnavailable
    from pirtad.inference.evaluation.document import write
    from pirtad.inference.evaluation.queries import NotEvaluable
    from pirtad.inference.evaluation.reports.document import document, table, write_pages
    from pirtad.inference.evaluation.reports.experiment import run_reports
    from pirtad.inference.evaluation.reports.scores import score_reports
    from pirtad.inference.evaluation.reports.text_metrics import missing_packages
    from pirtad.inference.evaluation.retrieval_scores import bootstrap_of

    if missing := missing_packages():
        stop(Exit.NOT_POSSIBLE, f"this needs {' and '.join(missing)}: pip install 'pirtad[evaluate]'")
    settings = settings_of(context)
    config = config_of(context, weights, case_base, lesions, territories, split, n, normal_share, seed, cache, workers)
    try:
        with redirect_stdout(sys.stderr):  # progress; standard output is for the result
            vision = _vision(vlm, vlm_model, vlm_key_file, settings.language_model.timeout_s)
            writers = _writers(settings, vision, vlm_slice, alone=alone)
            experiment = run_reports(config, writers, _teller())
            figures = score_reports(experiment.outcomes, bootstrap_of(experiment.experiment.answers, seed))
        found = document(figures, experiment)
        if out is not None:
            write(found, out / "reports.json")
            (out / "reports.txt").write_text(table(found), encoding="utf-8")
            if printed:
                write_pages(experiment.outcomes, printed, out / "reports")
    except LanguageModelUnavailable as error:
        stop(Exit.UNREACHABLE, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except InferenceError as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except NotEvaluable as error:
        stop(Exit.NOT_POSSIBLE, str(error))
    except OSError as error:
        stop(Exit.FAILED, str(error))
    typer.echo(json.dumps(found, indent=2) if as_json else printable(table(found)))


def _writers(settings: Settings, vision: VisionModel | None, shown: SliceName, *, alone: bool) -> Writers:
    from pirtad.inference.evaluation.reports.experiment import Writers
    from pirtad.inference.evaluation.reports.vision_baseline import Slice
    from pirtad.inference.report.abstention import DraftRules
    from pirtad.worker.engine import language_model

    return Writers(
        language_model=language_model(settings),
        rules=DraftRules(**settings.report.model_dump()),
        k=settings.inference.similar_cases,
        timeout_s=settings.language_model.timeout_s,
        alone=alone,
        vision=vision,
        vision_slice=Slice(str(shown)),
    )


def _vision(url: str, model: str, key_file: Path | None, timeout_s: float) -> VisionModel | None:
    if not url:
        return None
    from pirtad.inference.evaluation.reports.vision_baseline import VisionModel

    key = "" if key_file is None else key_file.read_text(encoding="utf-8").strip()
    return VisionModel(url, model, api_key=key, timeout_s=timeout_s)


def _teller() -> Callable[[int, int], None]:
    """Says on standard error how many reports there are and how long the rest takes."""
    started_s = time.monotonic()

    def tell(done: int, total: int) -> None:
        left_s = (time.monotonic() - started_s) / done * (total - done)
        typer.echo(f"reports {done}/{total}, {left_s:.0f} s left", err=True)

    return tell

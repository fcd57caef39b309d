"""`pirtad evaluate`: what encoder and case base are worth on simulated studies that they have not seen."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pirtad.daemon.cli import evaluate_ood, evaluate_reports
from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, printable, stop
from pirtad.daemon.cli.evaluation_config import SplitName, config_of
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.evaluation.experiment import EvaluationConfig, Experiment

app = typer.Typer(
    help="Measure retrieval and classification on simulated studies.", no_args_is_help=True, rich_markup_mode=None
)
evaluate_ood.app_command(app)
evaluate_reports.app_command(app)


Weights = Annotated[
    Path | None,
    typer.Option(exists=True, file_okay=False, show_default="inference.weights_dir", help="Folder of the encoder."),
]
CaseBaseFolder = Annotated[
    Path | None,
    typer.Option(
        exists=True, file_okay=False, show_default="case_base in --weights, else inference.case_base_dir",
        help="Folder of the case base.",
    ),
]  # fmt: skip
Lesions = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Zip of lesion masks in MNI space to simulate from."),
]
Territories = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Table of the masks' voxels by territory; goes with --lesions."),
]
SplitOption = Annotated[SplitName, typer.Option(help="Scanners: those of training, or shifted ones.")]
Number = Annotated[int, typer.Option("--n", min=1, help="Queries.")]
NormalShare = Annotated[float, typer.Option(min=0, max=1, help="Share of the queries without an infarct.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the choice of queries and of the bootstrap.")]
Cache = Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that simulate.")]
Out = Annotated[Path | None, typer.Option(file_okay=False, help="Folder to write the figures to as well.")]
ImageOut = Annotated[Path, typer.Option(file_okay=False, help="Folder to write to.")]


@app.command(
    epilog="\b\nExamples:\n  pirtad evaluate retrieval --split shifted --json\n"
    "  pirtad evaluate retrieval --lesions masks.zip --territories counts.tsv"
)
def retrieval(
    context: typer.Context,
    weights: Weights = None,
    case_base: CaseBaseFolder = None,
    lesions: Lesions = None,
    territories: Territories = None,
    split: SplitOption = SplitName.INTERNAL,
    n: Number = 200,
    normal_share: NormalShare = 0.25,
    seed: Seed = 0,
    cache: Cache = DEFAULT_CACHE,
    workers: Workers = 2,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure how often the most similar cases are of the query's class: mAP, Acc and precision at 1, 3, 5 and 10.

    Every figure comes with a 95 % bootstrap interval. Lesions that were trained on are never asked about.
    """
    from pirtad.inference.evaluation.retrieval_scores import bootstrap_of, score_retrieval_answers

    config = config_of(context, weights, case_base, lesions, territories, split, n, normal_share, seed, cache, workers)
    with _refusals_told():
        experiment = _run(config)
        found = score_retrieval_answers(experiment.answers, bootstrap_of(experiment.answers, seed))
    _tell("retrieval", found, experiment, as_json, out)


@app.command(epilog="\b\nExample:\n  pirtad evaluate classification --n 400 --split shifted")
def classification(
    context: typer.Context,
    weights: Weights = None,
    case_base: CaseBaseFolder = None,
    lesions: Lesions = None,
    territories: Territories = None,
    split: SplitOption = SplitName.INTERNAL,
    n: Number = 200,
    normal_share: NormalShare = 0.25,
    seed: Seed = 0,
    cache: Cache = DEFAULT_CACHE,
    workers: Workers = 2,
    as_json: AsJson = False,
    out: Out = None,
) -> None:
    """Measure the class that the linear head and the five neighbours give, by class, lesion size and place, and the
    lesion map where the encoder draws one."""
    from pirtad.inference.evaluation.classification_scores import score_classification
    from pirtad.inference.evaluation.retrieval_scores import bootstrap_of

    config = config_of(context, weights, case_base, lesions, territories, split, n, normal_share, seed, cache, workers)
    with _refusals_told():
        experiment = _run(config, with_maps=True)
        found = score_classification(experiment.answers, bootstrap_of(experiment.answers, seed))
    _tell("classification", found, experiment, as_json, out)


@app.command(epilog="\b\nExample:\n  pirtad evaluate representation --out evaluation")
def representation(
    context: typer.Context,
    weights: Weights = None,
    case_base: CaseBaseFolder = None,
    lesions: Lesions = None,
    territories: Territories = None,
    split: SplitOption = SplitName.INTERNAL,
    n: Number = 200,
    normal_share: NormalShare = 0.25,
    seed: Seed = 0,
    cache: Cache = DEFAULT_CACHE,
    workers: Workers = 2,
    as_json: AsJson = False,
    out: ImageOut = Path("evaluation"),
) -> None:
    """Measure how the classes part in the encoder's space, and draw the space as a plane (UMAP).

    Takes the case base and the queries together; writes representation.json and representation.png. Exit 4 without
    the packages of the extra "evaluate".
    """
    _need_packages()
    from pirtad.inference.evaluation.represented import represent

    config = config_of(context, weights, case_base, lesions, territories, split, n, normal_share, seed, cache, workers)
    with _refusals_told():
        experiment = _run(config)
        found = represent(experiment, out / "representation.png")
    _tell("representation", found, experiment, as_json, out)


@app.command(epilog="\b\nExample:\n  pirtad evaluate figure --rows 4 --out evaluation")
def figure(
    context: typer.Context,
    weights: Weights = None,
    case_base: CaseBaseFolder = None,
    lesions: Lesions = None,
    territories: Territories = None,
    split: SplitOption = SplitName.INTERNAL,
    n: Number = 8,
    normal_share: NormalShare = 0.25,
    seed: Seed = 0,
    cache: Cache = DEFAULT_CACHE,
    workers: Workers = 2,
    rows: Annotated[int, typer.Option(min=1, max=12, help="Queries shown, the classes in turn.")] = 4,
    out: ImageOut = Path("evaluation"),
) -> None:
    """Draw queries with their five most similar cases, lesions outlined, right ones framed green and wrong ones red.

    Writes neighbours.png. Cases of the case base that show a lesion of a mask need --lesions; a case that can't be made
    again is left blank. Exit 4 without the packages of the extra "evaluate".
    """
    _need_packages()
    from pirtad.inference.evaluation.neighbours import NEIGHBOURS, draw, row_of, shown
    from pirtad.inference.evaluation.remade import images_of, queries_of

    config = config_of(context, weights, case_base, lesions, territories, split, n, normal_share, seed, cache, workers)
    with _refusals_told():
        experiment = _run(config)
        chosen = shown(experiment.answers, rows)
        with redirect_stdout(sys.stderr):
            queries = queries_of(experiment, [answer.recipe for answer in chosen])
            ids = [one.case_id for answer in chosen for one in answer.similar[:NEIGHBOURS]]
            images = images_of(experiment, ids)
    manifest = experiment.encoder.manifest
    title = f"{manifest.name} ({manifest.weights_sha256[:12]}), {split} scanners, simulated studies"
    drawn = [row_of(answer, query, images) for answer, query in zip(chosen, queries, strict=True)]
    draw(drawn, title, out / "neighbours.png")
    typer.echo(f"{len(drawn)} queries in {out / 'neighbours.png'}")
    if blank := sum(image is None for image in images.values()):
        typer.echo(f"{blank} of {len(images)} cases can't be made again and are left blank", err=True)


def _run(config: EvaluationConfig, *, with_maps: bool = False) -> Experiment:
    from pirtad.inference.evaluation.experiment import run_experiment

    with redirect_stdout(sys.stderr):  # progress; standard output is for the result
        return run_experiment(config, with_maps=with_maps)


def _need_packages() -> None:
    from pirtad.inference.evaluation.representation import missing_packages

    if missing := missing_packages():
        stop(Exit.NOT_POSSIBLE, f"this needs {' and '.join(missing)}: pip install 'pirtad[evaluate]'")


@contextmanager
def _refusals_told() -> Iterator[None]:
    """Exit 1 for models that don't belong together, 4 for queries that can't be made."""
    from pirtad.inference.errors import InferenceError
    from pirtad.inference.evaluation.queries import NotEvaluable

    try:
        yield
    except InferenceError as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except NotEvaluable as error:
        stop(Exit.NOT_POSSIBLE, str(error))
    except OSError as error:
        stop(Exit.FAILED, str(error))


def _tell(name: str, found: dict[str, Any], experiment: Experiment, as_json: bool, out: Path | None) -> None:
    """The figures on standard output, and in NAME.json."""
    from rich.console import Console

    from pirtad.daemon.cli.evaluation_tables import shown_as_tables
    from pirtad.inference.evaluation.document import document, write

    whole = document(found, experiment)
    if out is not None:
        write(whole, out / f"{name}.json")
    if as_json:
        typer.echo(json.dumps(whole, indent=2))
        return
    Console().print(shown_as_tables(name, whole))
    if out is not None:
        typer.echo(printable(f"written to {out / name}.json"))

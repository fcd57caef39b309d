"""`pirtad evaluate ood`: does the product notice what it was not made for, and are its probabilities to be believed?"""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pirtad.daemon.cli.common import DEFAULT_CACHE, Exit, settings_of, stop
from pirtad.daemon.cli.studies import AsJson

if TYPE_CHECKING:
    from pirtad.inference.ood.evaluate import KindScore, OodScores
    from pirtad.inference.ood.fit import KnownStudy
    from pirtad.inference.simulation.lesion_masks import LesionFiles

_EXAMPLES = "\b\nExamples:\n  pirtad evaluate ood --fit\n  pirtad evaluate ood --json"
# Calibration keeps clear of the validation seeds that training watches.
_CALIBRATION_FROM = 5000


def app_command(app: typer.Typer) -> None:
    """Register the command."""
    app.command("ood", epilog=_EXAMPLES)(ood)


def ood(
    context: typer.Context,
    fit: Annotated[bool, typer.Option("--fit", help="Fit calibration.json beside the case base first.")] = False,
    as_json: AsJson = False,
    cases: Annotated[int, typer.Option(min=8, help="Held-out familiar studies.")] = 80,
    mimics: Annotated[int, typer.Option(min=1, help="Mimics of each kind to measure with.")] = 8,
    fitting_mimics: Annotated[int, typer.Option(min=3, help="Mimics of each kind to fit to, other ones.")] = 16,
    calibration_cases: Annotated[int, typer.Option(min=40, help="Familiar studies to fit to.")] = 200,
    lesions: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Zip of lesion masks to show as well.")
    ] = None,
    territories: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Their territories, TSV.")
    ] = None,
    cache: Annotated[Path, typer.Option(file_okay=False, help="Simulated cases; made where missing.")] = DEFAULT_CACHE,
    workers: Annotated[int, typer.Option(min=1, help="Processes that simulate familiar studies.")] = 1,
) -> None:
    """Measure how well mimics, artefacts and what is no brain are told from familiar studies.

    Half of the familiar studies come from scanners like training's, half from shifted ones. Each kind is measured
    twice: with a model that has seen other mimics of the kind, and with one that has seen none.
    """
    from contextlib import redirect_stdout
    from sys import stderr

    from pirtad.inference.engine import SHIPPED_CASE_BASE, SHIPPED_WEIGHTS
    from pirtad.inference.errors import InferenceError
    from pirtad.inference.models.encoder import Encoder
    from pirtad.inference.ood.calibration import Calibration
    from pirtad.inference.ood.evaluate import evaluate_ood
    from pirtad.inference.ood.fit import fit_calibration
    from pirtad.inference.ood.samples import ensure_fitting_mimics, ensure_mimics
    from pirtad.inference.retrieval.case_base import CaseBase
    from pirtad.inference.simulation.lesion_masks import LesionFiles
    from pirtad.inference.simulation.mimics import MimicKind
    from pirtad.inference.training import seeds

    chosen = settings_of(context).inference
    directory = chosen.case_base_dir or SHIPPED_CASE_BASE
    shown = None if lesions is None else LesionFiles(lesions, territories)
    try:
        # The tellers of progress print; standard output is for the result alone.
        with redirect_stdout(stderr):
            encoder = Encoder.load(chosen.weights_dir or SHIPPED_WEIGHTS, device=chosen.device)
            case_base = CaseBase.load(directory, encoder.manifest)
            if fit:
                known = _known(seeds.VALIDATION[_CALIBRATION_FROM:], calibration_cases, cache, workers, shown)
                seen = ensure_fitting_mimics(cache, MimicKind, fitting_mimics)
                fit_calibration(encoder, case_base, known, seen).save(directory)
            calibration = Calibration.load(directory)
            if calibration is None:
                stop(Exit.NOT_POSSIBLE, "no calibration that belongs to the case base; make one with --fit")
            known = _known(seeds.TEST, cases, cache, workers, shown)
            scores = evaluate_ood(encoder, case_base, calibration, known, ensure_mimics(cache, MimicKind, mimics))
    except InferenceError as error:
        stop(Exit.FAILED, f"{error.reason} [{error.code}] {error.hint}".rstrip())
    except (OSError, ValueError) as error:
        stop(Exit.FAILED, str(error))
    if as_json:
        typer.echo(json.dumps(scores.to_dict(), indent=2))
    else:
        _print(scores)


def _known(of: range, count: int, cache: Path, workers: int, shown: LesionFiles | None) -> list[KnownStudy]:
    import numpy as np

    from pirtad.inference.ood.fit import KnownStudy
    from pirtad.inference.simulation.lesion_masks import open_masks
    from pirtad.inference.simulation.scanners import SHIFTED, TRAINING
    from pirtad.inference.training.cases import balanced_recipes, ensure_cases, load_case

    masks = None if shown is None else open_masks(shown)
    half = count // 2
    recipes = balanced_recipes(of[:half], masks, TRAINING) + balanced_recipes(of[half:count], masks, SHIFTED)
    found = (load_case(path) for path in ensure_cases(cache, recipes, workers, shown))
    return [KnownStudy(case.array.astype(np.float32), case.finding.territory) for case in found]


def _print(scores: OodScores) -> None:
    _print_kinds("Mimics of kinds that the model has seen others of", scores.kinds)
    _print_kinds("The same mimics, each judged by a model that has seen none of its kind", scores.left_out)
    typer.echo(f"{scores.known} held-out familiar studies, {scores.specificity:.1%} of them within the threshold")
    typer.echo("\nProbability that the voted territory is right")
    typer.echo(f"{'said':>12} {'n':>4} {'mean':>6} {'right':>6}")
    for one in scores.reliability:
        typer.echo(f"{one.low:5.1f} to {one.high:.1f} {one.queries:4} {one.said:6.3f} {one.right:6.3f}")
    typer.echo(f"expected calibration error {scores.calibration_error:.3f}")


def _print_kinds(title: str, rows: tuple[KindScore, ...]) -> None:
    typer.echo(title)
    typer.echo(
        f"{'kind':18} {'fitted':>6} {'n':>4} {'refused':>7} {'noticed':>7}  {'AUROC':>5}  95 % interval  unrefused"
    )
    for row in rows:
        unrefused = "     -" if row.auroc_unrefused is None else f"{row.auroc_unrefused:6.3f}"
        typer.echo(
            f"{row.kind:18} {row.fitted_to:6} {row.n:4} {row.refused:7} {row.noticed:7.1%}  {row.auroc:5.3f}  "
            f"{row.low:.3f} to {row.high:.3f} {unrefused:>10}"
        )
    typer.echo("")

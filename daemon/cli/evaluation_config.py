"""What the commands of `pirtad evaluate` that simulate their queries have in common."""

# ruff: noqa: PLC0415 - the command line imports a command's parts only when it runs
from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pirtad.daemon.cli.common import settings_of

if TYPE_CHECKING:
    from pirtad.inference.evaluation.experiment import EvaluationConfig


class SplitName(StrEnum):
    """As in inference.evaluation.queries.Split, which would bring torch along."""

    INTERNAL = "internal"
    SHIFTED = "shifted"


def config_of(
    context: typer.Context,
    weights: Path | None,
    case_base: Path | None,
    lesions: Path | None,
    territories: Path | None,
    split: SplitName,
    n: int,
    normal_share: float,
    seed: int,
    cache: Path,
    workers: int,
) -> EvaluationConfig:
    """From what the commands that simulate queries have in common."""
    if territories is not None and lesions is None:
        raise typer.BadParameter("--territories goes with --lesions")
    from pirtad.inference.engine import SHIPPED_CASE_BASE, SHIPPED_WEIGHTS
    from pirtad.inference.evaluation.experiment import EvaluationConfig
    from pirtad.inference.evaluation.queries import Split
    from pirtad.inference.simulation.lesion_masks import LesionFiles

    settings = settings_of(context)
    if case_base is None:
        # The configured case base belongs to the configured encoder, not to one given here.
        configured = settings.inference.case_base_dir or SHIPPED_CASE_BASE
        case_base = configured if weights is None else weights / "case_base"
    return EvaluationConfig(
        weights=weights or settings.inference.weights_dir or SHIPPED_WEIGHTS,
        case_base=case_base,
        cache=cache,
        lesion_files=None if lesions is None else LesionFiles(lesions, territories),
        split=Split(str(split)),
        n=n,
        normal_share=normal_share,
        seed=seed,
        workers=workers,
        device=settings.inference.device,
    )

"""Figures as JSON: intervals as {"value", "low", "high"}, shares in [0, 1]."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from pirtad.inference.evaluation.experiment import Experiment
from pirtad.inference.evaluation.intervals import Interval
from pirtad.inference.evaluation.retrieval_scores import Figures

_DECIMALS = 6


def document(figures: Figures, experiment: Experiment) -> Figures:
    """The figures at top level, and under "of" what they are of."""
    return {**{name: plain(figure) for name, figure in figures.items()}, "of": experiment.describe()}


def plain(figure: object) -> object:
    """What json.dumps takes, numbers rounded."""
    if isinstance(figure, Interval):
        return {name: round(number, _DECIMALS) for name, number in asdict(figure).items()}
    if isinstance(figure, dict):
        return {str(name): plain(one) for name, one in figure.items()}
    return round(figure, _DECIMALS) if isinstance(figure, float) else figure


def write(found: Figures, path: Path) -> None:
    """Write the JSON; the file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    part.replace(path)

"""Figure 5 of PIRTA for one experiment: case base and queries in one space."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pirtad.inference.evaluation.experiment import Experiment, vectors_of
from pirtad.inference.evaluation.queries import NotEvaluable
from pirtad.inference.evaluation.representation import draw, plane_of, score_representation
from pirtad.inference.evaluation.retrieval_scores import Figures


def represent(experiment: Experiment, png: Path) -> Figures:
    """Figures of case base and queries together, of the queries alone and of the plane; draws the plane at `png`.

    Raises NotEvaluable when the queries are of one class only, or one of each.
    """
    config = experiment.config
    stored, cases = vectors_of(experiment.case_base), experiment.case_base.cases
    asked = np.stack([answer.vector for answer in experiment.answers]).astype(np.float32)
    asked_truths = [answer.truth for answer in experiment.answers]
    vectors = np.concatenate([stored, asked])
    truths = [*(case.finding.territory for case in cases), *asked_truths]
    is_query = np.arange(len(vectors)) >= len(stored)
    try:
        together = score_representation(vectors, truths, config.seed)
        queries = score_representation(asked, asked_truths, config.seed)
    except ValueError as error:
        raise NotEvaluable(f"the queries do not allow it: {error}") from error
    plane = plane_of(vectors, config.seed)
    manifest = experiment.encoder.manifest
    draw(plane, truths, is_query, f"{manifest.name} ({manifest.weights_sha256[:12]}), {config.split} scanners", png)
    return {
        "n": len(asked),
        "cases": len(stored),
        "together": together,
        "queries": queries,
        "plane": score_representation(plane, truths, config.seed),
    }

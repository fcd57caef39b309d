"""One evaluation: queries made, encoded and looked up in the case base, with a record of what was used."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.evaluation.answers import Answer, answers_of
from pirtad.inference.evaluation.queries import HeldOut, NotEvaluable, Split, held_out, opened, query_recipes
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.lesion_masks import LesionFiles
from pirtad.inference.simulation.study import SIMULATION_VERSION
from pirtad.inference.training.cases import ensure_cases


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What is evaluated on what."""

    weights: Path
    """Directory of the encoder."""
    case_base: Path
    """Directory of the case base."""
    cache: Path
    """Directory of simulated and preprocessed cases; made where missing."""
    lesion_files: LesionFiles | None = None
    """Real lesions to simulate; None draws them."""
    split: Split = Split.INTERNAL
    """Scanners of training, or shifted ones."""
    n: int = 200
    """Queries."""
    normal_share: float = 0.25
    """Share of them without an infarct."""
    seed: int = 0
    """Of the choice of queries and of the bootstrap."""
    workers: int = 2
    """Processes that simulate."""
    device: str = "cpu"
    """Where the encoder runs."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What was evaluated, the answers, and what of it could not be asked: queries_left_out of those wanted, and
    masks_left_out, of whose lesion no case came about, for they can not be seen after preprocessing."""

    config: EvaluationConfig
    encoder: Encoder = field(repr=False)
    case_base: CaseBase = field(repr=False)
    answers: list[Answer] = field(repr=False)
    queries_left_out: int
    masks_left_out: int
    held_out: HeldOut | None
    cache: Path
    """Where its cases lie."""

    def describe(self) -> dict[str, object]:
        """Split, lesion set, versions and digests: what a reader needs to make the figures again."""
        config, encoder, info = self.config, self.encoder.manifest, self.case_base.info()
        return {
            "split": str(config.split),
            "scanners": config.split.scanners,
            "seed": config.seed,
            "normal_share": config.normal_share,
            "queries_wanted": config.n,
            "queries_left_out": self.queries_left_out,
            "masks_left_out": self.masks_left_out,
            "lesion_set": self._lesion_set(),
            "versions": {
                "pirtad": version("pirtad"),
                "simulation": SIMULATION_VERSION,
                "preprocessing": PREPROCESSING_VERSION,
            },
            "encoder": {"name": encoder.name, "sha256": encoder.weights_sha256},
            "case_base": {"cases": info.cases, "sha256": info.sha256},
        }

    def _lesion_set(self) -> dict[str, object]:
        files = self.config.lesion_files
        if files is None or self.held_out is None:
            return {"kind": "parametric"}
        return {
            "kind": "masks",
            "file": files.masks.name,
            "sha256": sha256_of(files.masks),
            "held_out_masks": len(self.held_out.subjects),
            "held_out_by": self.held_out.rule,
        }


def run_experiment(config: EvaluationConfig, *, with_maps: bool = False) -> Experiment:
    """Make the queries that are not in the cache yet (progress goes to stdout) and ask them.

    with_maps: the encoder's lesion maps too, where it has a decoder. Raises ModelMismatch, or NotEvaluable when the
    queries can not be made.
    """
    encoder = Encoder.load(config.weights, device=config.device)
    case_base = CaseBase.load(config.case_base, encoder.manifest)
    kept, cache = None, config.cache
    if config.lesion_files is not None:
        masks = opened(config.lesion_files)
        kept = held_out(masks, config.weights, [case.provenance for case in case_base.cases])
        # A case's file is named after the subject; another set may have another lesion under the same name.
        cache /= f"lesions-{sha256_of(config.lesion_files.masks)[:12]}"
    recipes = query_recipes(
        config.n, config.normal_share, config.seed, config.split, None if kept is None else kept.subjects
    )
    paths = ensure_cases(cache, recipes, config.workers, config.lesion_files)
    if not paths:
        raise NotEvaluable("none of the queries can be seen after preprocessing")
    has_decoder = encoder.manifest.config.map_width > 0
    answers = answers_of(encoder, case_base.search, paths, with_maps=with_maps and has_decoder)
    wanted = {recipe.subject for recipe in recipes} - {None}
    return Experiment(
        config=config,
        encoder=encoder,
        case_base=case_base,
        answers=answers,
        queries_left_out=len(recipes) - len(paths),
        masks_left_out=len(wanted - {answer.recipe.subject for answer in answers}),
        held_out=kept,
        cache=cache,
    )


def vectors_of(case_base: CaseBase) -> NDArray[np.float32]:
    """All vectors (N, D), in the order of its cases."""
    return np.concatenate([np.atleast_2d(block) for block in case_base.vectors()])

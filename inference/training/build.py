"""The case base of simulated studies that the product ships, and what its retrieval is worth on held-out ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.lesion_masks import LesionFiles, open_masks
from pirtad.inference.simulation.study import SIMULATION_VERSION
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase, balanced_recipes, ensure_cases, load_case
from pirtad.inference.training.metrics import RetrievalScore, score_retrieval


@dataclass(frozen=True)
class CaseBaseConfig:
    """What a simulated case base is built from."""

    cache: Path
    """Directory of simulated and preprocessed cases; made where missing."""
    encoder: Path
    """Directory of the encoder."""
    out: Path
    """Directory of the case base; replaced as a whole."""
    cases: int = 400
    """Cases, the first of seeds.CASE_BASE."""
    training_normals: int = 0
    """The normal ones among so many training cases as well, the first of seeds.TRAINING: health has more faces than any
    one infarct, and a quarter of the cases does not show them all."""
    test_cases: int = 200
    """Held-out queries, the first of seeds.TEST; 0 leaves the scoring out."""
    workers: int = 2
    """Processes that simulate."""
    lesion_files: LesionFiles | None = None
    """Real lesions to show in two of three infarcts, those held out for tests left out; None draws all."""


@dataclass(frozen=True, slots=True)
class Scores:
    """retrieval: of the case base; head_accuracy and head_confusion (rows truth): of the encoder's linear head."""

    retrieval: RetrievalScore
    head_accuracy: float
    head_confusion: list[list[int]]


def build_simulated_case_base(config: CaseBaseConfig) -> Scores | None:
    """Simulate, preprocess and encode the cases, write the case base, and score it on the held-out test cases.

    The scores go to stdout as JSON. None when no test was asked for.
    """
    encoder = Encoder.load(config.encoder)
    files, recipes = config.lesion_files, _case_recipes(config)
    stored = [load_case(path) for path in ensure_cases(config.cache, recipes, config.workers, files)]
    vectors, _ = _encode(encoder, stored)
    built = CaseBase.build([_case(case) for case in stored], vectors, encoder.manifest)
    case_base = built.save(config.out)
    print(f"case base of {case_base.info().cases} cases, sha256 {case_base.info().sha256}", flush=True)
    if config.test_cases == 0:
        return None
    tests = balanced_recipes(seeds.first(seeds.TEST, config.test_cases))
    scores = evaluate(
        encoder, case_base, [load_case(path) for path in ensure_cases(config.cache, tests, config.workers)]
    )
    print(json.dumps(asdict(scores), indent=2), flush=True)
    return scores


def evaluate(encoder: Encoder, case_base: CaseBase, queries: Sequence[SimulatedCase]) -> Scores:
    """Retrieval of five cases and the linear head's class for queries of known class."""
    vectors, odds = _encode(encoder, queries)
    truths = [case.finding.territory for case in queries]
    classes = tuple(Territory)
    confusion = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for truth, row in zip(truths, odds, strict=True):
        confusion[classes.index(truth), int(row.argmax())] += 1
    return Scores(
        retrieval=score_retrieval(truths, [case_base.search(vector) for vector in vectors]),
        head_accuracy=float(np.trace(confusion) / len(truths)),
        head_confusion=confusion.tolist(),
    )


def report_of(finding: Finding) -> str:
    """The report text that goes with a simulated case: its structured finding and what follows from it."""
    normal = finding.territory is Territory.NORMAL
    return f"Findings: {finding.sentence()}\nImpression: {'No acute infarction.' if normal else 'Acute infarction.'}"


def _case_recipes(config: CaseBaseConfig) -> list[CaseRecipe]:
    masks = None if config.lesion_files is None else open_masks(config.lesion_files)
    recipes = balanced_recipes(seeds.first(seeds.CASE_BASE, config.cases), masks)
    if config.training_normals:
        training = balanced_recipes(seeds.first(seeds.TRAINING, config.training_normals), masks)
        recipes += [recipe for recipe in training if recipe.territory is Territory.NORMAL]
    return recipes


def _case(case: SimulatedCase) -> Case:
    lesion = "" if case.recipe.subject is None else f", lesion of SOOP {case.recipe.subject}"
    return Case(
        case_id=f"sim-{case.seed:06d}",
        finding=case.finding,
        report=report_of(case.finding),
        provenance=f"simulated, version {SIMULATION_VERSION}, seed {case.seed}{lesion}",
    )


def _encode(encoder: Encoder, cases: Sequence[SimulatedCase]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit vectors (N, D) and class probabilities (N, 4)."""
    pairs = [encoder.encode_and_classify(case.array.astype(np.float32)) for case in cases]
    return np.stack([vector for vector, _ in pairs]), np.stack([odds for _, odds in pairs])

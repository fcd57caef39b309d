"""Images of the case base's simulated cases, which keeps none: made again from their provenance, and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from pirtad.inference.evaluation.experiment import Experiment, vectors_of
from pirtad.inference.evaluation.queries import opened
from pirtad.inference.retrieval.case import Case
from pirtad.inference.simulation.study import SIMULATION_VERSION
from pirtad.inference.training.cases import CaseRecipe, SimulatedCase, ensure_cases, load_case

_PROVENANCE = re.compile(
    r"simulated, version (?P<version>\w+), seed (?P<seed>\d+)(?:, lesion of .*?(?P<subject>sub-\w+))?"
)
# Cosine of the stored and the new vector from which the image is the case's. Another case of the same class comes to
# 0.99 and less; float16 in the cache costs under 1e-4.
_SAME = 0.998


def recipe_of(case: Case) -> CaseRecipe | None:
    """What a case of the case base was simulated from, by its provenance; None for a case from elsewhere, and for one
    of another version of the simulation, which would look different now."""
    found = _PROVENANCE.fullmatch(case.provenance)
    if found is None or found["version"] != SIMULATION_VERSION:
        return None
    return CaseRecipe(int(found["seed"]), case.finding.territory, found["subject"])


def queries_of(experiment: Experiment, recipes: Iterable[CaseRecipe]) -> list[SimulatedCase]:
    """The cases of the experiment's own queries, from its cache."""
    config = experiment.config
    return [load_case(path) for path in ensure_cases(experiment.cache, recipes, config.workers, config.lesion_files)]


def images_of(experiment: Experiment, case_ids: Iterable[str]) -> dict[str, SimulatedCase | None]:
    """The case of each id; None where it can not be made again: it is no simulated one, comes from another version of
    the simulation, shows a lesion that is not among the experiment's, or turns out to have another vector."""
    config, encoder = experiment.config, experiment.encoder
    base = experiment.case_base
    by_id = {case.case_id: (case, vector) for case, vector in zip(base.cases, vectors_of(base), strict=True)}
    known = set() if config.lesion_files is None else set(opened(config.lesion_files).subjects)
    recipes: dict[str, CaseRecipe] = {}
    for case_id in dict.fromkeys(case_ids):
        recipe = recipe_of(by_id[case_id][0])
        if recipe is not None and (recipe.subject is None or recipe.subject in known):
            recipes[case_id] = recipe
    paths = ensure_cases(experiment.cache, recipes.values(), config.workers, config.lesion_files)
    made = {case.recipe: case for case in map(load_case, paths)}
    images: dict[str, SimulatedCase | None] = dict.fromkeys(case_ids)
    for case_id, recipe in recipes.items():
        case = made.get(recipe)
        if case is not None:
            vector, _ = encoder.encode_and_classify(case.array.astype(np.float32))
            images[case_id] = case if float(vector @ by_id[case_id][1]) >= _SAME else None
    return images

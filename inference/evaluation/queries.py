"""Which cases are asked about: recipes of simulated studies whose lesions were not trained on."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from pirtad.inference.findings import Territory
from pirtad.inference.simulation.lesion_masks import LesionFiles, LesionMasks, is_for_testing, open_masks
from pirtad.inference.simulation.scanners import SHIFTED, TRAINING
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import CaseRecipe
from pirtad.inference.training.export import TRAINING_LESIONS_FILE

# The patient of a real test case.
_NEVER = frozenset({"sub-3"})
_SUBJECT = re.compile(r"\bsub-[0-9A-Za-z]+")
_INFARCTS = tuple(territory for territory in Territory if territory is not Territory.NORMAL)


class NotEvaluable(Exception):
    """The queries that were asked for can not be made; the text says why."""


class Split(StrEnum):
    """Scanners like those of training, or in ranges disjoint from them (simulation/scanners.toml)."""

    INTERNAL = "internal"
    SHIFTED = "shifted"

    @property
    def scanners(self) -> str:
        """Name of the ranges."""
        return TRAINING if self is Split.INTERNAL else SHIFTED


@dataclass(frozen=True, slots=True)
class HeldOut:
    """subjects: whose lesions may be asked about, with the class of each, by name; rule: how they were told apart from
    those of training."""

    subjects: dict[str, Territory]
    rule: str


def held_out(masks: LesionMasks, weights: Path, case_base_provenances: Iterable[str]) -> HeldOut:
    """The subjects of `masks` in neither training nor case base.

    `training_lesions.txt` in `weights` names those of training, one a line. Without it only those that training never
    takes (simulation.lesion_masks.is_for_testing) are held out for certain.
    """
    listed = weights / TRAINING_LESIONS_FILE
    if listed.is_file():
        trained = set(listed.read_text(encoding="utf-8").split())
        rule = f"not in {TRAINING_LESIONS_FILE}"
    else:
        trained = {subject for subject in masks.subjects if not is_for_testing(subject)}
        rule = f"every fifth by its name, which training leaves out (no {TRAINING_LESIONS_FILE} beside the weights)"
    shown = {subject for text in case_base_provenances for subject in _SUBJECT.findall(text)}
    left = [subject for subject in masks.subjects if subject not in trained | shown | _NEVER]
    return HeldOut({subject: masks.territory(subject) for subject in left}, rule)


def opened(lesion_files: LesionFiles) -> LesionMasks:
    """The masks. Raises NotEvaluable with the reason when they can not be used."""
    try:
        return open_masks(lesion_files)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise NotEvaluable(str(error)) from error


def query_recipes(
    n: int, normal_share: float, seed: int, split: Split, subjects: dict[str, Territory] | None = None
) -> list[CaseRecipe]:
    """n recipes, `normal_share` of them normal, with seeds of seeds.TEST.

    With subjects, the infarcts show their lesions: in an order drawn by the seed, so in their natural distribution of
    classes, each once before one comes twice. Without, they are drawn, the classes in turn. The same arguments give the
    same recipes. Raises NotEvaluable for a number that is not possible.
    """
    if not 0 < n <= len(seeds.TEST) or not 0 <= normal_share <= 1:
        raise NotEvaluable(f"{n} queries with {normal_share:g} normal: 1 to {len(seeds.TEST)}, and 0 to 1")
    rng = np.random.default_rng(seed)
    drawn = [seeds.TEST[int(place)] for place in rng.permutation(len(seeds.TEST))[:n]]
    normal = round(n * normal_share)
    infarcts = _infarcts(n - normal, rng, subjects)
    kinds: list[tuple[Territory, str | None]] = [(Territory.NORMAL, None)] * normal + infarcts
    return [
        CaseRecipe(one, territory, subject, split.scanners)
        for one, (territory, subject) in zip(drawn, kinds, strict=True)
    ]


def _infarcts(
    count: int, rng: np.random.Generator, subjects: dict[str, Territory] | None
) -> list[tuple[Territory, str | None]]:
    if subjects is None:
        return [(_INFARCTS[number % len(_INFARCTS)], None) for number in range(count)]
    if count and not subjects:
        raise NotEvaluable("every lesion of the set was trained on or is in the case base")
    names = sorted(subjects)
    order = [names[int(place)] for place in rng.permutation(len(names))]
    chosen = [order[number % len(order)] for number in range(count)]
    return [(subjects[subject], subject) for subject in chosen]

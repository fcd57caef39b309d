"""Batches for training: cached cases varied anew each time, a quarter of them with an infarct put in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pirtad.inference.findings import Territory
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.training.augment import insert_infarct, vary
from pirtad.inference.training.cases import load_case
from pirtad.inference.training.normal_variation import vary_anatomy
from pirtad.inference.training.objective import Batch, collate
from pirtad.inference.training.voxels import BrainVoxels, voxels_of

_INFARCTS = tuple(territory for territory in Territory if territory is not Territory.NORMAL)


class TrainingSet:
    """All cases in memory (about 1.5 MB each)."""

    def __init__(self, paths: Sequence[Path]) -> None:
        with ThreadPoolExecutor(2) as pool:
            cases = list(pool.map(lambda path: voxels_of(load_case(path)), paths))
        self._by_class = {
            territory: [case for case in cases if case.finding.territory is territory] for territory in Territory
        }
        empty = [territory for territory, members in self._by_class.items() if not members]
        if empty:
            raise ValueError(f"no training cases of {', '.join(empty)}")

    def __len__(self) -> int:
        return sum(len(members) for members in self._by_class.values())

    def draw(self, count: int, seed: tuple[int, int]) -> list[BrainVoxels]:
        """`count` cases, a quarter of each class; a third of the infarcts are put into normal cases on the spot.

        The same seed gives the same cases, so that an interrupted training goes on as it would have.
        """
        rng = np.random.default_rng(seed)
        return [self._one(tuple(Territory)[number % 4], rng) for number in range(count)]

    def _one(self, territory: Territory, rng: np.random.Generator) -> BrainVoxels:
        insert = territory is not Territory.NORMAL and rng.random() < 1 / 3
        members = self._by_class[Territory.NORMAL if insert else territory]
        case = members[int(rng.integers(len(members)))]
        if insert:
            case = insert_infarct(case, territory, rng)
        return vary(vary_anatomy(case, rng), rng)


def batches(cases: TrainingSet, config: ViTConfig, size: int, seed: int, steps: range) -> Iterator[Batch]:
    """The batch of each step; the next is prepared while one is used."""

    def prepare(step: int) -> Batch:
        return collate(cases.draw(size, (seed, step)), config)

    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(prepare, steps.start) if len(steps) else None
        for step in steps:
            assert coming is not None
            batch = coming.result()
            if step + 1 in steps:
                coming = pool.submit(prepare, step + 1)
            yield batch

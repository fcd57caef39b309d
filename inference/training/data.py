"""Batches for training: cached cases varied anew each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset

from pirtad.inference.findings import Territory
from pirtad.inference.training.augment import insert_infarct, vary
from pirtad.inference.training.cases import load_case
from pirtad.inference.training.configuration import Augmentation
from pirtad.inference.training.normal_variation import vary_anatomy
from pirtad.inference.training.voxels import BrainVoxels, voxels_of

B = TypeVar("B")
_BATCHES_AHEAD = 2


class TrainingSet:
    """All cases in memory (about 1.5 MB each). The same seed draws the same cases, so that an interrupted training
    goes on as it would have."""

    def __init__(self, paths: Sequence[Path], augmentation: Augmentation = "full") -> None:
        with ThreadPoolExecutor(2) as pool:
            self._cases = list(pool.map(lambda path: voxels_of(load_case(path)), paths))
        self._by_class = {
            territory: [case for case in self._cases if case.finding.territory is territory] for territory in Territory
        }
        empty = [territory for territory, members in self._by_class.items() if not members]
        if empty:
            raise ValueError(f"no training cases of {', '.join(empty)}")
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._cases)

    def draw(self, count: int, seed: tuple[int, int]) -> list[BrainVoxels]:
        """`count` cases, a quarter of each class. With full augmentation a third of the infarcts are put into normal
        cases on the spot."""
        rng = np.random.default_rng(seed)
        return [self._one(tuple(Territory)[number % 4], rng) for number in range(count)]

    def draw_unlabelled(self, count: int, seed: tuple[int, int]) -> list[BrainVoxels]:
        """`count` cases, whatever their class; none twice where there are enough."""
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(self._cases), size=count, replace=count > len(self._cases))
        return [self._varied(self._cases[number], rng) for number in chosen]

    def _one(self, territory: Territory, rng: np.random.Generator) -> BrainVoxels:
        insert = self._augmentation == "full" and territory is not Territory.NORMAL and rng.random() < 1 / 3
        members = self._by_class[Territory.NORMAL if insert else territory]
        case = members[int(rng.integers(len(members)))]
        if insert:
            case = insert_infarct(case, territory, rng)
        return self._varied(case, rng)

    def _varied(self, case: BrainVoxels, rng: np.random.Generator) -> BrainVoxels:
        if self._augmentation == "full":
            case = vary_anatomy(case, rng)
        return case if self._augmentation == "none" else vary(case, rng)


def in_advance(prepare: Callable[[int], B], steps: range, loaders: int) -> Iterator[B]:
    """`prepare(step)` for each step, prepared while earlier ones are used.

    By `loaders` forked processes, which share the cases' memory, or by a thread where `loaders` is 0.
    """
    if loaders and len(steps):
        yield from DataLoader(
            _Prepared(prepare),
            batch_size=None,
            sampler=steps,
            num_workers=loaders,
            prefetch_factor=_BATCHES_AHEAD,
            multiprocessing_context="fork",
        )
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(prepare, steps.start) if len(steps) else None
        for step in steps:
            assert coming is not None
            batch = coming.result()
            if step + 1 in steps:
                coming = pool.submit(prepare, step + 1)
            yield batch


class _Prepared(Dataset[B]):
    """What a loader's process runs."""

    def __init__(self, prepare: Callable[[int], B]) -> None:
        self._prepare = prepare

    def __getitem__(self, step: int) -> B:
        return self._prepare(step)

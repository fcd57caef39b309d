"""Mimics as the network sees them, made once and kept: new weights need only encode them again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.simulation.mimics import MIMIC_VERSION, MimicKind, simulate_mimic
from pirtad.inference.simulation.study import SIMULATION_VERSION

# Seeds of mimics that serve measuring; nothing is fitted to them. Kinds share them, and with them heads and scanners.
MIMIC_SEEDS = range(600_000, 610_000)
# Seeds of mimics that serve fitting. No two kinds share one: each mimic has a head of its own to be told apart from.
MIMIC_FITTING_SEEDS = range(500_000, 510_000)


@dataclass(frozen=True, slots=True)
class MimicSample:
    """array: float32 (2, 96, 112, 48), or None where preprocessing refused the pair; refusal: the code, or ""."""

    kind: MimicKind
    seed: int
    array: NDArray[np.float32] | None
    refusal: str


def ensure_mimics(cache: Path, kinds: Iterable[MimicKind], per_kind: int) -> list[MimicSample]:
    """The first `per_kind` mimics of each kind for measuring; those that are not in the cache yet are made."""
    return _ensure(cache, [(kind, seed) for kind in kinds for seed in MIMIC_SEEDS[:per_kind]])


def ensure_fitting_mimics(cache: Path, kinds: Iterable[MimicKind], per_kind: int) -> list[MimicSample]:
    """The first `per_kind` mimics of each kind for fitting; those that are not in the cache yet are made."""
    every = tuple(MimicKind)
    seeds = {kind: MIMIC_FITTING_SEEDS[every.index(kind) :: len(every)][:per_kind] for kind in kinds}
    return _ensure(cache, [(kind, seed) for kind, chosen in seeds.items() for seed in chosen])


def _ensure(cache: Path, wanted: list[tuple[MimicKind, int]]) -> list[MimicSample]:
    """In this process, with one thread each for torch and SimpleITK."""
    before = torch.get_num_threads(), sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        return [_sample(cache, kind, seed) for kind, seed in wanted]
    finally:
        torch.set_num_threads(before[0])
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before[1])


def _sample(cache: Path, kind: MimicKind, seed: int) -> MimicSample:
    folder = cache / f"mimic{MIMIC_VERSION}-sim{SIMULATION_VERSION}-pre{PREPROCESSING_VERSION}"
    path = folder / f"{kind}-{seed}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Half precision, as training's cases are kept: known studies and mimics must not differ in their rounding.
        array, refusal = np.zeros(0, dtype=np.float16), ""
        try:
            array = preprocess(simulate_mimic(seed, kind)).array.astype(np.float16)
        except StudyNotUsable as error:
            refusal = error.code
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with part.open("wb") as out:
            np.savez_compressed(out, array=array, refusal=np.array(refusal))
        part.replace(path)
    with np.load(path, allow_pickle=False) as stored:
        refusal = str(stored["refusal"])
        return MimicSample(kind, seed, None if refusal else stored["array"].astype(np.float32), refusal)

"""Simulated and preprocessed cases on disk: made once, with the same `preprocess` as the product, read by training."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.preprocess.resample import resample_mask
from pirtad.inference.simulation.atlas import LABEL_OF
from pirtad.inference.simulation.study import SIMULATION_VERSION, simulate
from pirtad.inference.training.seeds import territory_of


@dataclass(frozen=True, slots=True)
class SimulatedCase:
    """array: float16 (2, 96, 112, 48), the network's input; on the same grid lesion: bool (96, 112, 48), the infarct,
    and territories: uint8 (96, 112, 48), the arterial territory of each voxel (simulation.atlas.LABEL_OF, 0 none)."""

    seed: int
    array: NDArray[np.float16]
    lesion: NDArray[np.bool_]
    territories: NDArray[np.uint8]
    finding: Finding
    side: str | None
    volume_ml: float


def case_path(cache: Path, seed: int) -> Path:
    """Where the case of this seed lies; another version of the code looks elsewhere."""
    return cache / f"sim{SIMULATION_VERSION}-pre{PREPROCESSING_VERSION}" / f"{seed:06d}.npz"


def make_case(seed: int) -> SimulatedCase:
    """Simulate and preprocess one case. Raises StudyNotUsable when preprocessing refuses it."""
    study = simulate(seed, territory_of(seed))
    ready = preprocess(study.pair)
    lesion = resample_mask(study.truth.lesion_mask, study.dwi.affine, ready.affine, SHAPE)
    territories = np.zeros(SHAPE, dtype=np.uint8)
    for label in LABEL_OF.values():
        there = resample_mask(study.truth.territories == label, study.dwi.affine, ready.affine, SHAPE)
        territories[there & ready.mask] = label
    truth = study.truth
    return SimulatedCase(
        seed=seed,
        array=ready.array.astype(np.float16),
        lesion=lesion & ready.mask,
        territories=territories,
        finding=truth.finding,
        side=truth.side,
        volume_ml=truth.volume_ml,
    )


def save_case(case: SimulatedCase, path: Path) -> None:
    """Write one case; the file appears whole or not at all."""
    finding = case.finding
    label = {
        "seed": case.seed,
        "territory": finding.territory,
        "signal_class": finding.signal_class,
        "infarct_type": finding.infarct_type,
        "side": case.side,
        "volume_ml": case.volume_ml,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as out:
        np.savez_compressed(
            out,
            array=case.array,
            lesion=np.packbits(case.lesion),
            territories=case.territories,
            label=np.array(json.dumps(label)),
        )
    part.replace(path)


def load_case(path: Path) -> SimulatedCase:
    """The inverse of `save_case`."""
    with np.load(path, allow_pickle=False) as stored:
        label = json.loads(str(stored["label"]))
        array, territories = stored["array"], stored["territories"]
        lesion = np.unpackbits(stored["lesion"], count=int(np.prod(SHAPE))).reshape(SHAPE).astype(np.bool_)
    described = label["signal_class"] is not None
    finding = Finding(
        Territory(label["territory"]),
        SignalClass(label["signal_class"]) if described else None,
        InfarctType(label["infarct_type"]) if described else None,
    )
    return SimulatedCase(label["seed"], array, lesion, territories, finding, label["side"], label["volume_ml"])


def ensure_cases(cache: Path, seeds: Iterable[int], workers: int) -> list[Path]:
    """Make the cases that are not in the cache yet, in `workers` processes, and say how it goes on stdout.

    Returns the files in the order of the seeds; a case that preprocessing refuses is named and left out.
    """
    wanted = list(seeds)
    missing = [seed for seed in wanted if not case_path(cache, seed).exists()]
    if missing:
        started = time.monotonic()
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers, initializer=_one_thread) as pool:
            jobs = ((cache, seed) for seed in missing)
            for done, refusal in enumerate(pool.imap_unordered(_make_and_save, jobs, chunksize=4), start=1):
                if refusal is not None:
                    print(refusal, flush=True)
                if done % 50 == 0 or done == len(missing):
                    rate = done / (time.monotonic() - started)
                    left_s = (len(missing) - done) / rate
                    print(f"cases {done}/{len(missing)}, {rate:.2f}/s, {left_s:.0f} s left", flush=True)
    return [path for seed in wanted if (path := case_path(cache, seed)).exists()]


def _one_thread() -> None:
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _make_and_save(job: tuple[Path, int]) -> str | None:
    cache, seed = job
    try:
        save_case(make_case(seed), case_path(cache, seed))
    except StudyNotUsable as error:
        return f"seed {seed} left out: {error.code}: {error.reason}"
    return None

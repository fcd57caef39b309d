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
from pirtad.inference.simulation.atlas import LABEL_OF, load_atlas
from pirtad.inference.simulation.lesion_masks import LesionFiles, LesionMasks, is_for_testing, open_masks
from pirtad.inference.simulation.scanners import TRAINING, scanners
from pirtad.inference.simulation.study import SIMULATION_VERSION, InvisibleLesion, simulate
from pirtad.inference.training.seeds import territory_of

_LEFT_OUT = ".left_out"


@dataclass(frozen=True, slots=True)
class CaseRecipe:
    """All that a simulated case follows from. subject: whose lesion it shows, None for one that is drawn; scanners:
    a name of simulation/scanners.toml."""

    seed: int
    territory: Territory
    subject: str | None = None
    scanners: str = TRAINING

    @property
    def name(self) -> str:
        """Stem of its file in the cache."""
        drawn = "" if self.subject is None else f"-{self.subject}"
        return f"{self.seed:06d}-{self.scanners}-{self.territory}{drawn}"


def balanced_recipes(
    seeds: Iterable[int], masks: LesionMasks | None = None, scanner_name: str = TRAINING
) -> list[CaseRecipe]:
    """A recipe for each seed, the classes in turn. With masks, two of three infarcts show a real lesion of those that
    may be trained on, chosen by the seed; the others are drawn, some of them below the masks' lower cut."""
    by_class: dict[Territory, list[str]] = {territory: [] for territory in Territory}
    if masks is not None:
        for name in masks.subjects:
            if not is_for_testing(name):
                by_class[masks.territory(name)].append(name)
    recipes: list[CaseRecipe] = []
    for seed in seeds:
        territory = territory_of(seed)
        turn, members = seed // len(Territory), by_class[territory]
        subject = members[turn * 7919 % len(members)] if members and turn % 3 else None
        recipes.append(CaseRecipe(seed, territory, subject, scanner_name))
    return recipes


@dataclass(frozen=True, slots=True)
class SimulatedCase:
    """array: float16 (2, 96, 112, 48), the network's input; on the same grid lesion: bool (96, 112, 48), the infarct,
    and territories: uint8 (96, 112, 48), the arterial territory of each voxel (simulation.atlas.LABEL_OF, 0 none).
    The rest as in simulation.study.Truth."""

    recipe: CaseRecipe
    array: NDArray[np.float16]
    lesion: NDArray[np.bool_]
    territories: NDArray[np.uint8]
    finding: Finding
    side: str | None
    bilateral: bool
    volume_ml: float
    shares: dict[Territory, float]
    mean_adc_mm2_per_s: float | None

    @property
    def seed(self) -> int:
        """Of its recipe."""
        return self.recipe.seed


def case_path(cache: Path, recipe: CaseRecipe) -> Path:
    """Where the case of this recipe lies; another version of the code looks elsewhere."""
    return cache / f"sim{SIMULATION_VERSION}-pre{PREPROCESSING_VERSION}" / f"{recipe.name}.npz"


def make_case(recipe: CaseRecipe, masks: LesionMasks | None = None) -> SimulatedCase:
    """Simulate and preprocess one case; `masks` holds the lesion of its subject.

    Raises StudyNotUsable when preprocessing refuses it, InvisibleLesion when nobody could see the infarct, ValueError
    when the recipe names a subject and there are no masks.
    """
    shown = None
    if recipe.subject is not None:
        if masks is None:
            raise ValueError(f"no masks to take the lesion of {recipe.subject} from")
        shown = masks.lesion(recipe.subject, load_atlas())
    study = simulate(recipe.seed, recipe.territory, scanner_ranges=scanners(recipe.scanners), lesion=shown)
    ready = preprocess(study.pair)
    lesion = resample_mask(study.truth.lesion_mask, study.dwi.affine, ready.affine, SHAPE)
    territories = np.zeros(SHAPE, dtype=np.uint8)
    for label in LABEL_OF.values():
        there = resample_mask(study.truth.territories == label, study.dwi.affine, ready.affine, SHAPE)
        territories[there & ready.mask] = label
    truth = study.truth
    return SimulatedCase(
        recipe=recipe,
        array=ready.array.astype(np.float16),
        lesion=lesion & ready.mask,
        territories=territories,
        finding=truth.finding,
        side=truth.side,
        bilateral=truth.bilateral,
        volume_ml=truth.volume_ml,
        shares=truth.shares,
        mean_adc_mm2_per_s=truth.mean_adc_mm2_per_s,
    )


def save_case(case: SimulatedCase, path: Path) -> None:
    """Write one case; the file appears whole or not at all."""
    finding = case.finding
    label = {
        "seed": case.recipe.seed,
        "territory": finding.territory,
        "subject": case.recipe.subject,
        "scanners": case.recipe.scanners,
        "signal_class": finding.signal_class,
        "infarct_type": finding.infarct_type,
        "side": case.side,
        "bilateral": case.bilateral,
        "volume_ml": case.volume_ml,
        "shares": case.shares,
        "mean_adc_mm2_per_s": case.mean_adc_mm2_per_s,
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
    return SimulatedCase(
        recipe=CaseRecipe(label["seed"], finding.territory, label["subject"], label["scanners"]),
        array=array,
        lesion=lesion,
        territories=territories,
        finding=finding,
        side=label["side"],
        bilateral=label["bilateral"],
        volume_ml=label["volume_ml"],
        shares={Territory(name): share for name, share in label["shares"].items()},
        mean_adc_mm2_per_s=label["mean_adc_mm2_per_s"],
    )


def ensure_cases(
    cache: Path, recipes: Iterable[CaseRecipe], workers: int, lesion_files: LesionFiles | None = None
) -> list[Path]:
    """Make the cases that are not in the cache yet, in `workers` processes, and say how it goes on stdout.

    Returns the files in the order of the recipes; a case that preprocessing refuses, or whose infarct nobody could
    see, is named and left out.
    """
    wanted = list(recipes)
    missing = [recipe for recipe in wanted if not case_path(cache, recipe).exists() and not _left_out(cache, recipe)]
    if missing:
        started = time.monotonic()
        context = multiprocessing.get_context("spawn")
        with context.Pool(workers, initializer=_one_thread) as pool:
            jobs = ((cache, recipe, lesion_files) for recipe in missing)
            for done, refusal in enumerate(pool.imap_unordered(_make_and_save, jobs, chunksize=4), start=1):
                if refusal is not None:
                    print(refusal, flush=True)
                if done % 50 == 0 or done == len(missing):
                    rate = done / (time.monotonic() - started)
                    left_s = (len(missing) - done) / rate
                    print(f"cases {done}/{len(missing)}, {rate:.2f}/s, {left_s:.0f} s left", flush=True)
    return [path for recipe in wanted if (path := case_path(cache, recipe)).exists()]


def _left_out(cache: Path, recipe: CaseRecipe) -> bool:
    """Say why an earlier attempt made no case of it, if one did: what follows from a recipe does not change."""
    note = case_path(cache, recipe).with_suffix(_LEFT_OUT)
    if not note.exists():
        return False
    print(note.read_text(encoding="utf-8"), flush=True)
    return True


def _one_thread() -> None:
    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _make_and_save(job: tuple[Path, CaseRecipe, LesionFiles | None]) -> str | None:
    cache, recipe, lesion_files = job
    masks = None if lesion_files is None else open_masks(lesion_files)
    try:
        save_case(make_case(recipe, masks), case_path(cache, recipe))
    except StudyNotUsable as error:
        reason = f"{error.code}: {error.reason}"
    except InvisibleLesion:
        reason = "too small, outside the field of view, or no different from its surroundings"
    else:
        return None
    note = case_path(cache, recipe).with_suffix(_LEFT_OUT)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(f"{recipe.name} left out: {reason}", encoding="utf-8")
    return note.read_text(encoding="utf-8")

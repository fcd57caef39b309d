"""A simulated diffusion study with its truth: what the product is trained on, tested with and shown with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from pirtad.inference.dicom.volumes.adc_unit import tissue_values, unit_of
from pirtad.inference.findings import Finding, SignalClass, Territory
from pirtad.inference.lesion.foci import LEAST_OF_OTHER_SIDE, foci_of
from pirtad.inference.simulation.acquisition import acquire, draw_scan, interpolate_in_plane, sample
from pirtad.inference.simulation.atlas import LABEL_OF, SPACING_MM, Atlas, load_atlas
from pirtad.inference.simulation.confounders import add_confounders
from pirtad.inference.simulation.draw import Draw
from pirtad.inference.simulation.lesions import Lesion, draw_lesion, share_in
from pirtad.inference.simulation.normal_variation import vary_normal_tissue
from pirtad.inference.simulation.scanners import TRAINING, Scanners, scanners
from pirtad.inference.simulation.tissue import TissueMaps, draw_tissue
from pirtad.inference.volume import DiffusionPair, Volume

# Raised whenever the same seed would give another study.
SIMULATION_VERSION = "4"
SMALLEST_LESION_ML = 0.5
LEAST_SHARE_IN_TERRITORY = 0.8
# An infarct that can not be seen is in no radiology report: against the median of the rest of its territory its median
# has to be brighter on DWI and lower on ADC by this much. Chosen; see ADR 0004.
LEAST_DWI_RATIO = 1.25
LARGEST_ADC_RATIO = 0.8
# An infarct that no reader would overlook; chosen.
CLEAR_ML = 5.0
# Signal of infarct over normal tissue at which a reader would call it strong; chosen, the paper gives no number.
STRONG_FROM = 1.6
_CONTRAST = {SignalClass.MILD: (1.25, STRONG_FROM), SignalClass.STRONG: (STRONG_FROM, 2.8)}
_NORMAL_ADC = 0.8e-3
_ATTEMPTS = 20
_ATTEMPTS_WITH_GIVEN = 4


class InvisibleLesion(RuntimeError):
    """The lesion is too small, outside the field of view, or no different from its surroundings."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What was put in. side: "left", "right" (the patient's, of the larger part) or None; bilateral: the other side has
    a tenth or more; volume_ml: on the DWI grid; shares: of the lesion's labelled voxels in each territory; foci: of
    0.1 ml and more; mean_adc_mm2_per_s: within the lesion on the map, None without one; lesion_mask: bool on the DWI
    grid, empty for a normal study; territories: uint8 on the DWI grid, the arterial territory of each voxel, infarct
    or not (atlas.LABEL_OF, 0 none)."""

    territory: Territory
    finding: Finding
    side: str | None
    bilateral: bool
    volume_ml: float
    shares: dict[Territory, float]
    foci: int
    mean_adc_mm2_per_s: float | None
    lesion_mask: NDArray[np.bool_]
    territories: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SimulatedStudy:
    """dwi in arbitrary units and adc_mm2_per_s on the same grid, like a scanner's trace image and ADC map."""

    dwi: Volume
    adc_mm2_per_s: Volume
    b_value_s_per_mm2: float
    truth: Truth

    @property
    def pair(self) -> DiffusionPair:
        """What preprocessing takes."""
        return DiffusionPair(self.dwi, self.adc_mm2_per_s, self.b_value_s_per_mm2)


def simulate(
    seed: int, territory: Territory, *, scanner_ranges: Scanners | None = None, lesion: Lesion | None = None
) -> SimulatedStudy:
    """The study of this seed with an infarct in the territory (none for NORMAL), the same for the same arguments.

    scanner_ranges: to draw scanner and protocol from; None is "training". lesion: this one, whose dominant territory
    is `territory`, instead of one that is drawn.

    Raises InvisibleLesion when no infarct of at least SMALLEST_LESION_ML could be made visible in the field of view.
    """
    atlas = load_atlas()
    draw = Draw(seed)
    ranges = scanner_ranges or scanners(TRAINING)
    attempts = _ATTEMPTS if lesion is None else _ATTEMPTS_WITH_GIVEN
    if lesion is not None and float(lesion.weight.sum()) * SPACING_MM**3 / 1000 < SMALLEST_LESION_ML:
        attempts = 0
    for _ in range(attempts):
        given = lesion
        if given is None and territory is not Territory.NORMAL:
            given = _draw_clear_lesion(atlas, territory, draw)
        study = _scan(atlas, territory, given, ranges, draw)
        if given is None or _can_be_seen(study):
            return study
    raise InvisibleLesion(f"seed {seed}: no visible {territory} infarct of {SMALLEST_LESION_ML} ml or more")


def simulate_clear(seeds: Iterator[int], territory: Territory) -> SimulatedStudy:
    """The first study of these seeds whose infarct measures at least CLEAR_ML, or the first one for NORMAL.

    For demonstrations and for tests of the way a study takes: what the encoder makes of small infarcts is measured
    elsewhere, over all sizes.
    """
    for seed in seeds:
        study = simulate(seed, territory)
        if territory is Territory.NORMAL or study.truth.volume_ml >= CLEAR_ML:
            return study
    raise RuntimeError(f"no {territory} infarct of {CLEAR_ML} ml among these seeds")


def _can_be_seen(study: SimulatedStudy) -> bool:
    truth = study.truth
    rest = (truth.territories == LABEL_OF[truth.territory]) & ~truth.lesion_mask
    if truth.volume_ml < SMALLEST_LESION_ML or not rest.any():
        return False
    dwi, adc = (
        np.median(volume.array[truth.lesion_mask]) / max(float(np.median(volume.array[rest])), 1e-12)
        for volume in (study.dwi, study.adc_mm2_per_s)
    )
    return bool(dwi >= LEAST_DWI_RATIO and adc <= LARGEST_ADC_RATIO)


def _draw_clear_lesion(atlas: Atlas, territory: Territory, draw: Draw) -> Lesion:
    for _ in range(_ATTEMPTS):
        lesion = draw_lesion(atlas, territory, draw)
        if share_in(atlas, lesion.weight, territory) >= LEAST_SHARE_IN_TERRITORY:
            return lesion
    raise RuntimeError(f"no {territory} infarct with {LEAST_SHARE_IN_TERRITORY:.0%} in its territory")


def _scan(atlas: Atlas, territory: Territory, lesion: Lesion | None, ranges: Scanners, draw: Draw) -> SimulatedStudy:
    maps = draw_tissue(atlas, ranges, draw)
    vary_normal_tissue(maps, atlas, draw)
    add_confounders(maps, atlas, draw)
    finding = Finding(Territory.NORMAL)
    weight = torch.zeros(atlas.shape)
    if lesion is not None:
        signal_class = draw.choice((SignalClass.STRONG, SignalClass.MILD), (0.6, 0.4))
        _restrict_diffusion(maps, atlas, lesion.weight, signal_class, draw)
        finding = Finding(territory, signal_class, lesion.infarct_type)
        weight = lesion.weight

    b_value = ranges.draw_b_value(draw)
    scan = draw_scan(ranges, draw)
    labels = [(atlas.territory == label).float() for label in LABEL_OF.values()]
    marked = torch.stack([weight, weight * atlas.left, atlas.brain.float(), *labels])
    stack = torch.cat([maps.signals(b_value), marked])
    seen = sample(stack, atlas, scan, substeps=2 if scan.thickness_mm < 4 else 3)
    dwi, adc = acquire(seen[:2], b_value, ranges, draw)
    lesion_seen, left_seen, labels_seen = seen[2], seen[3], _strongest(seen[5:])
    if draw.chance(0.2):  # archives hold volumes with the skull already taken off
        brain = (seen[4] > 0.5).float()
        dwi, adc = dwi * brain, adc * brain
    adc = _as_stored(dwi, adc, ranges.adc_unit_mm2_per_s)
    affine = scan.affine
    if draw.chance(0.35):
        dwi, finer = interpolate_in_plane(dwi, affine, 2)
        adc, _ = interpolate_in_plane(adc, affine, 2)
        lesion_seen, _ = interpolate_in_plane(lesion_seen, affine, 2)
        labels_seen = labels_seen.repeat_interleave(2, 0).repeat_interleave(2, 1)
        affine = finer
    lesion_mask = (lesion_seen > 0.5).numpy()
    volume_ml = float(lesion_mask.sum() * abs(np.linalg.det(affine[:3, :3])) / 1000)
    seen_left = float(left_seen.sum()) / max(float(seen[2].sum()), 1e-6)
    on_left = 1 - seen_left if scan.mirrored else seen_left
    return SimulatedStudy(
        dwi=Volume(dwi.numpy().astype(np.float32), affine),
        adc_mm2_per_s=Volume(adc.numpy().astype(np.float32), affine),
        b_value_s_per_mm2=b_value,
        truth=Truth(
            territory=territory,
            finding=finding,
            side=None if lesion is None else ("left" if on_left > 0.5 else "right"),
            bilateral=lesion is not None and min(on_left, 1 - on_left) >= LEAST_OF_OTHER_SIDE,
            volume_ml=volume_ml,
            shares=_shares(lesion_mask, labels_seen.numpy()),
            foci=len(foci_of(lesion_mask, affine)),
            mean_adc_mm2_per_s=float(adc.numpy()[lesion_mask].mean()) if lesion_mask.any() else None,
            lesion_mask=lesion_mask,
            territories=labels_seen.numpy(),
        ),
    )


def _shares(lesion: NDArray[np.bool_], territories: NDArray[np.uint8]) -> dict[Territory, float]:
    """Share of the lesion's labelled voxels in each territory; empty without one."""
    labelled = int((territories[lesion] > 0).sum())
    if labelled == 0:
        return {}
    return {territory: float((territories[lesion] == label).sum() / labelled) for territory, label in LABEL_OF.items()}


def _as_stored(dwi: torch.Tensor, adc_mm2_per_s: torch.Tensor, unit_mm2_per_s: float) -> torch.Tensor:
    """The map as a scanner stores it, in whole 1e-6 mm2/s or in decimals of 1e-3, and as pirtad reads it again."""
    decimals = 0 if unit_mm2_per_s < 1e-4 else 2
    stored = (adc_mm2_per_s / unit_mm2_per_s).round(decimals=decimals)
    unit = unit_of(tissue_values(stored.numpy(), dwi.numpy()), None)
    return stored * unit


def _strongest(shares: torch.Tensor) -> torch.Tensor:
    """Label uint8 (I, J, K) of the territory with most of each voxel, from shares (3, I, J, K); 0 below a half."""
    most, which = shares.max(0)
    labels = torch.tensor(tuple(LABEL_OF.values()), dtype=torch.uint8)
    return torch.where(most > 0.5, labels[which], torch.zeros((), dtype=torch.uint8))


def _restrict_diffusion(
    maps: TissueMaps, atlas: Atlas, weight: torch.Tensor, signal_class: SignalClass, draw: Draw
) -> None:
    """ADC down to 0.30-0.65e-3 mm2/s (Lansberg et al., Neurology 57, 2001), T2 up by what the hours have brought."""
    low, high = _CONTRAST[signal_class]
    adc = draw.uniform(0.30, 0.62) * 1e-3
    contrast = draw.uniform(low, high)
    brighter = contrast / float(np.exp(1000 * (_NORMAL_ADC - adc)))
    if signal_class is SignalClass.MILD and brighter < 0.95:
        adc = draw.uniform(0.50, 0.62) * 1e-3
        brighter = max(0.95, contrast / float(np.exp(1000 * (_NORMAL_ADC - adc))))
    mottled = torch.exp(draw.uniform(0.02, 0.18) * draw.smooth_field(atlas.shape, (24, 28, 24)))
    infarct_adc = adc * mottled
    maps.parenchyma_s0 *= 1 + (brighter - 1) * weight
    maps.parenchyma_adc_mm2_per_s = maps.parenchyma_adc_mm2_per_s * (1 - weight) + infarct_adc * weight

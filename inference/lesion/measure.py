"""From the network's lesion map to a mask on the DWI's own grid and what can be measured within it.

map -> suspected lesion on the DWI's grid -> head onto the atlas, lesion left out -> foci whose diffusion is restricted
-> volume, side, diffusivity, arterial regions

The head is brought onto the atlas once, with a lesion or without: what the images cover is told from it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.atlas import REGIONS, TERRITORY_OF_REGION, load_regions
from pirtad.inference.lesion.cut_head import register_imaged
from pirtad.inference.lesion.diffusivity import AdcMap, adc_map
from pirtad.inference.lesion.foci import LEAST_OF_OTHER_SIDE, foci_of, suspected_lesion, voxel_ml
from pirtad.inference.lesion.lookup import nearest, transformed
from pirtad.inference.lesion.measurement import LesionMeasurement, RegionShare, no_lesion
from pirtad.inference.lesion.mirror import is_left, mirror_by_symmetry, mirror_by_template
from pirtad.inference.lesion.registration import Registration
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.preprocess.resample import resample_mask
from pirtad.inference.volume import DiffusionPair


class Measured(NamedTuple):
    """lesion and its mask, bool (I, J, K) on the DWI's grid: None without a lesion map. registration: of the head."""

    lesion: LesionMeasurement | None
    mask: NDArray[np.bool_] | None
    registration: Registration


def measure_lesion(probability: NDArray[np.float32] | None, patient: NetworkInput, pair: DiffusionPair) -> Measured:
    """The measurement, its mask, and where the head lies.

    probability: of acute infarct, (96, 112, 48), Encoder.lesion_probability of `patient`, which was made from `pair`;
        None where the weights have no decoder for it.
    """
    if probability is None:
        return Measured(None, None, register_imaged(patient, np.zeros(patient.mask.shape, dtype=np.bool_), pair))
    suspected = suspected_lesion(probability, patient.affine, pair.dwi)
    registration = register_imaged(patient, _left_out(suspected, patient, pair), pair)
    lesion, mask = measure_mask(suspected, patient, pair, registration)
    return Measured(lesion, mask, registration)


def measure_mask(
    suspected: NDArray[np.bool_], patient: NetworkInput, pair: DiffusionPair, registration: Registration | None = None
) -> tuple[LesionMeasurement, NDArray[np.bool_]]:
    """The same from a mask on the grid of `pair.dwi`, of which only the foci with restricted diffusion are kept.

    registration: of `patient` with the mask left out; None makes it where something is marked.
    """
    if suspected.shape != pair.dwi.array.shape:
        raise ValueError(f"a mask of shape {suspected.shape} for a DWI of shape {pair.dwi.array.shape}")
    affine = pair.dwi.affine
    mask = np.zeros(suspected.shape, dtype=np.bool_)
    marked = foci_of(suspected, affine)
    if not marked:
        return no_lesion(), mask

    left_out = _left_out(suspected, patient, pair)
    registration = registration or register_imaged(patient, left_out, pair)
    mirror = mirror_by_template(registration) if registration.ok else mirror_by_symmetry(patient, left_out)
    adc = adc_map(pair, patient, suspected, mirror)
    acute = [focus for focus in marked if adc.is_restricted(focus)]
    if not acute:
        return no_lesion(len(marked), registration), mask

    voxels = np.concatenate(acute)
    mask[tuple(voxels.T)] = True
    return _measured(voxels, len(acute), len(marked) - len(acute), adc, registration), mask


def _left_out(suspected: NDArray[np.bool_], patient: NetworkInput, pair: DiffusionPair) -> NDArray[np.bool_]:
    """The mask on the network's grid, bool (96, 112, 48)."""
    i, j, k = patient.mask.shape
    return resample_mask(suspected, pair.dwi.affine, patient.affine, (i, j, k))


def _measured(
    voxels: NDArray[np.int64], foci: int, without_restriction: int, adc: AdcMap, registration: Registration
) -> LesionMeasurement:
    volume_ml = len(voxels) * voxel_ml(adc.affine)
    points = transformed(voxels, adc.affine)
    inside, opposite = _mean(adc.measured(voxels)), _mean(adc.opposite(voxels))
    regions = _regions(points, registration, volume_ml) if registration.ok else None
    assigned = sum(region.share for region in regions) if regions is not None else None
    return LesionMeasurement(
        volume_ml=volume_ml,
        side=None if adc.mirror is None else _side(is_left(points, adc.mirror)),
        foci=foci,
        mean_adc_mm2_per_s=inside,
        mirrored_adc_mm2_per_s=opposite,
        adc_ratio=inside / opposite if inside is not None and opposite is not None else None,
        territories=regions,
        classes=_classes(regions) if regions else None,
        unassigned_share=None if assigned is None else max(0.0, 1.0 - assigned),
        without_restriction=without_restriction,
        registration=registration,
    )


def _mean(values: NDArray[np.float32]) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None


def _side(left: NDArray[np.bool_]) -> str:
    share = float(left.mean())
    if min(share, 1 - share) >= LEAST_OF_OTHER_SIDE:
        return "bilateral"
    return "left" if share > 0.5 else "right"


def _regions(points_mm: NDArray[np.float64], registration: Registration, volume_ml: float) -> tuple[RegionShare, ...]:
    """The arterial regions that hold these voxel centres (N, 3), largest share first."""
    atlas = load_regions()
    labels = nearest(atlas.labels, atlas.affine, transformed(points_mm, registration.to_template))
    counts = np.bincount(labels, minlength=2 * len(REGIONS) + 1)
    found = [
        RegionShare(code, name, side, share, share * volume_ml)
        for number, (code, name) in enumerate(REGIONS.items())
        for offset, side in ((1, "left"), (2, "right"))
        if (share := float(counts[2 * number + offset]) / len(labels)) > 0
    ]
    return tuple(sorted(found, key=lambda region: -region.share))


def _classes(regions: Sequence[RegionShare]) -> dict[Territory, float]:
    total = sum(region.share for region in regions)
    return {
        territory: sum(region.share for region in regions if TERRITORY_OF_REGION[region.code] is territory) / total
        for territory in Territory
        if territory is not Territory.NORMAL
    }

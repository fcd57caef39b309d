"""Shapes of acute infarcts, grown inside an arterial territory of the atlas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from pirtad.inference.findings import InfarctType, Territory
from pirtad.inference.simulation.atlas import LABEL_OF, SPACING_MM, Atlas
from pirtad.inference.simulation.draw import Draw, blurred
from pirtad.inference.simulation.lesion_shapes import draw_seed, ellipsoid, wedge

_ML_PER_VOXEL = SPACING_MM**3 / 1000

# How often each type occurs where, and its volume in ml (log-uniform); chosen after SOOP's volumes (median 12.7, 5th to
# 95th percentile 0.3 to 197) without the cases below 0.7 ml, which two voxels of a thick slice cannot hold.
TYPE_ODDS: dict[Territory, dict[InfarctType, float]] = {
    Territory.ANTERIOR: {
        InfarctType.LARGE_VASCULAR_TERRITORIAL: 0.30,
        InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: 0.25,
        InfarctType.SMALL_LACUNE: 0.12,
        InfarctType.SMALL_DIFFUSION_RESTRICTION: 0.33,
    },
    Territory.DEEP_GRAY_MATTER: {
        InfarctType.SMALL_LACUNE: 0.45,
        InfarctType.SMALL_STRIATO_CAPSULAR: 0.40,
        InfarctType.SMALL_DIFFUSION_RESTRICTION: 0.15,
    },
    Territory.POSTERIOR: {
        InfarctType.LARGE_VASCULAR_TERRITORIAL: 0.28,
        InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: 0.25,
        InfarctType.SMALL_LACUNE: 0.15,
        InfarctType.SMALL_DIFFUSION_RESTRICTION: 0.32,
    },
}
VOLUME_ML: dict[InfarctType, tuple[float, float]] = {
    InfarctType.LARGE_VASCULAR_TERRITORIAL: (20.0, 130.0),
    InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: (6.0, 35.0),
    InfarctType.SMALL_LACUNE: (0.9, 2.5),
    InfarctType.SMALL_STRIATO_CAPSULAR: (2.5, 14.0),
    InfarctType.SMALL_DIFFUSION_RESTRICTION: (0.9, 6.0),
}
_LARGEST_SHARE_OF_SIDE = 0.55
_LARGEST_LEAK = 0.15


@dataclass(frozen=True, slots=True)
class Lesion:
    """weight: float32 (I, J, K) on the atlas grid, 0 to 1. left: the side of the atlas it lies on (its larger part)."""

    weight: torch.Tensor
    infarct_type: InfarctType
    left: bool


def draw_lesion(atlas: Atlas, territory: Territory, draw: Draw) -> Lesion:
    """One to three foci of one type; at least 80 % of the weight lies in the territory (mostly more).

    Raises ValueError for Territory.NORMAL.
    """
    if territory is Territory.NORMAL:
        raise ValueError("a normal study has no lesion")
    odds = TYPE_ODDS[territory]
    infarct_type = draw.choice(tuple(odds), tuple(odds.values()))
    left = draw.chance(0.5)
    foci = draw.choice((1, 2, 3), (0.65, 0.22, 0.13))
    if infarct_type is InfarctType.LARGE_VASCULAR_TERRITORIAL:
        foci = min(foci, 2)
    label = LABEL_OF[territory]
    weight = torch.zeros(atlas.shape)
    for focus in range(foci):
        low, high = VOLUME_ML[infarct_type]
        volume_ml = math.exp(draw.uniform(math.log(low), math.log(high)))
        if focus:
            volume_ml = max(0.7, volume_ml * draw.uniform(0.2, 0.7))
        side = left if focus == 0 or draw.chance(0.85) else not left
        weight = torch.maximum(weight, _focus(atlas, label, side, infarct_type, volume_ml, draw))
    soft = blurred(weight, 3)
    weight = 0.6 * weight + 0.4 * soft
    on_left = float(weight[atlas.left].sum()) > 0.5 * float(weight.sum())
    return Lesion(weight, infarct_type, on_left)


def share_in(atlas: Atlas, weight: torch.Tensor, territory: Territory) -> float:
    """Share of the weight on labelled voxels that lies in the territory."""
    labelled = float(weight[atlas.territory > 0].sum())
    return float(weight[atlas.territory == LABEL_OF[territory]].sum()) / max(labelled, 1e-6)


def _focus(
    atlas: Atlas, label: int, left: bool, infarct_type: InfarctType, volume_ml: float, draw: Draw
) -> torch.Tensor:
    """Binary mask of one focus: the voxels nearest to its seed in a crooked metric."""
    side = atlas.left if left else ~atlas.left
    home = (atlas.territory == label) & side & (atlas.fluid < 0.5)
    home_index = home.nonzero()
    volume_ml = min(volume_ml, _LARGEST_SHARE_OF_SIDE * len(home_index) * _ML_PER_VOXEL)
    seed = draw_seed(atlas, home, infarct_type, volume_ml, draw)
    if infarct_type is InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL:
        cost = wedge(atlas, seed, home, draw)
    else:
        cost = ellipsoid(atlas, seed, infarct_type, draw)
    around = (atlas.brain & (atlas.fluid < 0.5) & ~home).nonzero()
    voxels = max(1, round(volume_ml / _ML_PER_VOXEL))
    leak = draw.uniform(0.0, _LARGEST_LEAK)
    at_home = min(len(home_index), round(voxels * (1 - leak)))
    picked, order = cost(home_index).topk(at_home, largest=False)
    mask = torch.zeros(atlas.shape)
    mask[tuple(home_index[order].T)] = 1.0
    # Territories overlap in life: a part may lie across the border, where it is nearer than the farthest voxel at home.
    across = cost(around)
    near = (across < picked.max()).nonzero()[:, 0]
    spill = across[near].topk(min(len(near), round(voxels * leak)), largest=False).indices
    mask[tuple(around[near[spill]].T)] = 1.0
    return mask

"""Seeds and metrics from which foci grow: where an infarct starts and which voxels it takes first."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from pirtad.inference.findings import InfarctType
from pirtad.inference.simulation.atlas import Atlas
from pirtad.inference.simulation.draw import Draw

# Cost (N,) of taking the voxels with integer indices (N, 3); an infarct takes the cheapest first.
Cost = Callable[[torch.Tensor], torch.Tensor]


def draw_seed(
    atlas: Atlas, home: torch.Tensor, infarct_type: InfarctType, volume_ml: float, draw: Draw
) -> torch.Tensor:
    """Index (3,) of the voxel where a focus starts.

    home: bool (I, J, K), where it may. Far enough from other classes for its size that the class stays beyond doubt;
    lacunes start in white or deep matter, wedges and small cortical foci in the cortex.
    """
    radius_mm = (volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)
    allowed = home & (atlas.seclusion_mm > min(0.8 * radius_mm, 9.0))
    deep = atlas.outside_mm < -12
    deep_gray = bool((atlas.territory[home] == 2).all())
    if infarct_type is InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL:
        preferred = allowed & (atlas.gray > 0.4) & (atlas.outside_mm > -8)
    elif infarct_type is InfarctType.SMALL_LACUNE and not deep_gray:
        preferred = allowed & (atlas.white > 0.6) & deep
    elif infarct_type is InfarctType.SMALL_DIFFUSION_RESTRICTION and not deep_gray:
        preferred = allowed & (atlas.gray > 0.4)
    else:
        preferred = allowed
    for candidates in (preferred, allowed, home):
        index = candidates.nonzero()
        if len(index):
            return index[draw.integer(0, len(index) - 1)]
    raise ValueError("the territory is empty on this side of the atlas")


def ellipsoid(atlas: Atlas, seed: torch.Tensor, infarct_type: InfarctType, draw: Draw) -> Cost:
    """Distance from the seed along stretched and turned axes, with a crooked margin; a striato-capsular infarct is
    long from front to back and upwards."""
    if infarct_type is InfarctType.SMALL_STRIATO_CAPSULAR:
        stretch = torch.tensor([draw.uniform(0.6, 0.8), draw.uniform(1.2, 1.8), draw.uniform(1.0, 1.4)])
    else:
        stretch = torch.tensor([draw.uniform(0.7, 1.4) for _ in range(3)])
    turn = torch.linalg.qr(torch.eye(3) + 0.3 * draw.noise((3, 3)))[0]
    centre = atlas.positions_mm(seed[None])[0]
    crooked = draw.uniform(0.1, 0.45) * draw.smooth_field(atlas.shape, (18, 20, 18))

    def cost(index: torch.Tensor) -> torch.Tensor:
        away = (atlas.positions_mm(index) - centre) @ turn / stretch
        distance: torch.Tensor = torch.linalg.vector_norm(away, dim=1)
        return distance * torch.exp(crooked[tuple(index.T)])

    return cost


def wedge(atlas: Atlas, seed: torch.Tensor, home: torch.Tensor, draw: Draw) -> Cost:
    """Angle about the axis from an inner apex to the cortex; a wedge widens towards the surface."""
    surface = atlas.positions_mm(seed[None])[0]
    there = atlas.positions_mm(home.nonzero())
    there = there[(there - surface).norm(dim=1) < 45]
    inwards = there.mean(0) - surface
    inwards = inwards / inwards.norm().clamp(min=1e-3)
    apex = surface + inwards * draw.uniform(22, 40)
    crooked = draw.uniform(0.1, 0.35) * draw.smooth_field(atlas.shape, (18, 20, 18))

    def cost(index: torch.Tensor) -> torch.Tensor:
        ray = atlas.positions_mm(index) - apex
        length = ray.norm(dim=1).clamp(min=1e-3)
        cosine = (ray @ -inwards / length).clamp(-1, 1)
        # Beyond 60 mm from the apex lies another lobe; near the apex all angles meet.
        far = (length - 60).clamp(min=0) / 10 + (6 - length).clamp(min=0) / 6
        angle: torch.Tensor = torch.arccos(cosine) + far
        return angle * torch.exp(crooked[tuple(index.T)])

    return cost

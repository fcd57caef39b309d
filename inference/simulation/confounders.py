"""What is not an acute infarct and shows all the same: drawn for normal studies and for infarcts alike.

Each function changes the tissue maps in place. Only a bright DWI together with a low ADC is an acute infarct; every
finding here lacks one of the two.
"""

from __future__ import annotations

import math

import torch

from pirtad.inference.findings import InfarctType
from pirtad.inference.simulation.atlas import Atlas
from pirtad.inference.simulation.draw import Draw, blurred
from pirtad.inference.simulation.lesion_shapes import ellipsoid
from pirtad.inference.simulation.tissue import TissueMaps

# MNI coordinates with the signs of LPS, right side (mirrored for the left): air and bone pile up signal above the
# orbits, before the temporal poles and over the petrous bones.
_BRIGHT_BASE_MM = (
    (-40.0, -14.0, -34.0),
    (-48.0, 22.0, -28.0),
    (-14.0, -44.0, -22.0),
    (-52.0, 8.0, -30.0),
    (-8.0, -62.0, -12.0),
    (-26.0, -52.0, -16.0),
)
_LARGEST_PILE_UP = 4.0


def add_confounders(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Draw which of them this patient has."""
    _pile_up(maps, atlas, draw)
    if draw.chance(0.5):
        _white_matter_disease(maps, atlas, draw)
    for _ in range(draw.choice((0, 1, 2, 3), (0.55, 0.25, 0.12, 0.08))):
        _shine_through(maps, atlas, draw)
    for _ in range(draw.choice((0, 1, 2), (0.75, 0.18, 0.07))):
        _old_infarct(maps, atlas, draw)
    if draw.chance(0.08):
        _old_bleed(maps, atlas, draw)


def _pile_up(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Susceptibility: signal up to four times as high, or lost, at every b, ADC as it was. At the known places of the
    skull base on both sides, and anywhere on the surface, mostly below."""
    gain = torch.zeros(atlas.shape)
    strength = draw.choice((0.0, 0.5, 1.0, 2.0), (0.15, 0.35, 0.35, 0.15))
    for centre in _BRIGHT_BASE_MM:
        for side in (-1.0, 1.0):
            gain += _bump(atlas, draw, centre, side, 5.0) * strength * max(-0.4, draw.normal(0.45, 0.5))
    surface = (atlas.brain & (atlas.outside_mm > -5)).nonzero()
    heights = atlas.positions_mm(surface)[:, 2]
    base = surface[heights < 0]
    for _ in range(draw.choice((0, 1, 3, 6), (0.25, 0.25, 0.25, 0.25))):
        among = base if draw.chance(0.8) else surface
        x, y, z = atlas.positions_mm(among[draw.integer(0, len(among) - 1)][None])[0].tolist()
        gain += _bump(atlas, draw, (x, y, z), 1.0, 0.0, narrow=0.5) * math.exp(draw.uniform(-1.6, 1.1))
    maps.parenchyma_s0 *= (1 + gain).clamp(0.3, _LARGEST_PILE_UP)
    maps.fluid_s0 *= (1 + gain).clamp(0.3, _LARGEST_PILE_UP)


def _bump(
    atlas: Atlas,
    draw: Draw,
    centre_mm: tuple[float, float, float],
    side: float,
    jitter_mm: float,
    narrow: float = 1.0,
) -> torch.Tensor:
    """A separable Gaussian of height 1, mirrored to the left for side -1; long along the phase encoding (y).
    narrow: factor on its widths."""
    mirrored = (centre_mm[0] * side, centre_mm[1], centre_mm[2])
    widths = (draw.uniform(3, 8), draw.uniform(5, 14), draw.uniform(3, 9))
    axes = []
    for axis, length in enumerate(atlas.shape):
        place = atlas.affine[axis, axis] * torch.arange(length) + atlas.affine[axis, 3]
        away = (place - mirrored[axis] - draw.normal(0, jitter_mm)) / (narrow * widths[axis])
        axes.append(torch.exp(-0.5 * away.float() ** 2))
    return axes[0][:, None, None] * axes[1][:, None] * axes[2]


def _white_matter_disease(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Small vessel disease about the ventricles: T2 and ADC up, DWI about level or a little bright."""
    patchy = torch.sigmoid(4 * draw.smooth_field(atlas.shape, (20, 22, 20)) + draw.uniform(-1, 2))
    weight = atlas.near_ventricles * patchy * atlas.white
    maps.parenchyma_s0 *= 1 + draw.uniform(0.1, 0.6) * weight
    maps.parenchyma_adc_mm2_per_s *= 1 + draw.uniform(0.2, 0.6) * weight


def _shine_through(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Subacute or gliotic tissue: bright at every b, ADC normal or high."""
    weight = _blob(atlas, draw, 0.5, 12.0)
    maps.parenchyma_s0 *= 1 + draw.uniform(0.3, 1.1) * weight
    maps.parenchyma_adc_mm2_per_s *= 1 + draw.uniform(0.1, 0.6) * weight


def _old_infarct(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """A cavity: dark on DWI, ADC high."""
    weight = _blob(atlas, draw, 0.4, 25.0)
    maps.parenchyma_s0 *= 1 + draw.uniform(0.2, 1.2) * weight
    maps.parenchyma_adc_mm2_per_s *= 1 + draw.uniform(0.8, 2.2) * weight


def _old_bleed(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Iron: dark at every b, ADC falsely low."""
    weight = _blob(atlas, draw, 0.3, 6.0)
    maps.parenchyma_s0 *= 1 - draw.uniform(0.4, 0.8) * weight
    maps.parenchyma_adc_mm2_per_s *= 1 - draw.uniform(0.0, 0.4) * weight


def _blob(atlas: Atlas, draw: Draw, low_ml: float, high_ml: float) -> torch.Tensor:
    """A soft crooked blob anywhere in the parenchyma, weight 0 to 1."""
    places = (atlas.brain & (atlas.fluid < 0.5)).nonzero()
    seed = places[draw.integer(0, len(places) - 1)]
    volume_ml = math.exp(draw.uniform(math.log(low_ml), math.log(high_ml)))
    cost = ellipsoid(atlas, seed, InfarctType.SMALL_DIFFUSION_RESTRICTION, draw)(places)
    chosen = places[cost.topk(max(1, round(volume_ml * 1000 / 8)), largest=False).indices]
    weight = torch.zeros(atlas.shape)
    weight[tuple(chosen.T)] = 1.0
    return blurred(weight, 3)

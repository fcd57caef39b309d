"""Healthy tissue that looks like an infarct to whoever has seen only average brains.

Seen on healthy volunteers of three vendors: cerebellum and brainstem brighter and with a lower ADC than the cerebrum,
pyramidal tracts and commissures with a low ADC, insula, cingulum and hippocampus brighter than other cortex. All of it
is the same on both sides, which an infarct is not. Each function changes the tissue maps in place.
"""

from __future__ import annotations

import torch

from pirtad.inference.simulation.atlas import Atlas
from pirtad.inference.simulation.draw import Draw
from pirtad.inference.simulation.tissue import TissueMaps

# MNI coordinates with the signs of LPS, right side (the left mirrors it), and half widths along x, y, z, all mm.
# Tracts: posterior limb of the internal capsule, corona radiata, precentral white matter, splenium, genu, optic
# radiation, cerebral peduncle, pons, middle cerebellar peduncle.
_TRACTS_MM = (
    ((-22.0, 14.0, 8.0), (4.0, 8.0, 10.0)),
    ((-25.0, 18.0, 28.0), (6.0, 12.0, 10.0)),
    ((-24.0, 22.0, 46.0), (7.0, 9.0, 12.0)),
    ((-12.0, 40.0, 14.0), (12.0, 5.0, 6.0)),
    ((-10.0, -28.0, 8.0), (10.0, 5.0, 6.0)),
    ((-32.0, 58.0, 6.0), (5.0, 16.0, 7.0)),
    ((-12.0, 18.0, -12.0), (5.0, 5.0, 8.0)),
    ((-5.0, 28.0, -30.0), (6.0, 6.0, 10.0)),
    ((-20.0, 42.0, -32.0), (8.0, 8.0, 6.0)),
)
# Insula, anterior and posterior cingulum, hippocampus and amygdala, orbitofrontal cortex, calcarine cortex.
_BRIGHT_CORTEX_MM = (
    ((-37.0, -4.0, 2.0), (5.0, 16.0, 9.0)),
    ((-5.0, -32.0, 16.0), (5.0, 12.0, 12.0)),
    ((-5.0, 38.0, 32.0), (5.0, 14.0, 9.0)),
    ((-26.0, 16.0, -18.0), (8.0, 14.0, 7.0)),
    ((-18.0, -30.0, -18.0), (14.0, 14.0, 6.0)),
    ((-8.0, 78.0, 8.0), (8.0, 12.0, 8.0)),
)


def vary_normal_tissue(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Draw how far this brain and this scanner depart from the average."""
    _hindbrain(maps, atlas, draw)
    _tracts(maps, atlas, draw)
    _bright_cortex(maps, atlas, draw)
    texture = _symmetric(draw.smooth_field(atlas.shape, (10, 12, 10)))
    maps.parenchyma_adc_mm2_per_s *= torch.exp(draw.uniform(0.0, 0.07) * texture)
    maps.parenchyma_s0 *= torch.exp(draw.uniform(0.0, 0.08) * _symmetric(draw.smooth_field(atlas.shape, (12, 14, 12))))


def _hindbrain(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Signal and ADC of cerebellum and brainstem against those of the cerebrum."""
    amount = draw.choice((0.3, 1.0), (0.35, 0.65))
    maps.parenchyma_s0 *= 1 + amount * draw.uniform(-0.08, 0.22) * atlas.hindbrain
    maps.parenchyma_adc_mm2_per_s *= 1 - amount * draw.uniform(-0.05, 0.26) * atlas.hindbrain


def _tracts(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Compact white matter: lower ADC, which is bright by itself, and a little more or less T2."""
    strength = draw.uniform(0.0, 1.0)
    for centre, widths in _TRACTS_MM:
        tract = _pair(atlas, draw, centre, widths)
        maps.parenchyma_adc_mm2_per_s *= 1 - strength * draw.uniform(0.0, 0.32) * tract
        maps.parenchyma_s0 *= 1 + strength * draw.uniform(-0.10, 0.22) * tract


def _bright_cortex(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    strength = draw.uniform(0.0, 0.4)
    for centre, widths in _BRIGHT_CORTEX_MM:
        patch = _pair(atlas, draw, centre, widths) * (0.3 + 0.7 * atlas.gray)
        maps.parenchyma_s0 *= 1 + strength * draw.uniform(0.0, 1.0) * patch


def _pair(
    atlas: Atlas, draw: Draw, centre_mm: tuple[float, float, float], widths_mm: tuple[float, float, float]
) -> torch.Tensor:
    """Separable bumps (I, J, K) of height 1 left and right, nearly mirror images of each other."""
    shift = [draw.normal(0, 2.5) for _ in range(3)]
    stretch = [draw.uniform(0.7, 1.3) for _ in range(3)]
    both = torch.zeros(atlas.shape)
    for side in (-1.0, 1.0):
        axes = []
        for axis, length in enumerate(atlas.shape):
            place = atlas.affine[axis, axis] * torch.arange(length) + atlas.affine[axis, 3]
            middle = centre_mm[axis] + shift[axis]
            away = (place - (middle * side if axis == 0 else middle)) / (widths_mm[axis] * stretch[axis])
            axes.append(torch.exp(-0.5 * away.float() ** 2))
        bump = axes[0][:, None, None] * axes[1][:, None] * axes[2]
        both = torch.maximum(both, bump * draw.uniform(0.85, 1.0))
    return both


def _symmetric(field: torch.Tensor) -> torch.Tensor:
    """The part of a field (I, J, K) that both halves share, at about the field's own spread."""
    return (field + field.flip(0)) * 0.7

"""What is no infarct and no healthy brain either: mimics of stroke, broken acquisitions, and what is no brain at all.

The encoder is never trained on it. Mimics of MIMIC_FITTING_SEEDS fit the judgement of what is out of distribution;
those of MIMIC_SEEDS serve to measure it and nothing is fitted to them.

Appearances on DWI and ADC: haematoma (Kang et al., AJNR 22, 2001), abscess and tumour (Lai et al., AJNR 23, 2002),
seizure (Kim et al., AJNR 22, 2001), hypoxic-ischaemic injury (Arbelaez et al., AJNR 20, 1999), demyelination (Rovira et
al., Eur Radiol 12, 2002); all sizes and strengths are chosen within what is seen on clinical images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum

import numpy as np
import torch
from torch.nn import functional

from pirtad.inference.findings import InfarctType
from pirtad.inference.simulation.acquisition import Scan, acquire, draw_scan, sample
from pirtad.inference.simulation.atlas import Atlas, load_atlas
from pirtad.inference.simulation.confounders import add_confounders
from pirtad.inference.simulation.draw import Draw
from pirtad.inference.simulation.lesion_shapes import ellipsoid
from pirtad.inference.simulation.normal_variation import vary_normal_tissue
from pirtad.inference.simulation.scanners import SHIFTED, TRAINING, scanners
from pirtad.inference.simulation.tissue import TissueMaps, draw_tissue
from pirtad.inference.volume import DiffusionPair, Volume

# Raised whenever the same seed would give another pair.
MIMIC_VERSION = "1"


class MimicKind(StrEnum):
    """What is simulated here."""

    HAEMATOMA = "haematoma"
    ABSCESS = "abscess"
    TUMOUR = "tumour"
    SEIZURE = "seizure"
    HYPOXIC_ISCHAEMIC = "hypoxic_ischaemic"
    DEMYELINATION = "demyelination"
    POST_OPERATIVE = "post_operative"
    GHOSTING = "ghosting"
    MOTION = "motion"
    DISTORTION = "distortion"
    LOW_B = "low_b"
    HIGH_B = "high_b"
    SPHERE = "sphere"
    ABDOMEN = "abdomen"
    KNEE = "knee"


def simulate_mimic(seed: int, kind: MimicKind) -> DiffusionPair:
    """The diffusion pair of this seed and kind; the same seed gives the same pair.

    dwi in arbitrary units and adc_mm2_per_s on one grid, both computed as a scanner does from b 0 and b. Even seeds
    have a scanner like training's, odd ones a shifted one, so that it is never the scanner that gives a mimic away.
    """
    draw = Draw(seed)
    ranges = scanners(SHIFTED if seed % 2 else TRAINING)
    b_value = ranges.draw_b_value(draw)
    if kind is MimicKind.LOW_B:
        b_value = draw.uniform(50, 400)
    elif kind is MimicKind.HIGH_B:
        b_value = draw.uniform(2000, 3000)
    scan = draw_scan(ranges, draw)
    if kind in _BODIES:
        clean = _BODIES[kind](scan, b_value, draw)
    else:
        atlas = load_atlas()
        maps = draw_tissue(atlas, ranges, draw)
        vary_normal_tissue(maps, atlas, draw)
        add_confounders(maps, atlas, draw)
        if kind in _LESIONS:
            _LESIONS[kind](maps, atlas, draw)
        clean = sample(maps.signals(b_value), atlas, scan, substeps=2 if scan.thickness_mm < 4 else 3)
        if kind in _ARTEFACTS:
            clean = _ARTEFACTS[kind](clean, scan, draw)
    dwi, adc = acquire(clean, b_value, ranges, draw)
    return DiffusionPair(
        Volume(dwi.numpy().astype(np.float32), scan.affine),
        Volume(adc.numpy().astype(np.float32), scan.affine),
        b_value,
    )


# ---- lesions: tissue maps changed in place


def _paint(maps: TissueMaps, atlas: Atlas, weight: torch.Tensor, brightness: float, adc: float | torch.Tensor) -> None:
    """Replace tissue and fluid by weight: signal without weighting in units of white matter's, ADC in 1e-3 mm2/s."""
    white = float(maps.parenchyma_s0[(atlas.white > 0.8) & (atlas.outside_mm < -15)].median())
    maps.parenchyma_s0 = torch.lerp(maps.parenchyma_s0, torch.full(atlas.shape, white * brightness), weight)
    maps.parenchyma_adc_mm2_per_s = maps.parenchyma_adc_mm2_per_s * (1 - weight) + adc * 1e-3 * weight
    maps.fluid_s0 = maps.fluid_s0 * (1 - weight)


def _away_mm(atlas: Atlas, home: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Distance (I, J, K) in mm from a random voxel of `home` along stretched axes; 1000 outside the brain."""
    index = home.nonzero()
    seed = index[draw.integer(0, len(index) - 1)]
    places = atlas.brain.nonzero()
    away = torch.full(atlas.shape, 1000.0)
    away[tuple(places.T)] = ellipsoid(atlas, seed, InfarctType.SMALL_DIFFUSION_RESTRICTION, draw)(places)
    return away


def _radius_mm(draw: Draw, low_ml: float, high_ml: float) -> float:
    volume_ml = math.exp(draw.uniform(math.log(low_ml), math.log(high_ml)))
    return float((volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3))


def _within(away_mm: torch.Tensor, radius_mm: float) -> torch.Tensor:
    """Weight 1 inside a radius, soft over about 3 mm."""
    return torch.sigmoid((radius_mm - away_mm) / 0.8)


def _oedema(maps: TissueMaps, atlas: Atlas, away_mm: torch.Tensor, reach_mm: float, draw: Draw) -> None:
    """Vasogenic: spreads through white matter, T2 and ADC up."""
    ragged = away_mm * torch.exp(0.3 * draw.smooth_field(atlas.shape, (14, 16, 14)))
    weight = _within(ragged, reach_mm) * (0.15 + 0.85 * atlas.white.clamp(0, 1))
    _paint(maps, atlas, weight, draw.uniform(1.4, 2.0), draw.uniform(1.2, 1.65))


def _deep(atlas: Atlas) -> torch.Tensor:
    return atlas.brain & (atlas.white > 0.5) & (atlas.outside_mm < -14) & (atlas.hindbrain < 0.5)


def _haematoma(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Deoxygenated blood: its iron takes the signal of the core away at every b; a bright rim, oedema around it."""
    away = _away_mm(atlas, _deep(atlas), draw)
    radius = _radius_mm(draw, 8, 60)
    rim = draw.uniform(1.5, 4)
    _oedema(maps, atlas, away, radius + rim + draw.uniform(3, 12), draw)
    _paint(maps, atlas, _within(away, radius + rim), draw.uniform(1.5, 2.4), draw.uniform(0.6, 0.9))
    _paint(maps, atlas, _within(away, radius), draw.uniform(0.08, 0.35), draw.uniform(0.3, 0.6))


def _abscess(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Pus: round, very bright on DWI, ADC low, in oedema."""
    for _ in range(draw.choice((1, 2, 3), (0.6, 0.25, 0.15))):
        away = _away_mm(atlas, _deep(atlas), draw)
        radius = _radius_mm(draw, 4, 35)
        _oedema(maps, atlas, away, radius + draw.uniform(9, 25), draw)
        _paint(maps, atlas, _within(away, radius + 3), draw.uniform(0.8, 1.1), draw.uniform(0.8, 1.0))
        _paint(maps, atlas, _within(away, radius), draw.uniform(1.3, 2.0), draw.uniform(0.3, 0.6))


def _tumour(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """A mass of cellular and necrotic parts, ADC mixed, in broad oedema."""
    away = _away_mm(atlas, _deep(atlas), draw)
    radius = _radius_mm(draw, 15, 90)
    _oedema(maps, atlas, away, radius + draw.uniform(8, 25), draw)
    mixed = torch.sigmoid(3 * draw.smooth_field(atlas.shape, (26, 30, 26)))
    adc = draw.uniform(0.65, 1.0) + draw.uniform(0.2, 0.7) * mixed
    _paint(maps, atlas, _within(away, radius), draw.uniform(1.1, 1.7), adc)
    _paint(maps, atlas, _within(away, radius * draw.uniform(0.3, 0.7)), draw.uniform(1.8, 2.8), draw.uniform(1.7, 2.5))


def _seizure(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Status epilepticus: a stretch of cortex beyond any one artery's territory, or the hippocampi; ADC mildly low."""
    side = 1.0 if draw.chance(0.5) else -1.0
    hippocampus = _mirrored_bump(atlas, (26.0 * side, 20.0, -16.0), (6.0, 15.0, 6.0))
    weight = hippocampus * atlas.gray
    if draw.chance(0.75):
        away = _away_mm(atlas, atlas.brain & (atlas.gray > 0.5) & (atlas.outside_mm > -8), draw)
        ribbon = ((atlas.outside_mm + 8) / 2).clamp(0, 1) * atlas.gray.clamp(0, 1) * (atlas.territory != 2)
        weight = torch.maximum(weight * float(draw.chance(0.4)), ribbon * _within(away, draw.uniform(40, 75)))
    else:
        other = _mirrored_bump(atlas, (-26.0 * side, 20.0, -16.0), (6.0, 15.0, 6.0))
        pulvinar = _mirrored_bump(atlas, (14.0 * side, 26.0, 8.0), (6.0, 6.0, 6.0))
        weight = (weight + other * atlas.gray * float(draw.chance(0.5)) + pulvinar).clamp(0, 1)
    maps.parenchyma_s0 *= 1 + draw.uniform(0.15, 0.5) * weight
    maps.parenchyma_adc_mm2_per_s *= 1 - draw.uniform(0.15, 0.4) * weight


def _mirrored_bump(
    atlas: Atlas, centre_mm: tuple[float, float, float], widths_mm: tuple[float, float, float]
) -> torch.Tensor:
    """An ellipsoid of weight 1 with a soft margin."""
    square = torch.zeros(atlas.shape)
    for axis in range(3):
        place = atlas.affine[axis, axis] * torch.arange(atlas.shape[axis]) + atlas.affine[axis, 3]
        view = [1, 1, 1]
        view[axis] = -1
        square = square + (((place - centre_mm[axis]) / widths_mm[axis]) ** 2).float().reshape(view)
    return torch.sigmoid(6 * (1.3 - square.sqrt()))


def _hypoxic_ischaemic(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """After cardiac arrest: cortex and deep gray matter of both sides alike."""
    field = draw.smooth_field(atlas.shape, (10, 12, 10))
    patchy = torch.sigmoid(2.5 * (field + field.flip(0)) + draw.uniform(0.5, 2.5))  # the atlas is symmetric
    cortex = ((atlas.outside_mm + 10) / 3).clamp(0, 1) * (1 - atlas.hindbrain) * draw.uniform(0.6, 1.0)
    deep = (atlas.territory == 2).float() * draw.uniform(0.5, 1.0)
    weight = (1.6 * atlas.gray).clamp(0, 1) * torch.maximum(cortex * patchy, deep)
    maps.parenchyma_s0 *= 1 + draw.uniform(0.15, 0.5) * weight
    adc = draw.uniform(0.35, 0.52) * 1e-3
    maps.parenchyma_adc_mm2_per_s = torch.lerp(maps.parenchyma_adc_mm2_per_s, torch.full(atlas.shape, adc), weight)


def _demyelination(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """Many ovoid plaques beside the ventricles and elsewhere in white matter; the young ones with a restricted rim."""
    near = atlas.brain & (atlas.near_ventricles > 0.2) & (atlas.white > 0.5)
    far = atlas.brain & (atlas.white > 0.6)
    for _ in range(draw.integer(10, 28)):
        away = _away_mm(atlas, near if draw.chance(0.7) else far, draw)
        radius = _radius_mm(draw, 0.15, 3.0)
        if draw.chance(0.35):
            _paint(maps, atlas, _within(away, radius + 2.0), draw.uniform(1.2, 1.6), draw.uniform(0.55, 0.75))
        _paint(maps, atlas, _within(away, radius), draw.uniform(1.4, 2.0), draw.uniform(1.1, 1.7))


def _post_operative(maps: TissueMaps, atlas: Atlas, draw: Draw) -> None:
    """A resection cavity that opens to the surface, full of fluid, its wall bruised."""
    away = _away_mm(atlas, atlas.brain & (atlas.outside_mm > -12) & (atlas.hindbrain < 0.5), draw)
    radius = _radius_mm(draw, 15, 80)
    bruised = torch.sigmoid(4 * draw.smooth_field(atlas.shape, (16, 18, 16)))
    _oedema(maps, atlas, away, radius + draw.uniform(5, 14), draw)
    _paint(maps, atlas, _within(away, radius + draw.uniform(2, 5)) * bruised, draw.uniform(1.0, 1.6), 0.5)
    _paint(maps, atlas, _within(away, radius), draw.uniform(2.0, 3.2), draw.uniform(2.2, 3.0))
    blood = _within(away, radius + 3) * torch.sigmoid(8 * (draw.smooth_field(atlas.shape, (20, 22, 20)) - 0.9))
    _paint(maps, atlas, blood, 0.15, 0.4)


# ---- artefacts: noiseless images (2, I, J, K) at b 0 and b, changed as the acquisition would


def _ghosting(clean: torch.Tensor, scan: Scan, draw: Draw) -> torch.Tensor:
    """Copies displaced along the phase encoding (j) by half the field of view or a quarter, with their own phase."""
    result = clean
    for part in draw.choice(((2,), (2, 4), (4, 3)), (0.5, 0.3, 0.2)):
        phase = torch.cos(3 * draw.smooth_field(scan.shape, (5, 5, 4)))
        copy = clean.roll(scan.shape[1] // part, dims=2) * phase
        result = result + draw.uniform(0.35, 0.8) * copy
    return result.abs()


def _motion(clean: torch.Tensor, scan: Scan, draw: Draw) -> torch.Tensor:
    """Slices of the weighted image that moved while they were encoded: dark, missing, or shifted."""
    result = clean.clone()
    share = draw.uniform(0.2, 0.5)
    for k in range(scan.shape[2]):
        if draw.chance(share):
            result[1, :, :, k] *= draw.choice((0.0, 0.15, 0.4, 0.6))
        if draw.chance(share):
            move = (draw.integer(-4, 4), draw.integer(-4, 4))
            result[:, :, :, k] = result[:, :, :, k].roll(move, dims=(1, 2))
    return result


def _distortion(clean: torch.Tensor, scan: Scan, draw: Draw) -> torch.Tensor:
    """Tissue displaced by centimetres along the phase encoding, its signal piled up or thinned out."""
    pitch_mm = float(np.linalg.norm(scan.affine[:3, 1]))
    shift = draw.uniform(12, 24) / pitch_mm * draw.smooth_field(scan.shape, (6, 6, 5))
    density = (1 + torch.gradient(shift, dim=1)[0]).clamp(0.2, 4.0)
    axes = [torch.arange(length).float() for length in scan.shape]
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    index[..., 1] += shift
    extent = torch.tensor(scan.shape).float() - 1
    normalised = (index / extent * 2 - 1).flip(-1)
    return functional.grid_sample(clean[None], normalised[None], align_corners=True)[0] * density


# ---- bodies: noiseless images (2, I, J, K) of what is no brain


def _place_mm(scan: Scan) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Position of each voxel along the scan's own axes, from the middle, mm."""
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    axes = [(torch.arange(n) - (n - 1) / 2).float() * float(mm) for n, mm in zip(scan.shape, spacing, strict=True)]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    return i, j, k


def _solid(
    place: tuple[torch.Tensor, ...], centre_mm: tuple[float, float, float], half_mm: tuple[float, float, float]
) -> torch.Tensor:
    parts = [((p - c) / h) ** 2 for p, c, h in zip(place, centre_mm, half_mm, strict=True)]
    return (sum(parts, torch.zeros(())) < 1).float()


def _bodies_signal(
    scan: Scan, b_value: float, parts: list[tuple[torch.Tensor, float, float]], draw: Draw
) -> torch.Tensor:
    """parts: (where, signal at b 0, ADC in 1e-3 mm2/s), the later ones over the earlier."""
    s0, adc = torch.zeros(scan.shape), torch.full(scan.shape, 1e-3)
    for where, signal, adc_in_units in parts:
        s0 = torch.where(where > 0.5, torch.tensor(signal), s0)
        adc = torch.where(where > 0.5, torch.tensor(adc_in_units * 1e-3), adc)
    s0 = s0 * torch.exp(0.1 * draw.smooth_field(scan.shape, (16, 16, 10)))
    return torch.stack([s0, s0 * torch.exp(-b_value * adc)])


def _sphere(scan: Scan, b_value: float, draw: Draw) -> torch.Tensor:
    """A phantom of water, oil or polymer solution."""
    radius = draw.uniform(60, 85)
    ball = _solid(_place_mm(scan), (0.0, 0.0, 0.0), (radius, radius, radius))
    return _bodies_signal(scan, b_value, [(ball, 1.0, draw.uniform(0.5, 2.3))], draw)


def _abdomen(scan: Scan, b_value: float, draw: Draw) -> torch.Tensor:
    """Muscle around liver, spleen, kidneys, bowel, gall bladder and spine, as wide as the field of view."""
    place = _place_mm(scan)
    long = 300.0
    size = draw.uniform(0.8, 1.0)
    kidney = draw.uniform(1.7, 2.1)

    def organ(i: float, j: float, k: float, hi: float, hj: float, hk: float) -> torch.Tensor:
        return _solid(place, (i * size, j * size, k), (hi * size, hj * size, hk))

    parts = [
        (organ(0, 0, 0, 112, 90, long), 0.35, 1.4),
        (organ(0, 0, 0, 98, 76, long), 0.3, 1.2),
        (organ(-45, -10, 25, 50, 58, 60), draw.uniform(0.6, 0.9), draw.uniform(0.9, 1.3)),
        (organ(70, 20, 30, 24, 38, 45), draw.uniform(1.1, 1.6), draw.uniform(0.7, 0.9)),
        (organ(50, 40, -25, 20, 22, 45), 1.2, kidney),
        (organ(-50, 42, -25, 20, 22, 45), 1.2, kidney),
        (organ(-20, -45, -5, 14, 18, 20), 1.6, draw.uniform(2.5, 3.0)),
        (organ(15, -35, -30, 45, 28, 35), 0.9, draw.uniform(1.5, 2.6)),
        (organ(0, 55, 0, 20, 18, long), 0.2, 0.4),
        (organ(0, 58, 0, 8, 8, long), 1.5, 2.0),
    ]
    return _bodies_signal(scan, b_value, parts, draw)


def _knee(scan: Scan, b_value: float, draw: Draw) -> torch.Tensor:
    """Muscle around fat-suppressed bone, with cartilage and fluid in the joint."""
    place = _place_mm(scan)
    radius = draw.uniform(55, 75)
    femur = _solid(place, (0.0, 5.0, 60.0), (34.0, 32.0, 58.0))
    tibia = _solid(place, (0.0, 5.0, -62.0), (36.0, 30.0, 58.0))
    parts = [
        (_solid(place, (0.0, 0.0, 0.0), (radius, radius, 400.0)), 0.5, draw.uniform(1.3, 1.7)),
        (_solid(place, (0.0, 5.0, 0.0), (42.0, 36.0, 10.0)), 0.9, draw.uniform(2.2, 2.9)),
        (_solid(place, (0.0, 5.0, 60.0), (37.0, 35.0, 61.0)), 0.8, draw.uniform(1.2, 1.6)),
        (_solid(place, (0.0, 5.0, -62.0), (39.0, 33.0, 61.0)), 0.8, draw.uniform(1.2, 1.6)),
        (femur, 0.08, 0.4),
        (tibia, 0.08, 0.4),
    ]
    return _bodies_signal(scan, b_value, parts, draw)


_LESIONS: dict[MimicKind, Callable[[TissueMaps, Atlas, Draw], None]] = {
    MimicKind.HAEMATOMA: _haematoma,
    MimicKind.ABSCESS: _abscess,
    MimicKind.TUMOUR: _tumour,
    MimicKind.SEIZURE: _seizure,
    MimicKind.HYPOXIC_ISCHAEMIC: _hypoxic_ischaemic,
    MimicKind.DEMYELINATION: _demyelination,
    MimicKind.POST_OPERATIVE: _post_operative,
}
_ARTEFACTS: dict[MimicKind, Callable[[torch.Tensor, Scan, Draw], torch.Tensor]] = {
    MimicKind.GHOSTING: _ghosting,
    MimicKind.MOTION: _motion,
    MimicKind.DISTORTION: _distortion,
}
_BODIES: dict[MimicKind, Callable[[Scan, float, Draw], torch.Tensor]] = {
    MimicKind.SPHERE: _sphere,
    MimicKind.ABDOMEN: _abdomen,
    MimicKind.KNEE: _knee,
}

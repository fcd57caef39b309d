"""The scanner's part: a head in a pose, slices with thickness, bias field, noise, and the ADC map that follows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pirtad.inference.simulation.atlas import Atlas
from pirtad.inference.simulation.draw import Draw
from pirtad.inference.simulation.scanners import Scanners

# Middle of the brain in MNI coordinates with the signs of LPS.
_BRAIN_MIDDLE_MM = np.array([0.0, 18.0, 5.0])


@dataclass(frozen=True, slots=True)
class Scan:
    """Grid and pose of one acquisition.

    affine: (4, 4), voxel centres to the patient's LPS mm. shape: voxels. to_atlas: (4, 4), patient LPS to atlas LPS,
    without the elastic part. bend_mm: (3, a, b, c), displacement in the atlas on a coarse lattice over the slab.
    mirrored: the patient's left shows the atlas's right half. thickness_mm: of a slice.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    to_atlas: NDArray[np.float64]
    bend_mm: torch.Tensor
    mirrored: bool
    thickness_mm: float


def draw_scan(scanners: Scanners, draw: Draw) -> Scan:
    """Head size and pose, elastic deformation, and slices as clinical protocols have them."""
    spacing_mm = draw.uniform(1.7, 2.4) if draw.chance(0.75) else draw.uniform(2.4, 3.6)
    thin, thick = scanners.slice_thickness_mm
    # Most protocols are in the upper part of the range.
    thickness_mm = thin + (thick - thin) * draw.uniform(0.0, 1.0) ** 0.5
    gap = draw.choice((1.0, 1.1, 1.2), (0.5, 0.3, 0.2))
    slab = draw.chance(0.2)  # a part of the brain, as research protocols and a scanner in a hurry take it
    height_mm = draw.uniform(60, 115) if slab else draw.uniform(140, 172)
    shape = (
        math.ceil(draw.uniform(215, 245) / spacing_mm),
        math.ceil(draw.uniform(225, 250) / spacing_mm),
        math.ceil(height_mm / (thickness_mm * gap)),
    )
    directions = _rotation_about(draw.normal(0, 10), draw.normal(0, 4), draw.normal(0, 4))
    if draw.chance(0.1):
        directions[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array([spacing_mm, spacing_mm, thickness_mm * gap])
    jitter_mm = np.array([draw.normal(0, 4), draw.normal(0, 4), draw.normal(0, 18 if slab else 5)])
    middle_mm = np.array([draw.uniform(-20, 20), draw.uniform(-40, 30), draw.uniform(-60, 60)])
    affine[:3, 3] = middle_mm + jitter_mm - affine[:3, :3] @ (np.asarray(shape) - 1) / 2

    mirrored = draw.chance(0.5)
    # The atlas is larger than an average brain: 1.9 l within its mask against 1.2 to 1.6 l.
    size = draw.uniform(0.83, 1.0) * np.array([draw.normal(1, 0.03) for _ in range(3)])
    pose = _rotation_about(draw.normal(0, 9), draw.normal(0, 5), draw.normal(0, 5))
    to_atlas = np.eye(4)
    to_atlas[:3, :3] = np.diag(np.array([-1.0 if mirrored else 1.0, 1.0, 1.0]) / size) @ pose.T
    to_atlas[:3, 3] = _BRAIN_MIDDLE_MM - to_atlas[:3, :3] @ middle_mm
    bend_mm = torch.stack([_bend(draw) for _ in range(3)])
    return Scan(affine, shape, to_atlas, bend_mm, mirrored, thickness_mm)


def _rotation_about(pitch_deg: float, roll_deg: float, yaw_deg: float) -> NDArray[np.float64]:
    """Rotations about x, then y, then z."""
    rotation = np.eye(3)
    for axis, degrees in enumerate((pitch_deg, roll_deg, yaw_deg)):
        cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        one = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        one[first, first] = one[second, second] = cosine
        one[first, second], one[second, first] = -sine, sine
        rotation = one @ rotation
    return rotation


def _bend(draw: Draw) -> torch.Tensor:
    """One component: 3.5 mm over about 45 mm, 1 mm over about 20 mm."""
    coarse = draw.smooth_field((24, 24, 20), (6, 6, 5))
    fine = draw.smooth_field((24, 24, 20), (12, 12, 9))
    field = 3.5 * coarse + 1.0 * fine
    return functional.avg_pool3d(field[None, None], 3, 1, 1, count_include_pad=False)[0, 0]


def sample(maps: torch.Tensor, atlas: Atlas, scan: Scan, substeps: int) -> torch.Tensor:
    """Maps (C, I, J, K) of the atlas as the slices of the scan see them: float32 (C, *scan.shape).

    Each slice is the mean over `substeps` planes within its thickness, which is partial volume.
    """
    depth = scan.shape[2]
    i, j = torch.arange(scan.shape[0]).float(), torch.arange(scan.shape[1]).float()
    pitch_mm = float(np.linalg.norm(scan.affine[:3, 2]))
    within = ((torch.arange(substeps).float() + 0.5) / substeps - 0.5) * scan.thickness_mm / pitch_mm
    k = (torch.arange(depth).float()[:, None] + within).flatten()
    index = torch.stack(torch.meshgrid(i, j, k, indexing="ij"), dim=-1)
    full = torch.from_numpy(scan.to_atlas @ scan.affine).float()
    place = index @ full[:3, :3].T + full[:3, 3]
    size = (scan.shape[0], scan.shape[1], depth * substeps)
    place += functional.interpolate(scan.bend_mm[None], size=size, mode="trilinear", align_corners=True)[0].movedim(
        0, -1
    )
    origin = torch.from_numpy(atlas.affine[:3, 3]).float()
    voxel = torch.from_numpy(np.diag(atlas.affine)[:3].copy()).float()
    extent = torch.tensor(atlas.shape).float() - 1
    normalised = ((place - origin) / voxel / extent * 2 - 1).flip(-1)
    planes = functional.grid_sample(maps[None], normalised[None], mode="bilinear", align_corners=True)[0]
    return planes.reshape(*planes.shape[:-1], depth, substeps).mean(-1)


def acquire(
    clean: torch.Tensor, b_value_s_per_mm2: float, scanners: Scanners, draw: Draw
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy DWI and the ADC map a scanner computes: (I, J, K) each, DWI in arbitrary units, ADC in mm2/s.

    clean: (2, I, J, K), signal at b 0 and at b. Noise is Rician (Gudbjartsson and Patz, MRM 34, 1995); the bias field
    is common to both images and cancels out of the ADC.
    """
    shape = clean.shape[1:]
    gain = _gain(shape, scanners, draw)
    typical = float(clean[1][clean[1] > 0.3 * clean[1].max()].median())
    sigma = typical / scanners.draw_snr(draw)
    both = _artefacts(clean * gain, draw)
    if draw.chance(0.5):  # the reconstruction's filter, in plane; noise is finer than the image then
        both = _smooth_in_plane(both, draw.uniform(0.0, 0.8))
    noisy = ((both + sigma * draw.noise(both.shape)) ** 2 + (sigma * draw.noise(both.shape)) ** 2).sqrt()
    if draw.chance(0.3):  # filtered after the magnitude was taken: noise is coarse
        noisy = _smooth_in_plane(noisy, draw.uniform(0.3, 0.8))
    noisy = noisy.clamp(min=1e-6)
    adc = (noisy[0] / noisy[1]).log() / b_value_s_per_mm2
    if draw.chance(0.7):
        adc = adc.clamp(min=0)
    if draw.chance(0.7):
        adc = torch.where(noisy[0] > 0.25 * typical, adc, torch.zeros(()))
    return noisy[1] * (10 ** draw.uniform(1.5, 3.5) / typical), adc


def _gain(shape: tuple[int, ...], scanners: Scanners, draw: Draw) -> torch.Tensor:
    """Coils: a smooth gain, bright rims or middles (receive arrays, dielectric effect at 3 T), ripples that bias
    correction leaves behind, and slices that differ a little by the order they were taken in. (I, J, K), about 1."""
    gain = draw.uniform(*scanners.coil_bias) * draw.smooth_field(shape, (4, 4, 3))
    axes = [torch.linspace(-1, 1, length) - draw.normal(0, 0.2) for length in shape]
    radius = axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + draw.uniform(0.0, 1.0) * axes[2] ** 2
    gain = gain + draw.normal(0.0, 0.25) * radius
    gain = gain + draw.uniform(0.0, 0.06) * draw.smooth_field(shape, (9, 9, 6))
    odd = torch.arange(shape[2]) % 2 * draw.normal(0.0, 0.025)
    return torch.exp(gain + odd + draw.uniform(0.0, 0.02) * draw.noise((shape[2],)))


def _artefacts(images: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Images (2, I, J, K) with, in some studies, a Nyquist ghost half a field of view along the phase encoding,
    truncation ripples (Gibbs), and slices of the weighted image that lost signal to motion."""
    if draw.chance(0.25):
        ghost = images.roll(images.shape[2] // 2, dims=2)
        images = images + draw.uniform(0.005, 0.03) * ghost
    if draw.chance(0.25):
        images = _truncated(images, draw.uniform(0.7, 0.95))
    if draw.chance(0.08):
        lost = torch.rand(images.shape[3], generator=draw.generator) < 0.12
        keep = torch.where(lost, draw.uniform(0.75, 0.95), 1.0)
        images = torch.stack([images[0], images[1] * keep])
    return images


def _truncated(images: torch.Tensor, share: float) -> torch.Tensor:
    """Only the middle `share` of the spatial frequencies along i and j, as a smaller matrix samples them."""
    spectrum = torch.fft.rfft2(images, dim=(1, 2))
    rows = torch.fft.fftfreq(images.shape[1]).abs() <= share / 2
    columns = torch.fft.rfftfreq(images.shape[2]) <= share / 2
    spectrum = spectrum * (rows[:, None] & columns)[None, :, :, None]
    filtered: torch.Tensor = torch.fft.irfft2(spectrum, s=images.shape[1:3], dim=(1, 2))
    return filtered.clamp(min=0)


def _smooth_in_plane(images: torch.Tensor, sigma_voxels: float) -> torch.Tensor:
    """Images (C, I, J, K) under a Gaussian of three taps along i and j; sigma_voxels below 1."""
    side = math.exp(-0.5 / max(sigma_voxels, 0.2) ** 2)
    taps = torch.tensor([side, 1.0, side]) / (1 + 2 * side)
    flat = images[:, None]
    flat = functional.conv3d(flat, taps.reshape(1, 1, 3, 1, 1), padding=(1, 0, 0))
    return functional.conv3d(flat, taps.reshape(1, 1, 1, 3, 1), padding=(0, 1, 0))[:, 0]


def interpolate_in_plane(
    image: torch.Tensor, affine: NDArray[np.float64], factor: int
) -> tuple[torch.Tensor, NDArray[np.float64]]:
    """Finer voxels without more detail, as scanners store them; the same patient space is covered."""
    size = (image.shape[0] * factor, image.shape[1] * factor, image.shape[2])
    fine = functional.interpolate(image[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    finer = affine.copy()
    finer[:3, :2] /= factor
    finer[:3, 3] += (finer[:3, 0] + finer[:3, 1]) * (1 - factor) / 2
    return fine, finer

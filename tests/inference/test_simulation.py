"""Simulated studies: the truth they state is the truth they show."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pirtad.inference.findings import SignalClass, Territory
from pirtad.inference.simulation.acquisition import draw_scan, interpolate_in_plane, sample
from pirtad.inference.simulation.atlas import LABEL_OF, load_atlas
from pirtad.inference.simulation.build_territories import CLASS_OF_REGION
from pirtad.inference.simulation.confounders import add_confounders
from pirtad.inference.simulation.draw import Draw, blurred
from pirtad.inference.simulation.lesions import TYPE_ODDS, draw_lesion, share_in
from pirtad.inference.simulation.normal_variation import vary_normal_tissue
from pirtad.inference.simulation.scanners import scanners
from pirtad.inference.simulation.study import SMALLEST_LESION_ML, SimulatedStudy, simulate
from pirtad.inference.simulation.tissue import draw_tissue
from pirtad.inference.volume import Volume

INFARCTS = tuple(territory for territory in Territory if territory is not Territory.NORMAL)


@pytest.fixture(scope="module")
def studies() -> dict[Territory, SimulatedStudy]:
    return {territory: simulate(920_000 + number, territory) for number, territory in enumerate(Territory)}


def world(volume: Volume, index: np.ndarray) -> np.ndarray:
    """Patient coordinates (LPS, mm) of voxel indices (N, 3)."""
    return index @ volume.affine[:3, :3].T + volume.affine[:3, 3]


def test_the_same_seed_gives_the_same_study(studies: dict[Territory, SimulatedStudy]) -> None:
    again = simulate(920_001, Territory.ANTERIOR)
    np.testing.assert_array_equal(again.dwi.array, studies[Territory.ANTERIOR].dwi.array)
    np.testing.assert_array_equal(again.adc_mm2_per_s.array, studies[Territory.ANTERIOR].adc_mm2_per_s.array)
    assert again.truth.finding == studies[Territory.ANTERIOR].truth.finding


def test_another_seed_gives_another_study(studies: dict[Territory, SimulatedStudy]) -> None:
    other = simulate(920_011, Territory.ANTERIOR)
    assert not np.array_equal(other.dwi.affine, studies[Territory.ANTERIOR].dwi.affine)


def test_a_normal_study_has_no_infarct(studies: dict[Territory, SimulatedStudy]) -> None:
    truth = studies[Territory.NORMAL].truth
    assert truth.territory is truth.finding.territory is Territory.NORMAL
    assert truth.side is None
    assert truth.volume_ml == 0
    assert not truth.lesion_mask.any()


@pytest.mark.parametrize("territory", INFARCTS)
def test_an_infarct_is_where_and_what_the_truth_says(
    studies: dict[Territory, SimulatedStudy], territory: Territory
) -> None:
    study = studies[territory]
    truth = study.truth
    # Given the mask on the DWI grid, its volume is the stated one and enough to be seen
    assert truth.lesion_mask.shape == truth.territories.shape == study.dwi.array.shape
    voxel_ml = abs(np.linalg.det(study.dwi.affine[:3, :3])) / 1000
    assert truth.volume_ml == pytest.approx(truth.lesion_mask.sum() * voxel_ml)
    assert truth.volume_ml >= SMALLEST_LESION_ML
    # its labelled voxels lie in the territory
    labels = truth.territories[truth.lesion_mask]
    assert (labels[labels > 0] == LABEL_OF[territory]).mean() >= 0.8
    # and diffusion is restricted in it: brighter on DWI and lower on ADC than the rest of the same territory.
    rest = (truth.territories == LABEL_OF[territory]) & ~truth.lesion_mask
    assert np.median(study.dwi.array[truth.lesion_mask]) > 1.1 * np.median(study.dwi.array[rest])
    assert np.median(study.adc_mm2_per_s.array[truth.lesion_mask]) < 0.9 * np.median(study.adc_mm2_per_s.array[rest])
    assert truth.finding.infarct_type in TYPE_ODDS[territory]
    assert truth.finding.signal_class in tuple(SignalClass)


@pytest.mark.parametrize("territory", INFARCTS)
def test_the_stated_side_is_the_patients_side(studies: dict[Territory, SimulatedStudy], territory: Territory) -> None:
    # Given the middle of the head from the territories of both hemispheres
    study = studies[territory]
    head_x = world(study.dwi, np.argwhere(study.truth.territories > 0))[:, 0].mean()
    lesion_x = world(study.dwi, np.argwhere(study.truth.lesion_mask))[:, 0].mean()
    # Then +x of DICOM LPS is the patient's left (PS3.3 C.7.6.2.1.1).
    assert study.truth.side == ("left" if lesion_x > head_x else "right")


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_marker_at_mni_left_lies_at_plus_x(mirrored: bool) -> None:
    # Given a marker at MNI x = -40 mm (left, as MNI coordinates are RAS), y = -20, z = 20, and one below the middle
    atlas = load_atlas()
    marker = torch.zeros(atlas.shape)
    in_lps = np.array([40.0, 20.0, 20.0])  # x and y change sign
    index = np.rint(np.linalg.inv(atlas.affine) @ [*in_lps, 1.0])[:3].astype(int)
    marker[tuple(index)] = 1.0
    marker = blurred(marker, 5)
    assert bool(atlas.left[tuple(index)])
    # When an unbent head is scanned
    scan = next(
        scan for seed in range(50) if (scan := draw_scan(scanners("training"), Draw(seed))).mirrored is mirrored
    )
    scan = dataclasses.replace(scan, bend_mm=torch.zeros_like(scan.bend_mm))
    stack = torch.stack([marker, atlas.brain.float()])
    seen, brain = sample(stack, atlas, scan, substeps=2).numpy()
    # Then it lies on the patient's left, +x, or on the right where the atlas was mirrored,
    affine = scan.affine
    where = np.argwhere(seen > 0.5 * seen.max()).mean(0) @ affine[:3, :3].T + affine[:3, 3]
    middle = np.argwhere(brain > 0.5).mean(0) @ affine[:3, :3].T + affine[:3, 3]
    assert (where[0] - middle[0]) * (-1 if mirrored else 1) > 20
    # and where the pose puts it.
    expected = np.linalg.inv(scan.to_atlas) @ [*in_lps, 1.0]
    np.testing.assert_allclose(where, expected[:3], atol=2.5)


def test_the_atlas_names_left_and_right_as_anatomy_does() -> None:
    atlas = load_atlas()
    x_mm = atlas.positions_mm(torch.argwhere(atlas.left & (atlas.territory > 0)))[:, 0]
    assert float(x_mm.min()) > 0
    # The occipital pole is posterior circulation and the frontal pole anterior: +y of LPS is behind.
    posterior = atlas.positions_mm(torch.argwhere(atlas.territory == 3))[:, 1].mean()
    anterior = atlas.positions_mm(torch.argwhere(atlas.territory == 1))[:, 1].mean()
    assert posterior > anterior + 30
    assert set(atlas.territory.unique().tolist()) == {0, 1, 2, 3}
    assert len(CLASS_OF_REGION) == 15


@pytest.mark.parametrize("territory", INFARCTS)
def test_most_of_a_lesion_lies_in_its_territory(territory: Territory) -> None:
    atlas = load_atlas()
    for seed in range(3):
        lesion = draw_lesion(atlas, territory, Draw(seed))
        assert share_in(atlas, lesion.weight, territory) >= 0.75  # `simulate` draws again below 0.8
        assert 0 <= float(lesion.weight.min()) <= float(lesion.weight.max()) <= 1


def test_finer_pixels_cover_the_same_space() -> None:
    # Given a bright voxel away from the middle
    image = torch.zeros(20, 24, 6)
    image[5, 15, 2] = 1.0
    affine = np.array([[2.0, 0.1, 0, -30], [-0.1, 2.0, 0.2, -10], [0, -0.2, 5.0, 7], [0, 0, 0, 1]])
    fine, finer = interpolate_in_plane(image, affine, 2)
    # Then its centre of mass stays where it was.
    index = np.argwhere(fine.numpy() > 0)
    weights = fine.numpy()[tuple(index.T)]
    middle = np.average(index, axis=0, weights=weights) @ finer[:3, :3].T + finer[:3, 3]
    np.testing.assert_allclose(middle, affine[:3, :3] @ [5, 15, 2] + affine[:3, 3], atol=1e-6)


def test_blurring_a_part_equals_blurring_the_whole() -> None:
    image = torch.zeros(20, 20, 20)
    image[4:7, 5, 0:3] = 1.0
    whole = torch.nn.functional.avg_pool3d(image[None, None], 5, 1, 2)[0, 0]
    torch.testing.assert_close(blurred(image, 5), whole)


def test_normal_variation_is_the_same_on_both_sides() -> None:
    # Given the same healthy head with and without it, an infarct is one-sided and this is not
    atlas = load_atlas()
    for seed in range(3):
        before, after = (
            draw_tissue(atlas, scanners("training"), Draw(seed)),
            draw_tissue(atlas, scanners("training"), Draw(seed)),
        )
        vary_normal_tissue(after, atlas, Draw(100 + seed))
        tissue = atlas.brain & (before.parenchyma_s0 > 0.01)  # pure fluid has no tissue to vary
        change = after.parenchyma_s0[tissue] / before.parenchyma_s0[tissue]
        assert float(change.min()) > 0.5
        assert float(change.max()) < 2.2
        adc = after.parenchyma_adc_mm2_per_s / before.parenchyma_adc_mm2_per_s
        both = tissue & tissue.flip(0)
        assert float((adc - adc.flip(0))[both].abs().mean()) < 0.02
        assert float((adc - 1)[both].abs().max()) > 0.02


def test_pile_up_is_bright_and_leaves_the_adc() -> None:
    atlas = load_atlas()
    most = 0.0
    for seed in range(6):
        before, after = (
            draw_tissue(atlas, scanners("training"), Draw(seed)),
            draw_tissue(atlas, scanners("training"), Draw(seed)),
        )
        add_confounders(after, atlas, Draw(seed + 50))
        tissue = atlas.brain & (before.parenchyma_s0 > 0.01)
        gain = after.parenchyma_s0[tissue] / before.parenchyma_s0[tissue]
        adc = after.parenchyma_adc_mm2_per_s[tissue] / before.parenchyma_adc_mm2_per_s[tissue]
        bright = gain > 2.5
        most = max(most, float(gain.max()))
        # Nothing that is this bright has a low ADC: only an infarct has both.
        assert float(adc[bright].min() if bright.any() else 1.0) > 0.9
    assert most > 2.0


def test_gyri_keep_the_brain_full() -> None:
    # Wherever folds are drawn, gray, white and fluid still fill the brain: no hole without signal.
    atlas = load_atlas()
    maps = draw_tissue(atlas, scanners("training"), Draw(7))
    total = (maps.parenchyma_s0 + maps.fluid_s0)[atlas.brain]
    assert bool(torch.isfinite(total).all())
    assert float(total.min()) > 0.05


def test_the_hindbrain_is_cerebellum_and_brainstem() -> None:
    atlas = load_atlas()
    litres = float(atlas.hindbrain.sum()) * 8e-6
    assert 0.12 < litres < 0.32  # cerebellum and brainstem are about 0.16 l; the atlas head is large
    where = atlas.positions_mm((atlas.hindbrain > 0.5).nonzero())
    assert float(where[:, 2].max()) < 10

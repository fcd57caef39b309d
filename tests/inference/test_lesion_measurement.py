"""Measures of a lesion: checked on the atlas's own head, turned, shrunk and shifted, with infarcts drawn by region."""

from __future__ import annotations

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from support.shared import shared_data

from pirtad.daemon.cli.nifti import read_pair
from pirtad.inference.findings import Territory
from pirtad.inference.lesion.atlas import REGIONS, load_regions, load_template
from pirtad.inference.lesion.fitting import transform_of
from pirtad.inference.lesion.lookup import nearest, transformed
from pirtad.inference.lesion.measure import measure_lesion, measure_mask
from pirtad.inference.lesion.mirror import is_left, mirror_by_symmetry, mirror_by_template
from pirtad.inference.lesion.registration import register
from pirtad.inference.preprocess.grid import SHAPE, centroid_mm, grid_affine
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.preprocess.resample import resample_mask
from pirtad.inference.volume import DiffusionPair, Volume

INFARCT_ADC, NORMAL_ADC = 0.45e-3, 0.8e-3


def pose() -> NDArray[np.float64]:
    """Patient to template coordinates: 8 degrees of tilt, a smaller head, 20 mm off."""
    turn = np.deg2rad(8)
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([1.08, 1.05, 1.1]) @ [
        [np.cos(turn), -np.sin(turn), 0],
        [np.sin(turn), np.cos(turn), 0],
        [0, 0, 1],
    ]
    matrix[:3, 3] = [12, -20, 9]
    return matrix


def seen(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> Volume:
    """The template's ADC, 1e-3 mm2/s, in that pose on a grid."""
    target = Volume(np.zeros(shape, dtype=np.float32), affine).to_sitk()
    moved = sitk.Resample(load_template().to_sitk(), target, transform_of(pose()), sitk.sitkLinear, 0.0)
    return Volume.from_sitk(moved)


@pytest.fixture(scope="module")
def adc() -> Volume:
    """The patient's ADC map, mm2/s, on the scanner's grid: 100 x 110 x 34 voxels of 2 x 2 x 5 mm."""
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:3, 3] = np.linalg.inv(pose())[:3, 3] + [-100, -100, -72]
    map_ = seen(affine, (100, 110, 34))
    return Volume(map_.array * np.float32(1e-3), affine)


@pytest.fixture(scope="module")
def patient(adc: Volume) -> NetworkInput:
    affine = grid_affine(centroid_mm(adc.array > 0.4e-3, adc.affine))
    map_ = seen(affine, SHAPE).array
    mask = map_ > 0.4
    return NetworkInput(np.stack([mask.astype(np.float32), map_ * mask]), mask, affine)


def region(adc: Volume, code: str, side: str, radius_mm: float = 14.0) -> NDArray[np.bool_]:
    """The voxels of a region within a ball about its middle, in the true pose."""
    label = 2 * list(REGIONS).index(code) + (1 if side == "left" else 2)
    voxels = np.argwhere(adc.array > 0)
    points = transformed(transformed(voxels, adc.affine), pose())
    atlas = load_regions()
    there = nearest(atlas.labels, atlas.affine, points) == label
    middle = np.median(points[there], axis=0)
    chosen = there & (np.linalg.norm(points - middle, axis=1) < radius_mm)
    mask = np.zeros(adc.array.shape, dtype=np.bool_)
    mask[tuple(voxels[chosen].T)] = True
    return mask


def with_adc(adc: Volume, *painted: tuple[NDArray[np.bool_], float]) -> DiffusionPair:
    array = adc.array.copy()
    for mask, value in painted:
        array[mask] = value
    return DiffusionPair(Volume(np.ones_like(array), adc.affine), Volume(array, adc.affine), 1000.0)


@pytest.mark.parametrize(
    ("code", "side", "territory"),
    [
        ("MCAF", "left", Territory.ANTERIOR),
        ("PCAO", "right", Territory.POSTERIOR),
        ("LLS", "left", Territory.DEEP_GRAY_MATTER),
    ],
)
def test_an_infarct_is_placed_and_measured(
    adc: Volume, patient: NetworkInput, code: str, side: str, territory: Territory
) -> None:
    # Given an infarct in one region of a turned and smaller head
    infarct = region(adc, code, side)
    pair = with_adc(adc, (infarct, INFARCT_ADC))

    measured, mask = measure_mask(infarct, patient, pair)

    # Then volume, side, region and class are that region's, and diffusion is measured in it.
    np.testing.assert_array_equal(mask, infarct)
    assert measured.registration is not None
    assert measured.registration.ok, measured.registration.reason
    assert measured.volume_ml == pytest.approx(infarct.sum() * 0.02)
    assert measured.side == side
    assert measured.foci == 1
    assert measured.territories is not None
    assert (measured.territories[0].code, measured.territories[0].side) == (code, side)
    assert measured.territories[0].share > 0.75
    assert measured.territories[0].ml == pytest.approx(measured.territories[0].share * measured.volume_ml)
    assert measured.dominant is territory
    assert measured.mean_adc_mm2_per_s == pytest.approx(INFARCT_ADC, rel=1e-4)
    assert measured.mirrored_adc_mm2_per_s == pytest.approx(NORMAL_ADC, abs=0.2e-3)
    assert measured.adc_ratio == pytest.approx(INFARCT_ADC / measured.mirrored_adc_mm2_per_s, rel=1e-3)


def test_only_foci_of_some_size_with_reduced_adc_count(adc: Volume, patient: NetworkInput) -> None:
    # Given two infarcts, one each side, a bright spot whose ADC is normal, and one of two voxels (0.04 ml)
    left, right = region(adc, "MCAF", "left"), region(adc, "MCAP", "right")
    spot = region(adc, "PCAO", "left", radius_mm=10)
    speck = np.zeros_like(spot)
    index = tuple(np.argwhere(region(adc, "SC", "left"))[0])
    speck[index[0] : index[0] + 2, index[1], index[2]] = True
    pair = with_adc(adc, (left, INFARCT_ADC), (right, INFARCT_ADC), (spot, NORMAL_ADC), (speck, INFARCT_ADC))

    measured, mask = measure_mask(left | right | spot | speck, patient, pair)

    np.testing.assert_array_equal(mask, left | right)
    assert measured.foci == 2
    assert measured.without_restriction == 1
    assert measured.side == "bilateral"
    assert any("not counted: 1" in line for line in measured.lines())


def test_nothing_found_is_a_volume_of_zero_and_nothing_else(adc: Volume, patient: NetworkInput) -> None:
    probability = np.full(SHAPE, 0.49, dtype=np.float32)
    measured, mask, _ = measure_lesion(probability, patient, with_adc(adc))
    assert measured is not None
    assert mask is not None
    assert not mask.any()
    assert measured.dominant is Territory.NORMAL
    assert measured.to_dict() == {
        "volume_ml": 0.0, "side": None, "foci": None, "mean_adc_mm2_per_s": None, "mirrored_adc_mm2_per_s": None,
        "adc_ratio": None, "territories": None, "classes": None, "unassigned_share": None,
        "foci_without_restriction": 0, "registration": None,
    }  # fmt: skip


def test_a_map_on_the_networks_grid_becomes_a_mask_on_the_scanners(adc: Volume, patient: NetworkInput) -> None:
    # Given a probability that is 1 in the infarct on the network's grid
    infarct = region(adc, "MCAP", "right", radius_mm=18)
    probability = resample_mask(infarct, adc.affine, patient.affine, SHAPE).astype(np.float32)

    measured, mask, _ = measure_lesion(probability, patient, with_adc(adc, (infarct, INFARCT_ADC)))
    assert measured is not None
    assert mask is not None

    # Then the mask covers the infarct where it lies
    overlap = 2 * (mask & infarct).sum() / (mask.sum() + infarct.sum())
    assert overlap > 0.85
    assert measured.side == "right"


def test_a_head_that_is_not_found_has_a_side_and_no_territories(adc: Volume, patient: NetworkInput) -> None:
    # Given a head whose network grid is upside down and back to front, which no affine fit from upright can mend
    infarct = region(adc, "MCAF", "left")
    array = np.ascontiguousarray(patient.array[:, :, ::-1, ::-1])
    upset = replace(patient, array=array, mask=np.ascontiguousarray(patient.mask[:, ::-1, ::-1]))
    pair = with_adc(adc, (infarct, INFARCT_ADC))

    measured, _ = measure_mask(infarct, upset, pair)

    assert measured.registration is not None
    assert not measured.registration.ok
    assert measured.territories is None
    assert measured.classes is None
    assert measured.dominant is None
    assert any(measured.registration.reason in line for line in measured.lines())


def test_both_ways_to_the_middle_of_the_head_agree(adc: Volume, patient: NetworkInput) -> None:
    nothing = np.zeros(SHAPE, dtype=np.bool_)
    mirror = mirror_by_symmetry(patient, nothing)
    assert mirror is not None
    by_template = mirror_by_template(register(patient, nothing))
    for code in ("MCAF", "PCAO"):
        for side in ("left", "right"):
            points = transformed(np.argwhere(region(adc, code, side)), adc.affine)
            assert (is_left(points, mirror) == (side == "left")).mean() > 0.95
            assert (is_left(points, by_template) == (side == "left")).mean() > 0.95


def test_a_mask_of_another_shape_is_refused(adc: Volume, patient: NetworkInput) -> None:
    with pytest.raises(ValueError, match="shape"):
        measure_mask(np.zeros((3, 3, 3), dtype=np.bool_), patient, with_adc(adc))


def test_a_real_infarct_is_left_and_anterior_and_the_old_one_is_not_counted() -> None:
    # Given SOOP sub-3: an acute infarct and an old right cerebellar one
    folder = shared_data("nifti/soop_sub-3")
    pair = read_pair(folder / "sub-3_rec-TRACE_dwi.nii.gz", folder / "sub-3_rec-ADC_dwi.nii.gz", 1000.0)
    patient = preprocess(pair)
    acute, chronic = (
        np.asarray(nibabel.load(folder / f"sub-3_space-TRACE_desc-lesion{name}_mask.nii.gz").dataobj) > 0
        for name in ("Acute", "Chronic")
    )

    measured, mask = measure_mask(acute | chronic, patient, pair)

    assert measured.side == "left"
    assert measured.dominant is Territory.ANTERIOR
    assert measured.mean_adc_mm2_per_s is not None
    assert measured.mean_adc_mm2_per_s < 0.6e-3
    assert not (mask & chronic & ~acute).any()
    assert measured.without_restriction >= 1

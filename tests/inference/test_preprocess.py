"""Preprocessing: geometry, masks, units, and refusal of what is no brain."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from support.shared import shared_data

from pirtad.inference.errors import ModelMismatch, StudyNotUsable
from pirtad.inference.findings import Territory
from pirtad.inference.preprocess import network_input
from pirtad.inference.preprocess.bias_field import correct_bias_field
from pirtad.inference.preprocess.brain_mask import brain_mask
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION, NetworkInput
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.preprocess.resample import resample
from pirtad.inference.simulation.study import SimulatedStudy, simulate
from pirtad.inference.volume import DiffusionPair, Volume


@pytest.fixture(scope="module")
def study() -> SimulatedStudy:
    return simulate(910_001, Territory.ANTERIOR)


@pytest.fixture(scope="module")
def ready(study: SimulatedStudy) -> NetworkInput:
    return preprocess(study.pair)


def nifti(relative: str, scale: float = 1.0) -> Volume:
    image = nib.load(shared_data(relative))
    array = np.asarray(image.dataobj, dtype=np.float32).reshape(image.shape[:3])
    return Volume(array * np.float32(scale), np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)


def ball(radius_mm: float, spacing_mm: float = 4.0) -> Volume:
    """A bright ball in the dark, with a little texture."""
    size = int(2 * (radius_mm + 20) / spacing_mm)
    axis = (np.arange(size) - (size - 1) / 2) * spacing_mm
    far = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    noise = np.random.default_rng(0).normal(0, 5, far.shape)
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    return Volume(((far < radius_mm) * 500 + noise).astype(np.float32), affine)


def with_adc(dwi: Volume, adc: float = 0.8e-3) -> DiffusionPair:
    return DiffusionPair(dwi, Volume(np.full(dwi.array.shape, adc, np.float32), dwi.affine), 1000.0)


def test_the_array_is_what_the_network_takes(ready: NetworkInput) -> None:
    assert ready.array.shape == (2, 96, 112, 48)
    assert ready.array.dtype == np.float32
    assert np.isfinite(ready.array).all()
    assert (ready.array[:, ~ready.mask] == 0).all()
    np.testing.assert_allclose(ready.affine[:3, :3], np.diag([2.0, 2.0, 4.0]))
    # Scales: the brain's median on DWI is 1 by construction, parenchyma has an ADC of 0.7 to 1 (1e-3 mm2/s).
    assert np.median(ready.array[0][ready.mask]) == pytest.approx(1.0, abs=0.02)
    assert 0.6 < np.percentile(ready.array[1][ready.mask], 20) < 1.1


def test_the_brain_is_centred(ready: NetworkInput) -> None:
    middle = [voxels.mean() for voxels in np.nonzero(ready.mask)]
    np.testing.assert_allclose(middle, [47.5, 55.5, 23.5], atol=0.75)


def test_adc_stays_in_physical_units(study: SimulatedStudy, ready: NetworkInput) -> None:
    # When the ADC map is interpolated by SimpleITK alone, the channel holds the same numbers in 1e-3 mm2/s.
    alone = resample(study.adc_mm2_per_s, ready.affine, (96, 112, 48)) * 1000
    np.testing.assert_allclose(ready.array[1][ready.mask], alone[ready.mask].clip(0, 3.5), atol=1e-5)


@pytest.mark.parametrize("order", ["slices reversed", "axes permuted", "left to right"])
def test_storage_order_does_not_matter(study: SimulatedStudy, ready: NetworkInput, order: str) -> None:
    # Given the same study stored in another voxel order, with an affine that says so
    def stored(volume: Volume) -> Volume:
        flip = np.eye(4)
        if order == "axes permuted":
            swap = np.eye(4)[:, [2, 0, 1, 3]]
            return Volume(np.ascontiguousarray(volume.array.transpose(2, 0, 1)), volume.affine @ swap)
        axis = 2 if order == "slices reversed" else 0
        flip[axis, axis], flip[axis, 3] = -1, volume.array.shape[axis] - 1
        return Volume(np.ascontiguousarray(np.flip(volume.array, axis)), volume.affine @ flip)

    pair = DiffusionPair(stored(study.dwi), stored(study.adc_mm2_per_s), 1000.0)
    # When it is preprocessed, then the network sees the same (N4 and morphology leave a rounding at the rim).
    again = preprocess(pair)
    overlap = 2 * (again.mask & ready.mask).sum() / (again.mask.sum() + ready.mask.sum())
    assert overlap > 0.98
    both = again.mask & ready.mask
    assert np.corrcoef(again.array[1][both], ready.array[1][both])[0, 1] > 0.98


def test_adc_on_a_grid_of_its_own_is_brought_to_the_dwi(study: SimulatedStudy, ready: NetworkInput) -> None:
    # Given an ADC map cropped in the plane, as some vendors export it
    adc = study.adc_mm2_per_s
    shifted = adc.affine.copy()
    shifted[:3, 3] += shifted[:3, :3] @ np.array([3, 5, 0])
    cropped = Volume(np.ascontiguousarray(adc.array[3:-3, 5:-5]), shifted)
    again = preprocess(DiffusionPair(study.dwi, cropped, 1000.0))
    np.testing.assert_allclose(again.array[1], ready.array[1], atol=1e-4)


def test_nan_outside_the_head_does_no_harm(study: SimulatedStudy, ready: NetworkInput) -> None:
    dwi, adc = study.dwi.array.copy(), study.adc_mm2_per_s.array.copy()
    dwi[:3], adc[:3] = np.nan, np.nan
    pair = DiffusionPair(Volume(dwi, study.dwi.affine), Volume(adc, study.dwi.affine), 1000.0)
    assert np.isfinite(preprocess(pair).array).all()


@pytest.mark.parametrize(
    ("pair", "code", "says"),
    [
        (with_adc(ball(30.0)), "brain_out_of_range", "113 ml|11[0-9] ml|12[0-9] ml"),
        (with_adc(ball(95.0)), "brain_out_of_range", "3[0-9]{3} ml"),
        (with_adc(Volume(np.zeros((40, 40, 20), np.float32), np.diag([4.0, 4.0, 6.0, 1.0]))), "no_brain", "no brain"),
        (with_adc(ball(65.0), adc=0.8), "adc_out_of_range", "0.8 mm2/s"),
        (with_adc(ball(65.0), adc=0.0), "adc_out_of_range", "0 mm2/s"),
    ],
    ids=["too small", "too large", "empty", "ADC in 1e-3 units", "ADC of zeros"],
)
def test_what_is_no_brain_is_refused_with_figures(pair: DiffusionPair, code: str, says: str) -> None:
    with pytest.raises(StudyNotUsable, match=says) as refused:
        preprocess(pair)
    assert refused.value.code == code


def test_a_ball_of_brain_size_is_found_as_it_is() -> None:
    volume = ball(65.0)
    truth = volume.array > 250
    mask = brain_mask(volume)
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.95


def test_bias_field_correction_flattens_a_smooth_gain() -> None:
    # Given an even object under a gain that varies by a factor of two along x
    axis = [np.linspace(-1, 1, length) for length in (96, 112, 48)]
    mask = axis[0][:, None, None] ** 2 + axis[1][:, None] ** 2 + axis[2] ** 2 < 0.6
    gain = np.exp(0.35 * axis[0])[:, None, None] * np.ones((96, 112, 48))
    noise = 1 + 0.03 * np.random.default_rng(1).standard_normal(mask.shape)
    image = np.where(mask, 100 * gain * noise, 0).astype(np.float32)
    # When it is corrected, then most of the variation is gone.
    corrected = correct_bias_field(image, mask)
    assert corrected[mask].std() / corrected[mask].mean() < 0.4 * image[mask].std() / image[mask].mean()


def test_a_saved_input_comes_back_whole(tmp_path, ready: NetworkInput) -> None:
    ready.save(tmp_path / "input.npz")
    again = NetworkInput.load(tmp_path / "input.npz")
    np.testing.assert_array_equal(again.array, ready.array)
    np.testing.assert_array_equal(again.mask, ready.mask)
    np.testing.assert_array_equal(again.affine, ready.affine)
    assert again.version == PREPROCESSING_VERSION
    assert [path.name for path in tmp_path.iterdir()] == ["input.npz"]


def test_an_input_of_another_version_is_refused(tmp_path, ready: NetworkInput, monkeypatch) -> None:
    ready.save(tmp_path / "input.npz")
    monkeypatch.setattr(network_input, "PREPROCESSING_VERSION", "another")
    with pytest.raises(ModelMismatch, match="version"):
        NetworkInput.load(tmp_path / "input.npz")


def test_resampling_agrees_with_simpleitk_point_by_point(study: SimulatedStudy, ready: NetworkInput) -> None:
    image = study.dwi.to_sitk()
    grid = resample(study.dwi, ready.affine, (96, 112, 48))
    for index in ((48, 56, 24), (30, 60, 20), (70, 40, 30)):
        point = (ready.affine @ np.array([*index, 1.0]))[:3]
        here = image.EvaluateAtPhysicalPoint(point.tolist(), sitk.sitkLinear)
        assert grid[index] == pytest.approx(here, rel=1e-4)


def test_brain_mask_against_hd_bet_on_a_real_stroke() -> None:
    # The largest infarct we have, 156 ml, three times brighter than brain, skull present.
    mask = brain_mask(nifti("nifti/soop_sub-3/sub-3_rec-TRACE_dwi.nii.gz"))
    reference = nifti("reference/soop_sub-3_hdbet_mask.nii.gz").array > 0
    infarct = nifti("nifti/soop_sub-3/sub-3_space-TRACE_desc-lesionAcute_mask.nii.gz").array > 0
    dice = 2 * (mask & reference).sum() / (mask.sum() + reference.sum())
    print(f"Dice against HD-BET {dice:.3f}, share of the infarct kept {mask[infarct].mean():.3f}")
    assert dice > 0.95
    assert mask[infarct].mean() > 0.98


def test_a_brain_already_extracted_is_kept() -> None:
    dwi = nifti("nifti/isles22_0001/sub-strokecase0001_ses-0001_dwi.nii.gz")
    mask, brain = brain_mask(dwi), dwi.array > 0
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.95

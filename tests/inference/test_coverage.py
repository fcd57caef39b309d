"""Which part of the head was assessed: on the atlas's own head with known pose, and on real heads, whole and cut."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from support.shared import shared_data
from support.soop import soop_sub3_volume

from pirtad.daemon.cli.nifti import read_pair
from pirtad.inference.lesion.atlas import load_template
from pirtad.inference.lesion.coverage import Coverage, Covered, Part
from pirtad.inference.lesion.cut_head import CUT_FROM_CM2, imaged_voxels, register_imaged, sections_cm2
from pirtad.inference.lesion.fitting import transform_of
from pirtad.inference.lesion.measure import measure_lesion
from pirtad.inference.lesion.measure_coverage import measure_coverage
from pirtad.inference.lesion.registration import Registration, register
from pirtad.inference.preprocess.grid import SHAPE, centroid_mm, grid_affine
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.preprocess.preprocess import preprocess
from pirtad.inference.volume import DiffusionPair, Volume

# Patient to template: a head of usual size, off the middle.
POSE = np.diag([1.12, 1.1, 1.15, 1.0])
POSE[:3, 3] = [5.0, 12.0, -8.0]
NOTHING = np.zeros(SHAPE, dtype=np.bool_)


def turned(pitch_degrees: float) -> NDArray[np.float64]:
    """Directions (3, 3) of an image whose slices are tilted about the left-right axis."""
    turn = np.deg2rad(pitch_degrees)
    return np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])


AXIAL = np.eye(3)
MIRRORED = np.diag([-1.0, -1.0, 1.0])  # rows and columns the other way round
UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0])  # slices from top to foot
SAGITTAL = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
CORONAL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def imaged(
    lowest_mm: float, highest_mm: float, directions: NDArray[np.float64] = AXIAL
) -> tuple[NetworkInput, DiffusionPair]:
    """The template's head in that pose, imaged between these two z of the template (at its middle), 2.5 x 2.5 x 4 mm
    along the image's own axes."""
    to_patient = np.linalg.inv(POSE)
    foot, top = ((to_patient @ [0, 18, z, 1])[2] for z in (lowest_mm, highest_mm))
    centre = np.array([*(to_patient @ [0, 18, 0, 1])[:2], (foot + top) / 2])
    along = np.argmax(np.abs(directions[2]))
    size_mm = np.abs(directions).T @ [200.0, 230.0, 0.0]
    size_mm[along] = top - foot
    spacing = np.array([2.5, 2.5, 4.0])
    spacing[along] = size_mm[along] / round(size_mm[along] / spacing[along])
    shape = np.rint(size_mm / spacing).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2)
    i, j, k = (int(n) for n in shape)
    values = _sampled(affine, (i, j, k)) * np.float32(1e-3)
    pair = DiffusionPair(Volume((values > 0.4e-3).astype(np.float32), affine), Volume(values, affine), 1000.0)
    brain = values > 0.4e-3
    grid = grid_affine(centroid_mm(brain, affine))
    seen = _sampled(grid, SHAPE)
    mask = (seen > 0.4) & imaged_voxels(pair, grid)
    return NetworkInput(np.stack([mask.astype(np.float32), seen * mask]), mask, grid), pair


def _sampled(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    target = Volume(np.zeros(shape, dtype=np.float32), affine).to_sitk()
    moved = sitk.Resample(load_template().to_sitk(), target, transform_of(POSE), sitk.sitkLinear, 0.0)
    return Volume.from_sitk(moved).array


def coverage_of(patient: NetworkInput, pair: DiffusionPair) -> Coverage:
    return measure_coverage(patient, pair, register_imaged(patient, NOTHING, pair), adc_is_computed=False)


def known(patient: NetworkInput, pair: DiffusionPair) -> Coverage:
    """With the true pose: what is tested is what follows from it."""
    return measure_coverage(patient, pair, Registration(POSE, 0.1, 0.95, 0.8), adc_is_computed=False)


@pytest.mark.parametrize(
    "directions",
    [AXIAL, MIRRORED, UPSIDE_DOWN, SAGITTAL, CORONAL, turned(12)],
    ids=["axial", "mirrored", "upside down", "sagittal", "coronal", "tilted"],
)
def test_a_whole_head_is_seen_and_a_cut_one_is_not_in_every_orientation(directions: NDArray[np.float64]) -> None:
    # Given a head that is imaged whole, and the same without its lowest 35 mm (of the template)
    whole, cut = (known(*imaged(lowest, 100.0, directions)) for lowest in (-100.0, -35.0))

    # Then the lower posterior fossa was seen in one and not in the other; the vertex in both
    assert (whole.lower_posterior_fossa.covered, whole.vertex.covered) == (Covered.SEEN, Covered.SEEN)
    assert cut.lower_posterior_fossa.covered is Covered.NOT_WHOLLY
    assert cut.vertex.covered is Covered.SEEN
    assert whole.head_foot_mm == pytest.approx(200 / 1.15, abs=1)
    assert cut.head_foot_mm == pytest.approx(135 / 1.15, abs=1)
    assert whole.imaged == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("lowest_mm", [-55.0, 0.0])
def test_what_is_missing_is_measured_however_much_it_is(lowest_mm: float) -> None:
    # Given a head whose foot is cut off at a known height of the template
    patient, pair = imaged(lowest_mm, 100.0)
    template = load_template()
    z_mm = (np.argwhere(template.array > 0) @ template.affine[:3, :3].T + template.affine[:3, 3])[:, 2]

    found = coverage_of(patient, pair)

    # Then the shares are the true ones
    assert found.imaged == pytest.approx((z_mm > lowest_mm).mean(), abs=0.03)
    fossa = z_mm[z_mm < -45]
    assert found.lower_posterior_fossa.imaged == pytest.approx((fossa > lowest_mm).mean(), abs=0.1)


def test_a_slab_is_not_stretched_until_it_fills_the_template() -> None:
    # Given 60 mm of a head, which a fit over everything makes as high as a whole head
    patient, pair = imaged(-5.0, 64.0)
    stretched, fitted = register(patient, NOTHING), register_imaged(patient, NOTHING, pair)
    foot_mm = np.linalg.inv(POSE) @ [0, 18, -5, 1]
    assert abs((stretched.to_template @ foot_mm)[2] + 5) > 15
    assert abs((fitted.to_template @ foot_mm)[2] + 5) < 4
    assert fitted.ok


def test_a_missing_vertex_is_told() -> None:
    found = known(*imaged(-100.0, 45.0))
    assert found.lower_posterior_fossa.covered is Covered.SEEN
    assert found.vertex.covered is Covered.NOT_WHOLLY
    assert found.gaps() == ("Not wholly assessed: vertex (outside the images).",)


def test_an_adc_map_that_ends_early_ends_the_coverage() -> None:
    # Given a DWI of the whole head and an ADC map without its lowest 40 mm
    patient, pair = imaged(-100.0, 100.0)
    _, short = imaged(-50.0, 100.0)
    found = measure_coverage(
        patient, replace(pair, adc_mm2_per_s=short.adc_mm2_per_s), Registration(POSE, 0.1, 0.95, 0.8),
        adc_is_computed=True,
    )  # fmt: skip
    assert found.lower_posterior_fossa.covered is Covered.NOT_WHOLLY
    assert found.lines()[0] == "Assessed: DWI (b 1000 s/mm2) and ADC (computed by pirtad)."


def test_what_the_networks_grid_cuts_off_was_not_assessed() -> None:
    # Given images of the whole head, and a grid that lies 60 mm too high
    patient, pair = imaged(-100.0, 100.0)
    affine = patient.affine.copy()
    affine[2, 3] += 60
    seen = np.roll(patient.array, -15, axis=3)
    seen[..., -15:] = 0
    high = NetworkInput(seen, seen[1] > 0, affine)

    found = known(high, pair)

    assert found.lower_posterior_fossa.covered is Covered.NOT_WHOLLY
    assert found.lower_posterior_fossa.imaged == pytest.approx(1.0)
    assert found.lower_posterior_fossa.words() == "within the images, but not wholly within what the network saw"
    assert "% within what the network saw)" in found.lines()[1]


def test_what_the_skull_stripping_took_away_was_not_assessed() -> None:
    patient, pair = imaged(-100.0, 100.0)
    z_mm = POSE[2, 2] * (patient.affine[2, 2] * np.arange(SHAPE[2]) + patient.affine[2, 3]) + POSE[2, 3]
    stripped = replace(patient, mask=patient.mask & (z_mm > -50))
    found = known(stripped, pair)
    assert found.lower_posterior_fossa.covered is Covered.NOT_WHOLLY


@pytest.mark.parametrize(("lowest_mm", "expected"), [(-100.0, Covered.NOT_KNOWN), (-20.0, Covered.NOT_WHOLLY)])
def test_without_a_registration_only_a_broad_cut_is_known(lowest_mm: float, expected: Covered) -> None:
    found = measure_coverage(*imaged(lowest_mm, 100.0), Registration(POSE, 0.1, 0.95, 0.1), adc_is_computed=False)
    assert found.lower_posterior_fossa == Part(expected)
    assert found.vertex == Part(Covered.NOT_KNOWN)
    assert (found.imaged, found.assessed) == (None, None)
    assert any("Not known whether the images reach" in sentence for sentence in found.gaps())


def test_one_registration_serves_coverage_and_lesion() -> None:
    patient, pair = imaged(-100.0, 100.0)
    without_map = measure_lesion(None, patient, pair)
    nothing_found = measure_lesion(np.zeros(SHAPE, dtype=np.float32), patient, pair)
    assert (without_map.lesion, without_map.mask) == (None, None)
    assert nothing_found.lesion is not None
    assert nothing_found.lesion.volume_ml == 0
    for measured in (without_map, nothing_found):
        assert measured.registration.ok


def test_json_gives_it_back() -> None:
    found = known(*imaged(-35.0, 100.0))
    assert Coverage.from_dict(json.loads(json.dumps(asdict(found)))) == found


def _without_foot(pair: DiffusionPair, mm: float) -> DiffusionPair:
    def cut(volume: Volume) -> Volume:
        first = round(mm / volume.spacing_mm[2])
        affine = volume.affine.copy()
        affine[:3, 3] += first * affine[:3, 2]
        return Volume(np.ascontiguousarray(volume.array[:, :, first:]), affine)

    return replace(pair, dwi=cut(pair.dwi), adc_mm2_per_s=cut(pair.adc_mm2_per_s))


def _soop(_: Path) -> DiffusionPair:
    adc = soop_sub3_volume("ADC")
    return DiffusionPair(soop_sub3_volume("TRACE"), Volume(adc.array * np.float32(1e-6), adc.affine), 1000.0)


def _isles(folder: Path) -> DiffusionPair:
    return read_pair(*(folder / f"sub-strokecase0001_ses-0001_{kind}.nii.gz" for kind in ("dwi", "adc")), 1000.0)


@pytest.mark.parametrize(
    ("load", "folder", "missing_mm"), [(_soop, "nifti/soop_sub-3", 36), (_isles, "nifti/isles22_0001", 24)]
)
def test_a_real_head_with_and_without_its_foot(load, folder: str, missing_mm: float) -> None:  # type: ignore[no-untyped-def]
    # Given a real head that is imaged from above the vertex to below the foramen magnum (looked at), whole and cut
    whole = load(shared_data(folder))
    cut = _without_foot(whole, missing_mm)

    seen, less = (coverage_of(preprocess(pair), pair) for pair in (whole, cut))

    assert (seen.lower_posterior_fossa.covered, seen.vertex.covered) == (Covered.SEEN, Covered.SEEN)
    assert seen.gaps() == ()
    assert less.lower_posterior_fossa.covered is Covered.NOT_WHOLLY
    assert less.vertex.covered is Covered.SEEN
    patient = preprocess(cut)
    assert sections_cm2(patient.mask, imaged_voxels(cut, patient.affine), patient.affine)[4] > CUT_FROM_CM2

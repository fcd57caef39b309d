"""Real lesions in the simulation: where they come from, what they are called, and which may be trained on."""

from __future__ import annotations

import dataclasses
import gzip
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from support.shared import shared_data

from pirtad.inference.findings import InfarctType, Territory
from pirtad.inference.lesion.foci import foci_of
from pirtad.inference.simulation.atlas import load_atlas
from pirtad.inference.simulation.lesion_masks import LesionMasks, infarct_type_of, is_for_testing
from pirtad.inference.simulation.scanners import Scanners, scanners
from pirtad.inference.simulation.study import InvisibleLesion, simulate
from pirtad.inference.training.cases import CaseRecipe, balanced_recipes, load_case, make_case, save_case

# The grid of the SOOP masks: x falls with the first index, the lowest slice lies at z = -50.
AFFINE = np.array([[-1.0, 0, 0, 78], [0, 1, 0, -112], [0, 0, 1, -50], [0, 0, 0, 1]])
SHAPE = (157, 189, 136)


def mask_at(mni_mm: tuple[float, float, float], radius_mm: float) -> bytes:
    """A NIfTI file with a ball about a place in MNI space (RAS)."""
    index = np.stack(np.meshgrid(*(np.arange(length) for length in SHAPE), indexing="ij"), -1)
    away = index @ AFFINE[:3, :3].T + AFFINE[:3, 3] - np.asarray(mni_mm)
    ball = (np.linalg.norm(away, axis=-1) < radius_mm).astype(np.uint8)
    return bytes(nib.Nifti1Image(ball, AFFINE).to_bytes())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Four subjects: left frontal, right frontal, right occipital, nothing."""
    folder = tmp_path_factory.mktemp("masks")
    balls = {
        "sub-901": mask_at((-40, 30, 20), 14),
        "sub-902": mask_at((40, 30, 20), 14),
        "sub-903": mask_at((18, -88, 2), 12),
        "sub-904": mask_at((500, 0, 0), 5),
    }
    with zipfile.ZipFile(folder / "masks.zip", "w") as out:
        for subject, content in balls.items():
            out.writestr(f"lesions/{subject}_lesion.nii.gz", gzip.compress(content))
    rows = ["participant_id\tanterior_cortical\tlenticulostriate_thalamic\tposterior"]
    rows += ["sub-901\t900\t10\t0", "sub-902\t900\t0\t10", "sub-903\t1\t0\t700", "sub-904\t0\t0\t0", "sub-999\t5\t0\t0"]
    (folder / "table.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / "masks.zip", folder / "table.tsv"


@pytest.fixture(scope="module")
def masks(archive: tuple[Path, Path]) -> LesionMasks:
    return LesionMasks.open(*archive)


def test_only_subjects_with_a_mask_and_a_territory_are_used(masks: LesionMasks) -> None:
    assert masks.subjects == ("sub-901", "sub-902", "sub-903")
    assert masks.territory("sub-903") is Territory.POSTERIOR


def test_without_a_table_the_atlas_tells_the_territory(archive: tuple[Path, Path]) -> None:
    counted = LesionMasks.open(archive[0], None, load_atlas())
    assert {subject: counted.territory(subject) for subject in counted.subjects} == {
        "sub-901": Territory.ANTERIOR,
        "sub-902": Territory.ANTERIOR,
        "sub-903": Territory.POSTERIOR,
    }


def test_a_table_of_another_form_is_refused(archive: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("participant_id\tlesion_volume\nsub-901\t3\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the columns anterior_cortical"):
        LesionMasks.open(archive[0], tmp_path / "other.tsv")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w") as out:
        out.writestr("readme.txt", "nothing")
    with pytest.raises(ValueError, match="holds no file named"):
        LesionMasks.open(tmp_path / "empty.zip", archive[1])


def test_volume_and_place_survive_the_way_to_the_atlas(masks: LesionMasks) -> None:
    atlas = load_atlas()
    lesion = masks.lesion("sub-901", atlas)
    # A ball of 14 mm has 11.5 ml; the part in the brain counts.
    assert 8 < float(lesion.weight.sum()) * 0.008 < 12.5
    where = atlas.positions_mm((lesion.weight > 0.5).nonzero()).mean(0)
    np.testing.assert_allclose(where, [40, -30, 20], atol=2.5)  # LPS: x and y change their signs
    assert lesion.left
    assert not masks.lesion("sub-902", atlas).left


@pytest.mark.parametrize("subject", ["sub-901", "sub-902"])
def test_a_left_lesion_comes_out_on_the_side_that_the_truth_states(masks: LesionMasks, subject: str) -> None:
    lesion = masks.lesion(subject, load_atlas())
    sides = set()
    for seed in range(930_000, 930_004):
        study = simulate(seed, Territory.ANTERIOR, lesion=lesion)
        affine = study.dwi.affine
        where = (np.argwhere(study.truth.lesion_mask) @ affine[:3, :3].T + affine[:3, 3]).mean(0)
        labelled = np.argwhere(study.truth.territories > 0) @ affine[:3, :3].T + affine[:3, 3]
        assert study.truth.side == ("left" if where[0] > labelled.mean(0)[0] else "right")
        assert not study.truth.bilateral
        assert study.truth.shares[Territory.ANTERIOR] > 0.9
        assert study.truth.mean_adc_mm2_per_s is not None
        assert 0.2e-3 < study.truth.mean_adc_mm2_per_s < 1.2e-3  # sulci in the ball count as well
        sides.add(study.truth.side)
    assert sides == {"left", "right"}  # heads are mirrored half of the time


def test_too_small_a_lesion_is_refused(masks: LesionMasks) -> None:
    lesion = masks.lesion("sub-901", load_atlas())
    tiny = dataclasses.replace(lesion, weight=lesion.weight * 0.01)
    with pytest.raises(InvisibleLesion):
        simulate(930_100, Territory.ANTERIOR, lesion=tiny)


def test_a_case_remembers_its_lesion(masks: LesionMasks, tmp_path: Path) -> None:
    recipe = CaseRecipe(930_200, Territory.ANTERIOR, "sub-901", "shifted")
    case = make_case(recipe, masks)
    save_case(case, tmp_path / "case.npz")
    again = load_case(tmp_path / "case.npz")
    assert again.recipe == recipe
    assert (again.side, again.shares, again.volume_ml) == (case.side, case.shares, case.volume_ml)
    with pytest.raises(ValueError, match="no masks"):
        make_case(recipe)


def test_training_recipes_never_show_a_lesion_held_out() -> None:
    files = shared_data("soop/lesion_masks_mni.zip"), shared_data("soop/lesion_group_counts.tsv")
    masks = LesionMasks.open(*files)
    assert "sub-3" not in masks.subjects
    held_out = [subject for subject in masks.subjects if is_for_testing(subject)]
    assert 0.15 < len(held_out) / len(masks.subjects) < 0.25
    recipes = balanced_recipes(range(4000), masks)
    shown = {recipe.subject for recipe in recipes} - {None}
    assert len(shown) > 600
    assert not shown & {*held_out, "sub-3"}
    assert all(masks.territory(recipe.subject) is recipe.territory for recipe in recipes if recipe.subject)


def test_types_follow_size_place_and_number() -> None:
    atlas = load_atlas()

    def ball(lps_mm: tuple[float, float, float], radius_mm: float) -> torch.Tensor:
        index = (atlas.brain > 0).nonzero()
        near = (atlas.positions_mm(index) - torch.tensor(lps_mm)).norm(dim=1) < radius_mm
        weight = torch.zeros(atlas.shape)
        weight[tuple(index[near].T)] = 1.0
        return weight

    deep, frontal = (24.0, 0.0, 4.0), (40.0, -30.0, 20.0)
    assert infarct_type_of(atlas, ball(deep, 6), Territory.DEEP_GRAY_MATTER) is InfarctType.SMALL_LACUNE
    assert infarct_type_of(atlas, ball(deep, 11), Territory.DEEP_GRAY_MATTER) is InfarctType.SMALL_STRIATO_CAPSULAR
    large = infarct_type_of(atlas, ball(frontal, 24), Territory.ANTERIOR)
    assert large is InfarctType.LARGE_VASCULAR_TERRITORIAL
    several = ball(frontal, 6) + ball((-40.0, -30.0, 20.0), 6)
    assert infarct_type_of(atlas, several, Territory.ANTERIOR) is InfarctType.SMALL_DIFFUSION_RESTRICTION


def test_foci_are_counted_from_a_tenth_of_a_millilitre() -> None:
    mask = np.zeros((20, 20, 20), dtype=np.bool_)
    mask[2:6, 2:6, 2:6] = True
    mask[12, 12, 12] = True
    ten_microlitres, hundred = (np.diag([*[1000 ** (1 / 3) * one ** (1 / 3)] * 3, 1.0]) for one in (0.01, 0.1001))
    assert [len(focus) for focus in foci_of(mask, ten_microlitres)] == [64]
    assert [len(focus) for focus in foci_of(mask, hundred)] == [64, 1]


def test_shifted_scanners_share_no_value_with_those_of_training() -> None:
    known, unseen = scanners("training"), scanners("shifted")
    for field in dataclasses.fields(Scanners):
        if field.name in ("name", "b_values_s_per_mm2", "adc_unit_mm2_per_s"):
            continue
        (low, high), (other_low, other_high) = getattr(known, field.name), getattr(unseen, field.name)
        assert low < high
        assert high < other_low or other_high < low, field.name
    assert known.adc_unit_mm2_per_s != unseen.adc_unit_mm2_per_s
    for low, high in known.b_values_s_per_mm2:
        assert all(high < other_low or other_high < low for other_low, other_high in unseen.b_values_s_per_mm2)
    with pytest.raises(ValueError, match="no scanners of the name"):
        scanners("lunar")

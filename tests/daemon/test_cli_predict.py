"""`pirtad predict`'s measurements: weights that were never trained, with a decoder and without, and a scripted
language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from support.brain_files import affine_lps, head, pirtad, write_dicom
from support.untrained import untrained_models

from pirtad.daemon.cli.nifti import write_mask
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.worker import engine

KEYS = [
    "territory",
    "is_draft",
    "probabilities",
    "similar",
    "out_of_distribution",
    "lesion",
    "agreement",
    "report",
    "text",
]


@pytest.fixture(scope="module")
def with_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_models(tmp_path_factory.mktemp("with_decoder"), 32)


@pytest.fixture(scope="module")
def without_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_models(tmp_path_factory.mktemp("without_decoder"), 0)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dwi.nii.gz (with a fourth axis of length one, oblique signs of RAS), adc.nii.gz and the folder dicom: a head with
    an infarct of reduced ADC on its left."""
    directory = tmp_path_factory.mktemp("files")
    dwi, adc = head()
    where = infarct()
    dwi[where], adc[where] = 700, 0.4e-3
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps()
    nibabel.Nifti1Image(dwi[..., None], ras).to_filename(directory / "dwi.nii.gz")
    nibabel.Nifti1Image(adc, ras).to_filename(directory / "adc.nii.gz")
    (directory / "dicom").mkdir()
    write_dicom(directory / "dicom")
    return directory


def infarct() -> NDArray[np.bool_]:
    """bool (80, 96, 32): a ball of 15 mm radius at greater i, which runs to the patient's left."""
    dwi, _ = head()
    index = np.stack(np.meshgrid(*(np.arange(size) for size in dwi.shape), indexing="ij"), axis=-1)
    mask: NDArray[np.bool_] = np.linalg.norm((index - [56, 48, 16]) * [2.4, 2.4, 4.8], axis=-1) < 15
    return mask


@pytest.fixture(autouse=True)
def _scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setattr(engine, "language_model", lambda _settings: FakeLanguageModel())


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch):
    def chosen(models: Path) -> None:
        monkeypatch.setenv("PIRTAD_INFERENCE__WEIGHTS_DIR", str(models))
        monkeypatch.setenv("PIRTAD_INFERENCE__CASE_BASE_DIR", str(models / "case_base"))

    return chosen


def give_map(monkeypatch: pytest.MonkeyPatch, lesion_map: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> None:
    """Exchange the lesion map of what the encoder sees."""
    see = Encoder.see
    monkeypatch.setattr(Encoder, "see", lambda self, x: replace(see(self, x), lesion_probability=lesion_map(x)))


@pytest.fixture
def sees_the_infarct(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network's map is what a perfect one would give: bright on its DWI channel and low on its ADC channel."""

    give_map(monkeypatch, lambda x: ((x[0] > 1.5) & (x[1] < 0.6)).astype(np.float32))


def nifti(files: Path) -> list[object]:
    return ["--dwi", files / "dwi.nii.gz", "--adc", files / "adc.nii.gz"]


@pytest.mark.usefixtures("sees_the_infarct")
def test_the_lesion_is_measured_and_its_mask_lies_on_the_dwi(use, with_decoder: Path, files: Path) -> None:
    use(with_decoder)

    result = pirtad("predict", *nifti(files), "--json", "--lesion-mask", "lesion.nii.gz")

    # Then the answer holds every part,
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert list(found) == KEYS
    assert set(found["probabilities"]) == {"normal", "anterior", "deep_gray_matter", "posterior"}
    assert sum(found["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
    assert found["out_of_distribution"] is None
    assert found["lesion"]["volume_ml"] == pytest.approx(infarct().sum() * 2.4 * 2.4 * 4.8 / 1000, rel=0.15)
    assert found["lesion"]["side"] == "left"
    assert found["lesion"]["foci"] == 1
    assert found["lesion"]["mean_adc_mm2_per_s"] == pytest.approx(0.4e-3, rel=0.2)
    # a contradiction is said: all cases are normal, and an infarct was measured,
    assert any(one.startswith("The similar cases say normal, but") for one in found["agreement"]["contradictions"])
    # and the mask is on the DWI voxel for voxel.
    dwi, mask = nibabel.load(files / "dwi.nii.gz"), nibabel.load("lesion.nii.gz")
    assert mask.shape == dwi.shape
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, dwi.affine)
    drawn = np.asarray(mask.dataobj)[..., 0] > 0
    assert 2 * (drawn & infarct()).sum() / (drawn.sum() + infarct().sum()) > 0.85
    assert drawn.sum() * 2.4 * 2.4 * 4.8 / 1000 == pytest.approx(found["lesion"]["volume_ml"], abs=0.01)


@pytest.mark.usefixtures("sees_the_infarct")
def test_the_text_ends_with_what_was_measured(use, with_decoder: Path, files: Path) -> None:
    use(with_decoder)
    result = pirtad("predict", *nifti(files))
    assert result.exit_code == 0, result.output
    report, measured = result.stdout.split("Measured on these images (automatic, not verified):\n")
    assert report.startswith("AI DRAFT - NOT REVIEWED\n")
    assert " ml, 1 foci, side: left" in measured
    assert "10^-3 mm2/s" in measured


def test_dicom_without_an_infarct_has_a_mask_of_zeros(use, with_decoder: Path, files: Path, monkeypatch) -> None:
    give_map(monkeypatch, lambda x: np.zeros(x.shape[1:], dtype=np.float32))
    use(with_decoder)

    result = pirtad("predict", files / "dicom", "--json", "--lesion-mask", "lesion.nii")

    assert result.exit_code == 0, result.output
    lesion = json.loads(result.stdout)["lesion"]
    assert lesion["volume_ml"] == 0
    assert lesion["side"] is None
    mask = nibabel.load("lesion.nii")
    assert mask.shape == head()[0].shape
    assert not np.asarray(mask.dataobj).any()
    np.testing.assert_allclose(mask.affine, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps(), atol=1e-3)


def test_weights_without_a_decoder_measure_nothing_and_say_so(use, without_decoder: Path, files: Path) -> None:
    use(without_decoder)

    result = pirtad("predict", *nifti(files), "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["lesion"] is None
    assert "no decoder" in result.stderr

    refused = pirtad("predict", *nifti(files), "--json", "--lesion-mask", "lesion.nii.gz")
    assert refused.exit_code == 4
    assert "no mask can be written" in refused.stderr
    assert not Path("lesion.nii.gz").exists()


@pytest.mark.parametrize("name", ["lesion.png", "nowhere/lesion.nii.gz"])
def test_a_mask_that_could_not_be_written_is_refused_at_once(files: Path, name: str) -> None:
    assert pirtad("predict", *nifti(files), "--lesion-mask", name).exit_code == 2


def test_a_mask_keeps_its_voxels_through_the_affine_of_lps(tmp_path: Path) -> None:
    mask = np.zeros((4, 5, 6), dtype=np.bool_)
    mask[1, 2, 3] = True
    write_mask(mask, affine_lps(), tmp_path / "mask.nii.gz", like=None)
    image = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(np.argwhere(np.asarray(image.dataobj)), [[1, 2, 3]])
    in_ras = image.affine @ [1, 2, 3, 1]
    np.testing.assert_allclose(in_ras, np.diag([-1.0, -1, 1, 1]) @ affine_lps() @ [1, 2, 3, 1], rtol=1e-5)

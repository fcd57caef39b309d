"""`pirtad predict` and `cases` on files: real parts, but weights that were never trained and a scripted
language model."""

from __future__ import annotations

import gzip
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.brain_files import affine_lps, head, pirtad, write_dicom
from support.untrained import untrained_models

from pirtad.daemon.cli.nifti import read_pair
from pirtad.inference.errors import LanguageModelUnavailable, StudyNotUsable
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.preprocess.grid import SHAPE as GRID
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.training import seeds
from pirtad.inference.training.cases import SimulatedCase, balanced_recipes, case_path, save_case
from pirtad.worker import engine


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dicom")
    write_dicom(directory)
    return directory


@pytest.fixture(scope="module")
def nifti(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dwi.nii.gz, and adc-UNIT.nii.gz for each unit in use; RAS, as NIfTI is."""
    directory = tmp_path_factory.mktemp("nifti")
    dwi, adc = head()
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps()
    nibabel.Nifti1Image(dwi, ras).to_filename(directory / "dwi.nii.gz")
    for name, factor in (("1", 1.0), ("milli", 1e3), ("micro", 1e6)):
        nibabel.Nifti1Image((adc * factor)[..., None], ras).to_filename(directory / f"adc-{name}.nii.gz")
    nibabel.Nifti1Image(np.stack([dwi, dwi], axis=-1), ras).to_filename(directory / "two.nii.gz")
    nibabel.Nifti1Image(adc * 0, ras).to_filename(directory / "empty.nii.gz")
    return directory


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder that was never trained, with a case base of eight random vectors in its folder `case_base`."""
    return untrained_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def with_models(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIRTAD_INFERENCE__WEIGHTS_DIR", str(models))
    monkeypatch.setenv("PIRTAD_INFERENCE__CASE_BASE_DIR", str(models / "case_base"))


@pytest.fixture
def scripted(with_models: None, monkeypatch: pytest.MonkeyPatch):
    """The language model's answers can be given; without any it answers what its schema allows first."""
    model = FakeLanguageModel()
    monkeypatch.setattr(engine, "language_model", lambda _settings: model)
    return model


@pytest.mark.parametrize("unit", ["1", "milli", "micro"])
def test_nifti_is_read_in_lps_and_mm2_per_s_whatever_its_unit(nifti: Path, unit: str) -> None:
    dwi, adc = head()

    pair = read_pair(nifti / "dwi.nii.gz", nifti / f"adc-{unit}.nii.gz", 1000.0)

    np.testing.assert_array_equal(pair.dwi.array, dwi)
    np.testing.assert_allclose(pair.adc_mm2_per_s.array, adc, rtol=1e-5)
    np.testing.assert_allclose(pair.dwi.affine, affine_lps())
    np.testing.assert_allclose(pair.adc_mm2_per_s.affine, affine_lps())
    assert pair.b_value_s_per_mm2 == 1000.0


@pytest.mark.parametrize(
    ("dwi", "adc", "code"),
    [("two.nii.gz", "adc-1.nii.gz", "not_3d"), ("dwi.nii.gz", "empty.nii.gz", "adc_unit"),
     ("empty.nii.gz", "adc-1.nii.gz", "blank_image")],
)  # fmt: skip
def test_nifti_that_is_no_pair_is_refused(nifti: Path, dwi: str, adc: str, code: str) -> None:
    with pytest.raises(StudyNotUsable) as caught:
        read_pair(nifti / dwi, nifti / adc, 1000.0)
    assert caught.value.code == code


def test_a_cut_nifti_is_refused(nifti: Path, tmp_path: Path) -> None:
    whole = (nifti / "dwi.nii.gz").read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii.gz").write_text("no image")
    for name in ("cut.nii.gz", "text.nii.gz"):
        with pytest.raises(StudyNotUsable) as caught:
            read_pair(tmp_path / name, nifti / "adc-1.nii.gz", 1000.0)
        assert caught.value.code == "unreadable_file"


def test_predict_from_dicom_and_from_nifti_retrieves_the_same(scripted, dicom: Path, nifti: Path) -> None:
    from_dicom = pirtad("predict", dicom, "--json")
    from_nifti = pirtad("predict", "--dwi", nifti / "dwi.nii.gz", "--adc", nifti / "adc-micro.nii.gz", "--json")

    assert (from_dicom.exit_code, from_nifti.exit_code) == (0, 0)
    drafted, other = json.loads(from_dicom.stdout), json.loads(from_nifti.stdout)
    assert {"territory", "similar", "report", "text"} <= set(drafted)
    assert drafted["territory"] == "normal"
    assert [case["case_id"] for case in drafted["similar"]] == [case["case_id"] for case in other["similar"]]
    assert len(drafted["similar"]) == 5
    assert {"findings", "impression", "clinical_presentation"} <= set(drafted["report"])
    assert drafted["text"].startswith("AI DRAFT - NOT REVIEWED")
    assert "DOE" not in from_dicom.output


def test_predict_prints_the_draft(scripted, dicom: Path) -> None:
    result = pirtad("predict", dicom)
    assert result.exit_code == 0
    assert result.stdout.startswith("AI DRAFT - NOT REVIEWED\n")


def test_predict_of_an_unusable_study_ends_with_1_and_prints_no_report(scripted, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = pirtad("predict", tmp_path / "empty", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["code"] == "no_images"
    assert scripted.requests == []


def test_predict_without_the_language_model_ends_with_3(scripted, dicom: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a classifier that agrees with the similar cases, which are normal, and a site that takes any similarity, so
    # that the model is asked
    monkeypatch.setenv("PIRTAD_REPORT__LEAST_SIMILARITY", "-1")
    see, normal = Encoder.see, np.array([1, 0, 0, 0], dtype=np.float32)
    monkeypatch.setattr(Encoder, "see", lambda self, x: replace(see(self, x), odds=normal, lesion_probability=None))
    scripted._answers.append(LanguageModelUnavailable("llm_unreachable", "the endpoint can't be reached", "start it"))
    result = pirtad("predict", dicom)
    assert result.exit_code == 3, result.output
    assert "[llm_unreachable] start it" in result.stderr
    assert "AI DRAFT" not in result.stdout


def test_predict_wants_one_study(dicom: Path, nifti: Path) -> None:
    for arguments in ([], ["--dwi", nifti / "dwi.nii.gz"], [dicom, "--dwi", nifti / "dwi.nii.gz"]):
        assert pirtad("predict", *arguments).exit_code == 2


def test_cases_are_built_searched_extended_and_described(
    with_models: None, dicom: Path, nifti: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a table with a DICOM study, and one with a NIfTI pair
    finding = {"territory": "posterior", "signal_class": "mild", "infarct_type": "small lacune"}
    common = {"finding": finding, "report": "A report.", "provenance": "test"}
    first = {"case_id": "hosp-1", "study": str(dicom), **common}
    second = {"case_id": "hosp-2", "dwi": str(nifti / "dwi.nii.gz"), "adc": str(nifti / "adc-1.nii.gz"), **common}
    (tmp_path / "first.jsonl").write_text(json.dumps(first) + "\n")
    (tmp_path / "second.jsonl").write_text("\n" + json.dumps(second) + "\n")

    # When a base is built from the one and extended with the other
    built = pirtad("cases", "build", tmp_path / "base", "--table", tmp_path / "first.jsonl")
    assert built.exit_code == 0, built.output
    monkeypatch.setenv("PIRTAD_INFERENCE__CASE_BASE_DIR", str(tmp_path / "base"))
    assert pirtad("cases", "add", tmp_path / "second.jsonl").exit_code == 0

    # Then the study finds itself
    described = json.loads(pirtad("cases", "info", "--json").stdout)
    assert described["cases"] == 2
    assert described["cases_by_territory"]["posterior"] == 2
    found = json.loads(pirtad("cases", "search", dicom, "--json").stdout)
    assert {case["case_id"] for case in found} == {"hosp-1", "hosp-2"}
    assert found[0]["similarity"] == pytest.approx(1.0, abs=1e-4)
    assert "hosp-" in pirtad("cases", "search", dicom, "-k", "1").stdout
    # The DICOM study's patient is known by a pseudonym alone, and can be left out
    stored = (tmp_path / "base" / "cases.jsonl").read_text()
    assert '"patient": "p-' in stored
    assert "P1" not in stored
    others = json.loads(pirtad("cases", "search", dicom, "--without-own-patient", "--json").stdout)
    assert [case["case_id"] for case in others] == ["hosp-2"]
    # And a case can't come twice, unless it is to be passed over
    again = pirtad("cases", "add", tmp_path / "second.jsonl")
    assert again.exit_code == 4
    assert "hosp-2" in again.stderr
    assert pirtad("cases", "add", tmp_path / "second.jsonl", "--new-only").exit_code == 0
    described = json.loads(pirtad("cases", "info", "--json").stdout)
    assert (described["cases"], described["version"], described["kind"]) == (2, 2, "exact")


def test_a_public_set_and_a_csv_of_one_s_own_become_one_case_base(
    with_models: None, dicom: Path, nifti: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given two subjects as SOOP keeps them, and a CSV with a finding for one of them
    for subject in ("sub-3", "sub-5"):
        folder = tmp_path / "soop" / subject / "dwi"
        folder.mkdir(parents=True)
        (folder / f"{subject}_rec-TRACE_dwi.nii.gz").symlink_to(nifti / "dwi.nii.gz")
        (folder / f"{subject}_rec-ADC_dwi.nii.gz").symlink_to(nifti / "adc-micro.nii.gz")
    findings = tmp_path / "findings.csv"
    findings.write_text("case,territory,signal_class,infarct_type\nsub-3,anterior,strong,small lacune\n")
    source = ("--layout", "soop", "--root", tmp_path / "soop", "--reports", findings)

    # When the other lacks its finding, it is named and nothing is built
    refused = pirtad("cases", "build", tmp_path / "base", *source)
    assert refused.exit_code == 1
    assert "sub-5: no row with its finding" in refused.stderr
    assert not (tmp_path / "base").exists()

    # Then with both the base is built, and one's own cases are added from a CSV
    findings.write_text(findings.read_text() + "SUB-5,normal,,\n")
    built = pirtad("cases", "build", tmp_path / "base", *source, "--kind", "hnsw")
    assert built.exit_code == 0, built.output
    monkeypatch.setenv("PIRTAD_INFERENCE__CASE_BASE_DIR", str(tmp_path / "base"))
    (tmp_path / "own.csv").write_text(
        f"case,territory,signal_class,infarct_type,report,study,patient\nhosp-1,normal,,,A report.,{dicom},HN 77\n"
    )
    added = pirtad("cases", "add", tmp_path / "own.csv")
    assert added.exit_code == 0, added.output
    described = json.loads(pirtad("cases", "info", "--json").stdout)
    assert (described["cases"], described["patients"], described["kind"]) == (3, 3, "hnsw")
    assert "HN 77" not in "".join(path.read_text() for path in (tmp_path / "base").glob("*.json*"))


def test_a_diffusion_archive_is_encoded_like_any_case(with_models: None, tmp_path: Path) -> None:
    # Given the plain brain as a UK Biobank zip: an unweighted volume and three directions
    dwi, adc = head()
    unweighted = dwi * np.exp(1000 * adc)
    data = np.stack([unweighted, dwi, dwi, dwi], axis=-1)
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps()
    (tmp_path / "ukb").mkdir()
    with zipfile.ZipFile(tmp_path / "ukb" / "1234567_20250_2_0.zip", "w") as archive:
        content = nibabel.Nifti1Image(data.astype(np.float32), ras).to_bytes()
        archive.writestr("dMRI/dMRI/data_ud.nii.gz", gzip.compress(content, 1))
        archive.writestr("dMRI/dMRI/bvals", "0 1000 1000 1000\n")
        archive.writestr("dMRI/dMRI/bvecs", "0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    (tmp_path / "findings.csv").write_text("case,territory\n1234567,normal\n")

    built = pirtad("cases", "build", tmp_path / "base", "--layout", "ukb", "--root", tmp_path / "ukb",
                   "--reports", tmp_path / "findings.csv")  # fmt: skip

    assert built.exit_code == 0, built.output
    stored = (tmp_path / "base" / "cases.jsonl").read_text()
    assert '"case_id": "ukb-' in stored
    assert "1234567" not in stored


def test_a_table_with_a_case_that_can_not_be_used_builds_nothing(with_models: None, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = {"case_id": "hosp-1", "study": "empty", "finding": {"territory": "normal", "signal_class": None,
            "infarct_type": None}, "report": "", "provenance": "test"}  # fmt: skip
    (tmp_path / "table.jsonl").write_text(json.dumps(line))

    result = pirtad("cases", "build", tmp_path / "base", "--table", tmp_path / "table.jsonl")

    assert result.exit_code == 1
    assert "table.jsonl:1: hosp-1: no DICOM instances [no_images]" in result.stderr
    assert not (tmp_path / "base").exists()


@pytest.mark.parametrize("line", ["", "{", "[]", '{"case_id": "hosp-1"}'])
def test_a_table_with_a_wrong_line_is_refused(with_models: None, tmp_path: Path, line: str) -> None:
    (tmp_path / "table.jsonl").write_text(line)
    result = pirtad("cases", "build", tmp_path / "base", "--table", tmp_path / "table.jsonl")
    assert result.exit_code == 1
    assert "table.jsonl" in result.stderr


def test_the_shipped_case_base_is_not_added_to(tmp_path: Path) -> None:
    (tmp_path / "table.jsonl").write_text("{}")
    assert pirtad("cases", "add", tmp_path / "table.jsonl").exit_code == 4


def test_a_case_base_of_simulated_cases(with_models: None, tmp_path: Path) -> None:
    # Given a cache that holds the first four cases already: simulating takes long
    rng = np.random.default_rng(3)
    nothing = np.zeros(GRID, dtype=np.uint8)
    for recipe in balanced_recipes(seeds.first(seeds.CASE_BASE, 4)):
        array = rng.random((2, *GRID), dtype=np.float32).astype(np.float16)
        case = SimulatedCase(
            *(recipe, array, nothing > 0, nothing, Finding(Territory.NORMAL)),
            *(None, False, 0.0, dict.fromkeys(Territory, 0.0), None),
        )
        save_case(case, case_path(tmp_path / "cache", recipe))

    result = pirtad("cases", "build", tmp_path / "base", "--simulated", 4, "--cache", tmp_path / "cache")

    assert result.exit_code == 0, result.output
    assert len((tmp_path / "base" / "cases.jsonl").read_text().splitlines()) == 4


def test_a_case_base_is_built_from_one_source(with_models: None, tmp_path: Path) -> None:
    assert pirtad("cases", "build", tmp_path / "base").exit_code == 2
    (tmp_path / "t.jsonl").touch()
    assert pirtad("cases", "build", tmp_path / "base", "--table", "t.jsonl", "--simulated", 4).exit_code == 2
    assert pirtad("cases", "build", tmp_path / "base", "--layout", "soop").exit_code == 2
    assert pirtad("cases", "build", tmp_path / "base", "--table", "t.jsonl", "--root", tmp_path).exit_code == 2
    assert pirtad("cases", "build", tmp_path / "base", "--simulated", 4, "--kind", "ivf").exit_code == 2

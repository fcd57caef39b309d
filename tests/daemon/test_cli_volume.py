"""`pirtad inspect` and `volume` on files."""

from __future__ import annotations

import json
from errno import EACCES
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.brain_files import SHAPE, affine_lps, head, pirtad, write_dicom

from pirtad.inference.simulation.dicom_writer import StudyHeader, write_study
from pirtad.inference.volume import Volume


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("dicom")
    write_dicom(directory)
    return directory


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PIRTAD_CONFIG", raising=False)
    monkeypatch.setenv("COLUMNS", "200")


def test_inspect_says_what_each_series_is_taken_for(dicom: Path) -> None:
    result = pirtad("inspect", dicom)
    assert result.exit_code == 0
    assert "usable" in result.stdout
    assert "DWI" in result.stdout
    assert "ADC" in result.stdout

    found = json.loads(pirtad("inspect", dicom, "--json").stdout)
    assert found["refused"] is None
    assert found["chosen"]["dwi"]["shape"] == list(SHAPE)
    assert len(found["series"]) == 2


def test_inspect_of_an_unusable_study_ends_with_1(dicom: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    dwi, _ = head()
    write_study(half, Volume(dwi, affine_lps()), None, StudyHeader("1.2.3.5"))
    no_adc = pirtad("inspect", half)
    assert no_adc.exit_code == 1
    assert "not usable" in no_adc.stdout
    assert "[no_adc]" in no_adc.stdout

    # A file that is no DICOM at all is passed over and told of, a broken one is a lost image.
    (half / "notes.txt").write_text("not DICOM")
    assert "1 files that are not DICOM passed over" in pirtad("inspect", half).stderr
    (half / "cut.dcm").write_bytes(next(half.rglob("*.dcm")).read_bytes()[:300])
    unreadable = pirtad("inspect", half, "--json")
    assert unreadable.exit_code == 1
    assert json.loads(unreadable.stdout)["refused"]["code"] == "unreadable_instance"


def test_volume_writes_what_would_be_encoded(dicom: Path, tmp_path: Path) -> None:
    dwi, adc = head()
    for kind, expected in (("dwi", dwi), ("adc", adc)):
        result = pirtad("volume", dicom, "--kind", kind, "-o", tmp_path / f"{kind}.nii.gz")
        assert result.exit_code == 0, result.output
        unit = "arbitrary" if kind == "dwi" else "mm2/s"
        assert f"80 x 96 x 32 voxels of 2.4 x 2.4 x 4.8 mm; unit {unit}\n" in result.stdout
        image = nibabel.load(tmp_path / f"{kind}.nii.gz")
        np.testing.assert_allclose(image.get_fdata(), expected, atol=1e-6)
        np.testing.assert_allclose(image.affine, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps(), atol=1e-4)
        assert image.header.get_xyzt_units()[0] == "mm"


def test_volume_of_any_one_series_by_number_or_uid(dicom: Path, tmp_path: Path) -> None:
    # Given a study that is refused for want of an ADC map
    half = tmp_path / "half"
    dwi, _ = head()
    write_study(half, Volume(dwi, affine_lps()), None, StudyHeader("1.2.3.5"))
    out = tmp_path / "one.nii"
    refused = pirtad("volume", half, "-o", out)
    assert (refused.exit_code, out.exists()) == (1, False)
    assert "[no_adc]" in refused.stderr

    # Then its one series can be written all the same
    (row,) = json.loads(pirtad("inspect", half, "--json").stdout)["series"]
    for name in (row["series_uid"], f"{row['series_number']:g}"):
        written = pirtad("volume", half, "--series", name, "--b-value", 1000, "--force", "-o", out)
        assert (written.exit_code, written.stdout.endswith("unit as stored and rescaled\n")) == (0, True)
        np.testing.assert_array_equal(nibabel.load(out).get_fdata(), dwi)
    assert "[no_such_series]" in pirtad("volume", half, "--series", "9.9", "-o", tmp_path / "no.nii").stderr
    for option, code in ((("--b-value", 0), "no_such_series"), (("--volume", 2), "no_such_volume")):
        refused = pirtad("volume", half, "--series", name, *option, "-o", tmp_path / "no.nii")
        assert (refused.exit_code, f"[{code}]" in refused.stderr) == (1, True)
    assert not (tmp_path / "no.nii").exists()


def test_volume_refuses_what_makes_no_sense(dicom: Path, tmp_path: Path) -> None:
    assert pirtad("volume", dicom, "-o", tmp_path / "a.png").exit_code == 2
    for options in (
        ("--b-value", 0),
        ("--volume", 1),
        ("--series", 1, "--kind", "dwi"),
        ("--series", 1, "--volume", 0),
    ):
        assert pirtad("volume", dicom, *options, "-o", tmp_path / "a.nii").exit_code == 2
    nowhere = pirtad("volume", dicom, "-o", tmp_path / "none" / "a.nii")
    assert nowhere.exit_code == 1
    assert "a.nii can't be written" in nowhere.stderr


def test_volume_overwrites_only_with_force(dicom: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.nii"
    there.write_text("mine")

    refused = pirtad("volume", dicom, "-o", there)

    assert refused.exit_code == 4
    assert "--force" in refused.stderr
    assert there.read_text() == "mine"
    assert pirtad("volume", dicom, "-o", there, "--force").exit_code == 0
    assert nibabel.load(there).shape == SHAPE


@pytest.mark.parametrize("arguments", [("inspect",), ("inspect", "--json"), ("volume", "-o", "out.nii")])
def test_a_file_that_can_not_be_opened_is_named(
    dicom: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    # Given a file of the study that may not be opened (by permissions alone, root could open it)
    closed = sorted(dicom.rglob("*.dcm"))[3]
    opened = Path.open

    def may_open(path: Path, *args, **kwargs):
        if path == closed:
            raise PermissionError(EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", may_open)

    result = pirtad(*arguments, dicom)

    assert result.exit_code == 1
    assert result.stderr == f"{closed} can't be read: Permission denied\n"


def test_a_file_that_ends_in_an_error_while_it_is_read_is_no_traceback(tmp_path: Path) -> None:
    # Given a file that opens and does not read (nothing is mapped at address 0); the system's error names none
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.dcm").symlink_to("/proc/self/mem")
    for arguments in (("inspect",), ("volume", "-o", tmp_path / "out.nii")):
        result = pirtad(*arguments, tmp_path / "study")
        assert result.exit_code == 1
        assert result.stderr == f"a file in {tmp_path / 'study'} can't be read: Input/output error\n"

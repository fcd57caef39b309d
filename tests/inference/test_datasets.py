"""Layouts of public sets, tables of one's own, and the trace and ADC of a UK Biobank zip."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from support.shared import shared_data

from pirtad.inference.datasets.diffusion_archive import read_archive
from pirtad.inference.datasets.isles import isles2022
from pirtad.inference.datasets.record import DatasetError, DicomStudy, DiffusionArchive, Found, NiftiPair
from pirtad.inference.datasets.reports_csv import matched, own_images, read_rows
from pirtad.inference.datasets.soop import soop
from pirtad.inference.datasets.ukb import ukb
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.retrieval.patients import Pseudonyms

SALT = Pseudonyms("0f" * 16)
HEADER = "case,territory,signal_class,infarct_type,report\n"


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def table(folder: Path, text: str, header: str = HEADER) -> Path:
    path = folder / "findings.csv"
    path.write_text(header + text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "names",
    [
        # the challenge's release
        ("rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_dwi.nii.gz",
         "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_adc.nii.gz",
         "rawdata/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_flair.nii.gz"),
        # Zenodo's, and other capitals
        ("sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_DWI.nii.gz",
         "sub-strokecase0001/ses-0001/dwi/sub-strokecase0001_ses-0001_adc.NII.GZ",
         "sub-strokecase0001/ses-0001/anat/sub-strokecase0001_ses-0001_FLAIR.nii.gz"),
    ],
)  # fmt: skip
def test_isles_in_both_releases(tmp_path: Path, names: tuple[str, ...]) -> None:
    mask = "derivatives/sub-strokecase0001/ses-0001/sub-strokecase0001_ses-0001_msk.nii.gz"
    touch(tmp_path, *names, mask)
    (one,) = isles2022(tmp_path).cases
    assert one.images == NiftiPair(tmp_path / names[0], tmp_path / names[1], 1000.0)
    assert one.lesion_mask == tmp_path / mask
    assert (one.case_id, one.patient) == ("isles-0001", "isles-0001")
    assert {"sub-strokecase0001", "strokecase0001", "sub-strokecase0001_ses-0001"} == set(one.names)


def test_a_second_session_is_another_case_of_the_same_patient(tmp_path: Path) -> None:
    stems = [f"sub-strokecase0007/ses-000{n}/dwi/sub-strokecase0007_ses-000{n}_{kind}.nii.gz"
             for n in (1, 2, 3) for kind in ("dwi", "adc")]  # fmt: skip
    touch(tmp_path, *stems[:-1])
    found = isles2022(tmp_path)
    assert [case.case_id for case in found.cases] == ["isles-0007", "isles-00070002"]
    assert {case.patient for case in found.cases} == {"isles-0007"}
    assert found.incomplete == {"sub-strokecase0007_ses-0003": "no ADC map"}


def test_soop_takes_whole_subjects_and_their_own_masks(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *(f"sub-{n}/dwi/sub-{n}_rec-{kind}_dwi.nii.gz" for n in (1, 10) for kind in ("TRACE", "ADC")),
        "sub-2/dwi/sub-2_rec-ADC_dwi.nii.gz",
        "derivatives/lesion_masks/sub-10/dwi/sub-10_space-TRACE_desc-lesion_mask.nii.gz",
        "derivatives/lesion_masks/sub-10/dwi/sub-10_space-TRACE_desc-lesionAcute_mask.nii.gz",
    )
    found = soop(tmp_path)
    assert [case.case_id for case in found.cases] == ["soop-1", "soop-10"]
    assert found.cases[0].lesion_mask is None
    assert found.cases[1].lesion_mask is not None
    assert "lesionAcute" in found.cases[1].lesion_mask.name
    assert found.incomplete == {"sub-2": "no trace image"}


def test_what_can_not_be_told_apart_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="sub-"):
        soop(tmp_path)
    touch(tmp_path, "sub-3/dwi/a_rec-ADC_dwi.nii.gz", "sub-3/dwi/b_rec-ADC_dwi.nii.gz")
    with pytest.raises(DatasetError, match="several"):
        soop(tmp_path)
    with pytest.raises(DatasetError, match="20250"):
        ukb(tmp_path, SALT)


def test_a_uk_biobank_participant_is_not_in_the_case(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "1234567_20250_2_0.zip",
        "deep/1234567_20250_3_0.zip",
        "7654321_20250_2_0.zip",
        "1234567_20252_2_0.zip",
    )
    cases = ukb(tmp_path, SALT).cases
    assert len({case.case_id for case in cases}) == 3
    assert len({case.patient for case in cases}) == 2
    for case in cases:
        assert "1234567" not in f"{case.case_id} {case.patient} {case!r}"
        assert case.case_id.startswith("ukb-")
    assert [case.names for case in cases] == [
        *(("1234567_20250_2_0",), ("1234567_20250_3_0",), ("7654321_20250_2_0", "7654321"))
    ]
    assert cases[0].images == DiffusionArchive(tmp_path / "1234567_20250_2_0.zip")


@pytest.fixture
def two(tmp_path: Path) -> Found:
    touch(tmp_path, *(f"sub-{n}/dwi/sub-{n}_rec-{kind}_dwi.nii.gz" for n in (1, 3) for kind in ("TRACE", "ADC")),
          "sub-4/dwi/sub-4_rec-ADC_dwi.nii.gz")  # fmt: skip
    return soop(tmp_path)


def test_cases_get_their_finding_by_name(tmp_path: Path, two: Found) -> None:
    rows = read_rows(
        table(tmp_path, 'SUB-3,Anterior,strong,Small Lacune,"Left, MCA."\n1,normal,,,\n', "\ufeff" + HEADER)
    )
    first, second = matched(two, rows)
    assert first[0].finding == Finding(Territory.NORMAL)
    assert first[0].report == f"Findings: {Finding(Territory.NORMAL).sentence()}"
    assert second[0].finding == Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
    assert second[0].report == "Left, MCA."
    assert second[0].patient == second[0].case_id == "soop-3"


def test_what_lacks_a_finding_or_images_is_listed_whole(tmp_path: Path, two: Found) -> None:
    rows = read_rows(table(tmp_path, "sub-4,normal,,,\nsub-9,normal,,,\n"))
    with pytest.raises(DatasetError) as refused:
        matched(two, rows)
    assert str(refused.value).splitlines() == [
        "sub-1: no row with its finding",
        "sub-3: no row with its finding",
        "findings.csv:2: sub-4: no trace image",
        "findings.csv:3: sub-9: not in the folder",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no case"),
        ("a,nowhere,,,\n", "findings.csv:2"),
        ("a,anterior,,,\n", "findings.csv:2"),
        ("a,normal,strong,small lacune,\n", "findings.csv:2"),
        ("a,normal,,,\nA,normal,,,\n", "findings.csv:3.*twice"),
        (",normal,,,\n", "no case"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as refused:
        read_rows(table(tmp_path, text))
    assert "nowhere" not in str(refused.value)


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="territory"):
        read_rows(table(tmp_path, "x,y\n", "case,where\n"))
    (tmp_path / "findings.csv").write_bytes(b"case,territory\n\xff\xfe,normal\n")
    with pytest.raises(DatasetError, match="UTF-8"):
        read_rows(tmp_path / "findings.csv")


def test_a_row_may_name_dicom_nifti_or_a_folder_of_either(tmp_path: Path) -> None:
    touch(tmp_path, "d/IM1", "n/x_DWI.nii.gz", "n/x_ADC.nii.gz", "many/dwi1.nii", "many/dwi2.nii", "many/adc.nii")
    header = "case,territory,study,dwi,adc,b_value,patient\n"
    rows = read_rows(
        table(
            tmp_path,
            "hosp-0,normal,,,,,\nhosp-1,normal,d,,,,77\nhosp-2,normal,n,,,,\nhosp-3,normal,,a.nii,b.nii,800,\n"
            "hosp-4,normal,many,,,,\nhosp-5,normal,gone,,,,\n",
            header,
        )
    )
    got = [own_images(row, tmp_path, None)[1] for row in rows[1:4]]
    assert got[0] == DicomStudy(tmp_path / "d")
    assert got[1] == NiftiPair(tmp_path / "n/x_DWI.nii.gz", tmp_path / "n/x_ADC.nii.gz", 1000.0)
    assert got[2] == NiftiPair(tmp_path / "a.nii", tmp_path / "b.nii", 800.0)
    for row in (rows[0], *rows[4:]):
        with pytest.raises(DatasetError, match=r"findings\.csv"):
            own_images(row, tmp_path, None)
    assert "77" not in repr(rows[1])


B_VALUES = (5, 1000, 995, 1005, 2000, 0, 1000)
DIRECTIONS = np.array([[0, 1, 0, 0, 1, 0, 0.6], [0, 0, 1, 0, 0, 0, 0.8], [0, 0, 0, 1, 0, 0, 0]])
TENSOR = np.array([0.4e-3, 0.7e-3, 1.3e-3])


def write_ukb(path: Path, b_values: tuple[int, ...] = B_VALUES, directions: np.ndarray = DIRECTIONS) -> np.ndarray:
    """A zip of volumes of one anisotropic tensor; the unweighted signal (4, 5, 3) comes back."""
    s0 = np.random.default_rng(0).uniform(200, 1000, (4, 5, 3))
    exponents = np.array([b * (TENSOR @ directions[:, n] ** 2) for n, b in enumerate(b_values)])
    data = (s0[..., None] * np.exp(-exponents)).astype(np.float32)
    affine = np.diag([-2.0, 2.0, 2.0, 1.0])
    content = gzip.compress(nibabel.Nifti1Image(data, affine).to_bytes())
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dMRI/dMRI/data_ud.nii.gz", content)
        archive.writestr("dMRI/dMRI/bvals", " ".join(map(str, b_values)) + "\n")
        archive.writestr("dMRI/dMRI/bvecs", "\n".join(" ".join(map(str, row)) for row in directions) + "\n")
        archive.writestr("dMRI/raw/AP.bval", "0\n")
    return s0


def test_trace_and_adc_of_a_uk_biobank_zip(tmp_path: Path) -> None:
    # Given three orthogonal directions about b 1000, for which the mean diffusivity is the tensor's trace over 3
    chosen = [0, 1, 2, 3, 4, 5]
    b_values = tuple(B_VALUES[n] for n in chosen)
    s0 = write_ukb(tmp_path / "1.zip", b_values, DIRECTIONS[:, chosen])
    pair = read_archive(tmp_path / "1.zip")
    assert pair.b_value_s_per_mm2 == pytest.approx(1000.0)
    mean = TENSOR.mean()
    np.testing.assert_allclose(pair.dwi.array, s0 * np.exp(-1000 * mean), rtol=5e-3)
    np.testing.assert_allclose(pair.adc_mm2_per_s.array, mean, rtol=5e-3)
    np.testing.assert_array_equal(pair.dwi.affine, np.diag([2.0, -2.0, 2.0, 1.0]))


@pytest.mark.parametrize(
    ("b_values", "directions"),
    [
        ((5, 2000, 2000, 2000, 2000, 0, 2000), DIRECTIONS),
        ((1000,) * 7, DIRECTIONS),
        (B_VALUES, DIRECTIONS * np.array([[1.0], [1.0], [0.0]])),
        (B_VALUES[:6], DIRECTIONS),
    ],
)
def test_a_zip_without_a_shell_is_refused(tmp_path: Path, b_values: tuple[int, ...], directions: np.ndarray) -> None:
    write_ukb(tmp_path / "1.zip")
    with zipfile.ZipFile(tmp_path / "1.zip") as whole, zipfile.ZipFile(tmp_path / "2.zip", "w") as other:
        other.writestr("dMRI/dMRI/data_ud.nii.gz", whole.read("dMRI/dMRI/data_ud.nii.gz"))
        other.writestr("dMRI/dMRI/bvals", " ".join(map(str, b_values)))
        other.writestr("dMRI/dMRI/bvecs", "\n".join(" ".join(map(str, row)) for row in directions))
    with pytest.raises(StudyNotUsable) as refused:
        read_archive(tmp_path / "2.zip")
    assert refused.value.code == "no_diffusion"


def test_a_zip_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    write_ukb(tmp_path / "whole.zip")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[:500])
    with pytest.raises(StudyNotUsable) as refused:
        read_archive(tmp_path / "cut.zip")
    assert refused.value.code == "unreadable_file"


def test_the_real_cases_in_their_layouts(tmp_path: Path) -> None:
    # Given links to the real images where their sets have them
    subject = tmp_path / "isles/rawdata/sub-strokecase0001/ses-0001"
    trace = tmp_path / "soop/sub-3/dwi"
    for folder, source in ((subject, "nifti/isles22_0001"), (trace, "nifti/soop_sub-3")):
        folder.mkdir(parents=True)
        for path in shared_data(source).iterdir():
            if "mask" not in path.name:
                (folder / path.name).symlink_to(path)
    for found in (isles2022(tmp_path / "isles"), soop(tmp_path / "soop")):
        (one,) = found.cases
        assert isinstance(one.images, NiftiPair)
        assert nibabel.load(one.images.dwi).shape[:3] == nibabel.load(one.images.adc).shape[:3]
        assert found.incomplete == {}

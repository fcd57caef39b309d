"""Real scanner output: every set is either chosen from or refused with a reason, and nothing else happens."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from support.shared import shared_data
from support.soop import write_soop_sub3

from pirtad.inference.dicom.headers import read_series
from pirtad.inference.dicom.select import inspect_series

# What this version says about each; none holds a classic, uncompressed trace image of b 800 to 1500 with its map.
EXPECTED = {
    "dicom2nifti_ge_dti": "several_studies",
    "ge_headers_phantom": "not_trace",
    "philips_classic": "not_trace",
    "siemens_e11_mosaic": "unsupported_layout",
    "siemens_xa30_classic_phantom": "no_dwi",
    "siemens_xa30_enhanced": "unsupported_sop_class",
    "transfer_syntaxes": "no_dwi",
    "uih_vframe": "unsupported_layout",
}


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_every_set_gives_an_inspection(tmp_path: Path, name: str, code: str) -> None:
    with zipfile.ZipFile(shared_data(f"dicom/{name}.zip")) as archive:
        members = [member for member in archive.namelist() if not member.endswith("/")]
        # The large one says the same with every third image
        kept = members if len(members) < 200 else members[::3]
        archive.extractall(tmp_path, kept)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]

    found = inspect_series(read_series(files)).to_dict()

    assert sum(row["n_images"] for row in found["series"]) == len(set(kept))
    assert found["refused"]["code"] == code
    assert found["refused"]["reason"]
    assert all(row["rejected_because"] for row in found["series"])


def test_a_clinical_stroke_study_is_usable(tmp_path: Path) -> None:
    found = inspect_series(read_series(write_soop_sub3(tmp_path))).to_dict()

    assert found["refused"] is None
    assert found["chosen"]["dwi"]["description"] == "sB1000"
    assert found["chosen"]["adc"]["description"] == "dADC"
    assert found["chosen"]["adc"]["spacing_mm"] == pytest.approx((0.898, 0.898, 6.0), abs=1e-3)

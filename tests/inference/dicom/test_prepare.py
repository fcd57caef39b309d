from __future__ import annotations

import pytest

from pirtad.inference.dicom.candidates import BValueLimits
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.prepare import prepare


def test_no_draft_for_a_minor(study) -> None:
    study.put("dwi", PatientAge="017Y")
    with pytest.raises(StudyNotUsable) as caught:
        prepare(study.files, BValueLimits())
    assert caught.value.code == "not_adult"


def test_an_adult_of_the_least_age_is_prepared(study) -> None:
    study.put("dwi", PatientAge="018Y")
    prepared = prepare(study.files, BValueLimits())
    assert prepared.registry.age_years == 18
    assert len(prepared.dwi_uids) == len(study.of_role("dwi"))

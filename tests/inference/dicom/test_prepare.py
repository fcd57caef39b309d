from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pirtad.inference.dicom.choosing.rules import DEFAULT_RULES
from pirtad.inference.errors import StudyNotUsable
from pirtad.inference.findings import Territory
from pirtad.inference.prepare import prepare
from pirtad.inference.simulation.dicom_writer import write_study
from pirtad.inference.simulation.study import SimulatedStudy, simulate


@pytest.fixture(scope="module")
def simulated() -> SimulatedStudy:
    return simulate(412, Territory.NORMAL)


def test_a_study_is_prepared_with_its_volumes_and_its_patient(study, simulated: SimulatedStudy, tmp_path: Path) -> None:
    header = replace(study.header, age="018Y")
    files = write_study(tmp_path / "adult", simulated.dwi, simulated.adc_mm2_per_s, header)
    prepared = prepare(files, DEFAULT_RULES)
    assert prepared.registry.age_years == 18
    assert prepared.patient_id == header.patient_id
    assert prepared.pair is not None
    assert prepared.pair.dwi.array.shape == simulated.dwi.array.shape
    assert len(prepared.dwi_uids) == len(prepared.adc_uids) == simulated.dwi.array.shape[2]
    assert not prepared.image_notes
    assert not prepared.adc_is_computed


def test_a_head_without_fluid_is_no_brain(study) -> None:
    with pytest.raises(StudyNotUsable) as caught:
        prepare(study.files, DEFAULT_RULES)
    assert caught.value.code == "adc_implausible"

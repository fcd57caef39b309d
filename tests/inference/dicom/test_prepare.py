from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

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


def test_images_whose_header_states_a_second_study_are_nobodys(study, tmp_path: Path) -> None:
    # Given images whose first Study Instance UID is the one they came with, and a second one further down
    arrived_as = str(dcmread(study.files[0], stop_before_pixels=True).StudyInstanceUID)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    second = b"\x20\x00\x0d\x00UI\x06\x001.2.3\0"
    for path in study.files:
        encoded = path.read_bytes()
        position = encoded.index(b"\x20\x00\x13\x00IS")  # Instance Number
        (damaged / path.name).write_bytes(encoded[:position] + second + encoded[position:])
    with pytest.raises(StudyNotUsable) as caught:
        prepare(sorted(damaged.iterdir()), DEFAULT_RULES, arrived_as)
    assert caught.value.code == "another_study"

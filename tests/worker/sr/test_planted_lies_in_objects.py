"""No object of a result holds anything of a lie that a model, a registry or a case base told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import ImageDraw
from pydicom import dcmread
from pydicom.dataset import Dataset
from support.lies import INJECTION, LIES, NOT_ASSESSED, PATIENTS, SOURCES, Lie, Patient

from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator
from pirtad.inference.report.report import Basis, Registry, Report
from pirtad.inference.volume import DiffusionPair, Volume
from pirtad.worker.sr.check import dciodvfy_errors, serialise
from pirtad.worker.sr.documents import Result, documents
from pirtad.worker.sr.identity import MEASUREMENTS, NARRATIVE
from pirtad.worker.sr.picture import PICTURE

SHAPE, SPACING_MM = (24, 24, 6), (6.0, 8.0, 12.0)
# What every object says of itself, with words that would be lies about the patient
OWN_WORDS = (NOT_ASSESSED, "Patient's left is on the right.")


@dataclass(frozen=True)
class Object:
    """dataset: as it would be sent. texts: every value of its header and tree, and for a picture what is drawn."""

    dataset: Dataset
    texts: tuple[str, ...]

    def holds(self, words: str) -> bool:
        joined = " ".join(" ".join(self.texts).split())
        for own in OWN_WORDS:
            joined = joined.replace(own, "")
        return words.casefold() in joined.casefold()


def values(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from values(item)
        elif element.keyword != "PixelData" and element.VR != "UI":
            yield str(element.value)


def volumes() -> tuple[DiffusionPair, np.ndarray]:
    """An ellipsoid and a bright ball on its patient's right."""
    affine = np.diag([*SPACING_MM, 1.0])
    affine[:3, 3] = -np.array(SPACING_MM) * (np.array(SHAPE) - 1) / 2
    i, j, k = (axis * mm for axis, mm in zip(np.indices(SHAPE), SPACING_MM, strict=True))
    x, y, z = (axis - axis.mean() for axis in (i, j, k))
    brain = (x / 60) ** 2 + (y / 80) ** 2 + (z / 40) ** 2 < 1
    lesion = (x + 30) ** 2 + y**2 + z**2 < 15**2
    dwi = np.where(brain, np.where(lesion, 900.0, 400.0), 5.0).astype(np.float32)
    adc = np.where(lesion, 5e-4, 9e-4).astype(np.float32)
    return DiffusionPair(Volume(dwi, affine), Volume(adc, affine), 1000.0), lesion & brain


@pytest.fixture(scope="module")
def _composed() -> dict[str, dict[str, Object]]:
    return {}


@pytest.fixture
def objects(
    _composed: dict[str, dict[str, Object]],
    study: Callable[..., object],
    identity: Callable[..., object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Report], dict[str, Object]]:
    """Composes, serialises and validates every object of a result, by role; equal reports once."""
    drawn: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def record(self, xy, text, *more, **named):
        drawn.append(text)
        draw(self, xy, text, *more, **named)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)

    def compose(report: Report) -> dict[str, Object]:
        if report.to_json() not in _composed:
            pair, mask = volumes()
            source = study()
            is_outlined = report.lesion is not None and report.lesion.volume_ml > 0
            result = Result(report, source, pair, mask if is_outlined else None)
            made = {}
            for number, (role, of) in enumerate(documents().items(), start=1):
                drawn.clear()
                dataset = of(result, identity(role=role, instance_number=number, provenance=report.provenance))
                content = serialise(dataset, source=source)
                (tmp_path / f"{role}.dcm").write_bytes(content)
                assert dciodvfy_errors(tmp_path / f"{role}.dcm") == [], role
                read = dcmread(BytesIO(content))
                made[role] = Object(read, (*values(read), *drawn))
            _composed[report.to_json()] = made
        return _composed[report.to_json()]

    return compose


def drafted(patient: Patient, *answers: str, registry: Registry | None = None) -> Report:
    return Generator(FakeLanguageModel(answers), SOURCES).generate(registry or patient.registry, patient.analysis())


def items(dataset: Dataset) -> list[tuple[str, str]]:
    """(name, text) of every text item of a document's tree."""
    found = []
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "TEXT":
            found.append((item.ConceptNameCodeSequence[0].CodeMeaning, item.TextValue))
        found += items(item)
    return found


@pytest.mark.parametrize("patient", PATIENTS.values(), ids=PATIENTS)
def test_the_truth_is_in_the_objects(objects, patient: Patient) -> None:
    # Without this the tests below would hold for objects that say nothing
    made = objects(drafted(patient, json.dumps(patient.told)))
    assert set(made) == {NARRATIVE, MEASUREMENTS, PICTURE}
    narrative = items(made[NARRATIVE].dataset)
    findings = [text for name, text in narrative if name == "Finding"]
    assert findings[0] in patient.findings
    assert tuple(findings[1:]) == patient.measured
    first, *beside = [text for name, text in narrative if name == "Impression"]
    assert first in patient.impressions
    assert beside == (
        ["Not known whether the images reach: lower posterior fossa, vertex."] if first.startswith("No") else []
    )
    assert dict(narrative)["Patient Presentation"] == patient.presentation
    assert all(made[PICTURE].holds(text) for text in findings)
    assert made[NARRATIVE].holds("Findings and impression: the language model's answer, held against the evidence.")


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_in_none_of_them(objects, lie: Lie) -> None:
    # Given a model that lies twice
    patient = PATIENTS[lie.patient]
    report = drafted(patient, *[json.dumps({**patient.told, **lie.told})] * 2)
    made = objects(report)
    # Then none of the objects, which are valid, holds anything of the lie
    assert [(role, mark) for role, one in made.items() for mark in lie.marks if one.holds(mark)] == []
    assert not any(mark.casefold() in report.to_json().casefold() for mark in lie.marks)
    # And they are those of a model that said nothing at all
    assert report == drafted(patient, "", "")
    # And the reader is told where the words come from
    basis = "the template, filled from the vote of the similar cases"
    assert made[NARRATIVE].holds(f"Findings and impression: {basis}.")
    assert made[PICTURE].holds(f"Basis: {basis}.")
    assert report.basis is Basis.TEMPLATE


@pytest.mark.parametrize("lie", [LIES["haemorrhage"], LIES["another territory"]], ids=["haemorrhage", "territory"])
def test_a_second_answer_is_called_one(objects, lie: Lie) -> None:
    patient = PATIENTS[lie.patient]
    made = objects(drafted(patient, json.dumps({**patient.told, **lie.told}), json.dumps(patient.told)))
    assert not any(one.holds(mark) for one in made.values() for mark in lie.marks)
    for role in (NARRATIVE, PICTURE):
        assert made[role].holds("the language model's second answer, limited to supported statements")


def test_an_injection_in_the_registry_is_quoted_as_the_registrys_alone(objects) -> None:
    # Given a request whose text commands the model, turned around and hidden, and a model that obeys
    patient = PATIENTS["measured"]
    hidden = f"\N{RIGHT-TO-LEFT OVERRIDE}{INJECTION}\N{ZERO WIDTH SPACE}"
    registry = replace(patient.registry, presentation=hidden, history=hidden)
    obeying = json.dumps({**patient.told, "findings": "No hemorrhage", "nihss": "41.5"})
    made = objects(drafted(patient, obeying, obeying, registry=registry))
    # Then the narrative quotes it under the two headings of the registry, in characters that are seen
    narrative = items(made[NARRATIVE].dataset)
    for words in (INJECTION, "Ignore", "hemorrhage", "41.5"):
        assert {name for name, text in narrative if words in text} == {"Patient Presentation", "History"}
    assert not any(one.holds(sign) for one in made.values() for sign in ("\u202e", "\u200b"))
    # And nothing else does
    for role in (MEASUREMENTS, PICTURE):
        assert not any(made[role].holds(word) for word in ("Ignore", "hemorrhage", "41.5", "im_end"))


def test_an_abstention_holds_no_word_of_a_model(objects) -> None:
    # Given cases that support no one territory, and a model that has a lie ready
    patient = PATIENTS["measured"]
    tied = replace(patient, similar=(patient.similar[0], patient.similar[4]))
    lie = LIES["haemorrhage"]
    report = drafted(tied, json.dumps({**patient.told, **lie.told}))
    made = objects(report)
    # Then nothing is concluded, and what was measured is told
    assert report.basis is Basis.ABSTENTION
    findings = [text for name, text in items(made[NARRATIVE].dataset) if name == "Finding"]
    assert findings == ["No findings are drafted.", *patient.measured]
    assert not any(one.holds(mark) for one in made.values() for mark in (*lie.marks, "infarct", "Language model"))
    assert made[NARRATIVE].holds("Findings and impression: no draft.")

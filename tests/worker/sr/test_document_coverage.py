"""Narrative and measurements carry what was assessed, and validate with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from pirtad.inference.findings import NORMAL_FINDING, Territory
from pirtad.inference.lesion.coverage import Coverage, Covered, Part
from pirtad.inference.report.report import NOT_ASSESSED, Report
from pirtad.worker.sr.check import dciodvfy_errors, serialise
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.measurements import compose_measurements
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

COVERAGE = Coverage(
    1000.0, False, 24, 120.0, 0.93, 0.93, Part(Covered.NOT_WHOLLY, 0.4, 0.4), Part(Covered.SEEN, 1.0, 1.0)
)
BESIDE = "Not wholly assessed: lower posterior fossa (partly outside the images)."


@pytest.fixture
def normal(report: Callable[..., Report]) -> Report:
    made = report(territory=Territory.NORMAL, findings=NORMAL_FINDING, impression=NORMAL_FINDING, coverage=COVERAGE)
    return replace(made, similar=tuple(replace(one, territory=Territory.NORMAL) for one in made.similar))


def texts(document: Dataset, name: str) -> list[str]:
    """Values of the text items of this name, in order."""
    return [
        str(item.TextValue)
        for item in _items(document)
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


def _items(item: Dataset) -> list[Dataset]:
    return [one for child in item.get("ContentSequence", ()) for one in (child, *_items(child))]


@pytest.mark.parametrize(
    ("compose", "about", "beside"),
    [
        (compose_narrative, "Procedure Description", "Impression"),
        (compose_measurements, "Comment", "Comment"),
    ],
    ids=["narrative", "measurements"],
)
def test_documents_carry_the_coverage_and_are_valid(
    compose: Callable[..., Dataset], about: str, beside: str, normal: Report,
    study: Callable[..., SourceStudy], identity: Callable[..., SrIdentity], tmp_path: Path,
) -> None:  # fmt: skip
    document = compose(normal, study(), identity=identity())
    said = texts(document, about)
    assert said.index(NOT_ASSESSED) > said.index(COVERAGE.lines()[1])
    assert sum(line.startswith("Assessed: ") for line in said) == 1
    assert BESIDE in texts(document, beside)
    (tmp_path / "sr.dcm").write_bytes(serialise(document))
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []

"""Contradictions between head, neighbours and measurement are said."""

from __future__ import annotations

import pytest

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import agreement
from pirtad.inference.lesion.measurement import LesionMeasurement, no_lesion

NORMAL, ANTERIOR, POSTERIOR = Territory.NORMAL, Territory.ANTERIOR, Territory.POSTERIOR
IN_ANTERIOR = LesionMeasurement(12.0, classes={ANTERIOR: 0.9, Territory.DEEP_GRAY_MATTER: 0.1, POSTERIOR: 0.0})
ACROSS = LesionMeasurement(12.0, classes={ANTERIOR: 0.5, Territory.DEEP_GRAY_MATTER: 0.1, POSTERIOR: 0.4})
NOWHERE = LesionMeasurement(12.0)


@pytest.mark.parametrize(
    ("head", "neighbours", "lesion", "said"),
    [
        (ANTERIOR, ANTERIOR, IN_ANTERIOR, []),
        (NORMAL, NORMAL, no_lesion(), []),
        (ANTERIOR, ANTERIOR, NOWHERE, []),
        (ANTERIOR, ANTERIOR, None, []),
        # a lesion too small to be measured, which both see; one that the measurement confirms; one across a border
        (ANTERIOR, ANTERIOR, no_lesion(), []),
        (NORMAL, ANTERIOR, IN_ANTERIOR, []),
        (POSTERIOR, POSTERIOR, ACROSS, []),
        (
            Territory.DEEP_GRAY_MATTER,
            Territory.DEEP_GRAY_MATTER,
            ACROSS,
            [
                "The classifier says deep gray matter, but most of the measured lesion lies in anterior circulation.",
                "The similar cases say deep gray matter, but most of the measured lesion lies in anterior circulation.",
            ],
        ),
        (NORMAL, ANTERIOR, None, ["The classifier says normal, the similar cases say anterior circulation."]),
        (
            NORMAL,
            ANTERIOR,
            no_lesion(),
            [
                "The classifier says normal, the similar cases say anterior circulation.",
                "The similar cases say anterior circulation, but no lesion with reduced ADC was measured.",
            ],
        ),
        (
            ANTERIOR,
            POSTERIOR,
            IN_ANTERIOR,
            [
                "The classifier says anterior circulation, the similar cases say posterior circulation.",
                "The similar cases say posterior circulation, but most of the measured lesion lies in "
                "anterior circulation.",
            ],
        ),
        (
            NORMAL,
            NORMAL,
            NOWHERE,
            [
                "The classifier says normal, but a lesion with reduced ADC of 12.0 ml was measured.",
                "The similar cases say normal, but a lesion with reduced ADC of 12.0 ml was measured.",
            ],
        ),
    ],
)
def test_each_contradiction_is_a_sentence(
    head: Territory, neighbours: Territory, lesion: LesionMeasurement | None, said: list[str]
) -> None:
    found = agreement(head, neighbours, lesion)
    assert list(found.contradictions) == said
    assert found.to_dict()["agree"] is (not said)


def test_what_could_not_be_located_has_no_measured_class() -> None:
    assert agreement(ANTERIOR, ANTERIOR, NOWHERE).to_dict()["measured"] is None
    assert agreement(ANTERIOR, ANTERIOR, no_lesion()).to_dict()["measured"] == "normal"

"""Head, neighbours and measured lesion side by side: a contradiction is shown, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.measurement import LesionMeasurement

# A lesion across a border has no one territory: with a third of it where a witness says, both are right, and the report
# names every territory that was measured.
LEAST_SHARE_OF_SAID = 1 / 3


@dataclass(frozen=True, slots=True)
class Agreement:
    """measured: the class with most of the lesion, NORMAL without one, None where nothing could be measured or
    located. contradictions: a sentence each."""

    head: Territory
    neighbours: Territory
    measured: Territory | None
    contradictions: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "head": str(self.head),
            "neighbours": str(self.neighbours),
            "measured": None if self.measured is None else str(self.measured),
            "agree": not self.contradictions,
            "contradictions": list(self.contradictions),
        }


def agreement(head: Territory, neighbours: Territory, lesion: LesionMeasurement | None) -> Agreement:
    """Compare; lesion: None where the weights measure none, which contradicts nothing.

    Two witnesses outweigh one in two ways: a measured lesion where the neighbours say confirms them against the
    classifier; and where classifier and neighbours say one territory, a lesion too small to be measured is no
    contradiction (report.extent then admits small infarcts alone).
    """
    measured = None if lesion is None else lesion.dominant
    if measured is neighbours and measured is not Territory.NORMAL:
        return Agreement(head, neighbours, measured, ())
    said = []
    if head is not neighbours:
        said.append(f"The classifier says {head.phrase}, the similar cases say {neighbours.phrase}.")
    elif measured is Territory.NORMAL:
        return Agreement(head, neighbours, measured, ())
    if lesion is not None:
        said += [
            sentence
            for who, territory in (("The classifier says", head), ("The similar cases say", neighbours))
            if (sentence := _against_measurement(who, territory, lesion))
        ]
    return Agreement(head, neighbours, measured, tuple(said))


def _against_measurement(who: str, said: Territory, lesion: LesionMeasurement) -> str:
    """A sentence, "" where the two do not contradict each other."""
    measured = lesion.dominant
    if said is measured:
        return ""
    if measured is Territory.NORMAL:
        return f"{who} {said.phrase}, but no lesion with reduced ADC was measured."
    if said is Territory.NORMAL:
        return f"{who} {said.phrase}, but a lesion with reduced ADC of {lesion.volume_ml:.1f} ml was measured."
    if measured is None or (lesion.classes or {}).get(said, 0) >= LEAST_SHARE_OF_SAID:
        return ""
    return f"{who} {said.phrase}, but most of the measured lesion lies in {measured.phrase}."

"""Head, neighbours and measured lesion side by side: a contradiction is shown, not hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.measurement import LesionMeasurement


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
    """Compare; lesion: None where the weights measure none, which contradicts nothing."""
    measured = None if lesion is None else lesion.dominant
    said = []
    if head is not neighbours:
        said.append(f"The classifier says {head.phrase}, the similar cases say {neighbours.phrase}.")
    if lesion is not None:
        said += [
            sentence
            for who, territory in (("The classifier says", head), ("The similar cases say", neighbours))
            if (sentence := _against_measurement(who, territory, measured, lesion.volume_ml))
        ]
    return Agreement(head, neighbours, measured, tuple(said))


def _against_measurement(who: str, said: Territory, measured: Territory | None, volume_ml: float) -> str:
    """A sentence, "" where the two do not contradict each other."""
    if said is measured:
        return ""
    if measured is Territory.NORMAL:
        return f"{who} {said.phrase}, but no lesion with reduced ADC was measured."
    if said is Territory.NORMAL:
        return f"{who} {said.phrase}, but a lesion with reduced ADC of {volume_ml:.1f} ml was measured."
    if measured is None:
        return ""
    return f"{who} {said.phrase}, but most of the measured lesion lies in {measured.phrase}."

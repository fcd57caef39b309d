"""Made-up questions as the product asks them: a registry, five similar cases, and what the answer should be."""

from __future__ import annotations

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.training.lora.examples import Example, example

_LACUNE, _WEDGE = InfarctType.SMALL_LACUNE, InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL
_LARGE = InfarctType.LARGE_VASCULAR_TERRITORIAL
_MILD, _STRONG = SignalClass.MILD, SignalClass.STRONG
_ANTERIOR, _POSTERIOR, _DEEP = Territory.ANTERIOR, Territory.POSTERIOR, Territory.DEEP_GRAY_MATTER


def questions() -> list[Example]:
    """Eight: every territory, fields that are missing, and text as people type it."""
    normal = Finding(Territory.NORMAL)
    return [
        _question(1, Registry(75, "Female", "Altered Mentality", 32.0, "HTN, Afib"), _of(_ANTERIOR, _MILD, _WEDGE)),
        _question(2, Registry(61, "Male", "Dizziness", 2.0, None), _of(_POSTERIOR, _STRONG, _LACUNE)),
        _question(3, Registry(83, "Female", None, None, "DM, Dyslipidemia"), _of(_DEEP, _MILD, _LACUNE)),
        _question(4, Registry(None, "Male", "Left side weakness", 11.0, "Old stroke"), _of(_ANTERIOR, _STRONG, _LARGE)),
        _question(5, Registry(48, None, 'Told us "numb hand"; worse', 0.0, "Migraine"), normal),
        _question(6, Registry(90, "Male", "Schwäche rechts, Müdigkeit", 5.0, "Vorhofflimmern"), _of(_DEEP, _STRONG)),
        _question(7, Registry(55, "Female", "Vertigo\\nataxia", 3.0, "Smoker"), _of(_POSTERIOR, _MILD, _WEDGE)),
        _question(8, Registry(None, None, None, None, None), _of(_ANTERIOR, _MILD, _LACUNE)),
    ]


def _of(territory: Territory, signal: SignalClass, kind: InfarctType = _LACUNE) -> Finding:
    return Finding(territory, signal, kind)


def _question(number: int, registry: Registry, finding: Finding) -> Example:
    """Four of the five similar cases say what is true, the last one shows nothing."""
    found = [finding] * 4 + [Finding(Territory.NORMAL)]
    similar = tuple(
        SimilarCase(f"made-up-{number}-{rank}", 0.9 - rank / 100, one.territory, one.sentence())
        for rank, one in enumerate(found)
    )
    return example(f"question {number}", registry, similar, finding)

"""Several sources' facts to one registry. Pure.

The first source that states a fact is believed, but for age and sex: where sources contradict each other in these,
the fact is left out, and a source that contradicts the images in both is about somebody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pirtad.inference.report.report import ADULT_YEARS, Registry
from pirtad.worker.registry.facts import NAMES

HEADER = "the images' header"
WORKLIST = "the worklist"
GIVEN_BY = {"api": "the hospital's interface", "cli": "an operator"}
_IDENTIFYING = ("age_years", "sex")
# Ages are counted at the images, at the order or at registration, and a birthday may lie between.
_AGE_TOLERANCE_YEARS = 1


@dataclass(frozen=True, slots=True)
class Source:
    """One source's facts, and its name for the reader."""

    name: str
    registry: Registry


def merge(sources: Sequence[Source]) -> tuple[Registry, tuple[str, ...]]:
    """The registry, and what a reader of the report must know of it, a sentence each; no patient data in these.

    sources: the most trusted first.
    """
    contradicted = {name: among for name in _IDENTIFYING if (among := _contradicting(name, sources))}
    notes = [
        f"Registry: {_list(among)} contradict each other in the patient's {NAMES[name]}, which was left out."
        for name, among in contradicted.items()
    ]
    header = next((one.registry for one in sources if one.name == HEADER), Registry())
    trusted = []
    for source in sources:
        if all(_differ(name, source.registry, header) for name in _IDENTIFYING):
            notes.append(
                f"Registry: {source.name} contradicts the images in age and sex, as another patient would; "
                "nothing from there was used."
            )
        else:
            trusted.append(source)
    chosen = {
        name: next((one for one in trusted if getattr(one.registry, name) is not None), None)
        for name in NAMES
        if name not in contradicted
    }
    registry = Registry(**{name: getattr(one.registry, name) for name, one in chosen.items() if one is not None})
    return registry, (*notes, *_origin({name: one.name for name, one in chosen.items() if one is not None}))


def _contradicting(name: str, sources: Sequence[Source]) -> list[str]:
    """The sources that state it, if two of them contradict each other."""
    stating = [one for one in sources if getattr(one.registry, name) is not None]
    pairs = ((one, other) for position, one in enumerate(stating) for other in stating[position + 1 :])
    return (
        [one.name for one in stating]
        if any(_differ(name, one.registry, other.registry) for one, other in pairs)
        else []
    )


def _differ(name: str, one: Registry, other: Registry) -> bool:
    """Whether both state it and can't both be right."""
    if name == "age_years":
        if one.age_years is None or other.age_years is None:
            return False
        # Whether a draft may be given hangs on being of age.
        across = (one.age_years < ADULT_YEARS) != (other.age_years < ADULT_YEARS)
        return across or abs(one.age_years - other.age_years) > _AGE_TOLERANCE_YEARS
    return one.sex is not None and other.sex is not None and one.sex != other.sex


def _origin(origins: dict[str, str]) -> tuple[str, ...]:
    """One sentence that tells where each fact is from; none while all are from the images, as ever."""
    if set(origins.values()) <= {HEADER}:
        return ()
    by_source = {source: [NAMES[name] for name, one in origins.items() if one == source] for source in origins.values()}
    told = "; ".join(f"{_list(names)} from {source}" for source, names in by_source.items())
    return (f"Registry: {told}.",)


def _list(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]

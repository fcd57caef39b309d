"""One sentence's statements: which mention is affirmed, doubted, old or denied, and which words belong to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from pirtad.inference.findings import Finding, InfarctType, SignalClass
from pirtad.inference.parsing.anatomy import Place, places
from pirtad.inference.parsing.mentions import (
    ADC_LOW,
    ARTEFACT,
    CLASSES,
    NOT_RESTRICTED,
    TYPES,
    Kind,
    Mention,
    Size,
    measured_mm,
    mentions,
)
from pirtad.inference.parsing.parsed import Evidence
from pirtad.inference.parsing.scope import EXCEPTION, Assertion, Trigger, reaching, triggers
from pirtad.inference.parsing.sentences import Sentence


class Status(StrEnum):
    """FOUND and UNSURE make candidates; OLD and DENIED make none."""

    FOUND = "found"
    UNSURE = "unsure"
    OLD = "old"
    DENIED = "denied"


@dataclass(slots=True)
class Statement:
    """What one sentence says of one lesion. restricted: restriction itself is said, not infarction alone.
    everywhere: a denial without place or exception. whole: the template's own sentence says all of it."""

    sentence: Sentence
    status: Status
    restricted: bool = False
    acute: bool = False
    everywhere: bool = False
    signal_only: bool = False
    places: list[Place] = field(default_factory=list)
    types: list[InfarctType | Size] = field(default_factory=list)
    sizes_mm: list[float] = field(default_factory=list)
    classes: list[SignalClass] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    whole: Finding | None = None


_NEW_LESION = re.compile(
    r"\band\b(?! (?:low|reduced|ADC|correspond|hypo))|;|\bas well as\b|\balso\b|\badditional|"
    r"\banother\b|\bseparate|\bplus\b|\bbut\b",
    re.IGNORECASE,
)
_APART = re.compile(r"\b(?:in|of|at|involving|within|with|on|and|or|for|from|to|without)\b|[,;:.]", re.IGNORECASE)
_APART_FROM_NOUN = re.compile(r"\b(?:in|at|involving|within|with|on|and|for|from|without)\b|[,;:]", re.IGNORECASE)
_SPARED = re.compile(r"[^.;,]{0,25}\b(?:is|are|being)? ?spared\b", re.IGNORECASE)
_ANOTHER_NOUN = re.compile(
    r"\b(?:h[ae]{1,2}morrhag\w+|mass effect|midline shift|o?edema|h[ae]{1,2}matoma|enhancement|transformation)\b", re.I
)


def evidence(rule: str, sentence: Sentence, start: int, end: int) -> Evidence:
    """Offsets in the sentence become offsets in the report."""
    return Evidence(rule, sentence.start + start, sentence.start + end, sentence.text[start:end], sentence.text)


def statements(sentence: Sentence) -> list[Statement]:
    """The statements of a sentence that mentions restricted diffusion or infarction, in its order."""
    text = sentence.text
    found = mentions(text)
    if not found:
        return []
    spoken = _limited(triggers(text), found)
    singles = [_single(sentence, mention, spoken) for mention in found]
    belonging(sentence, found, singles, spoken)
    merged = _merged(text, found, singles)
    _settle(sentence, merged, spoken)
    return merged


def belonging(sentence: Sentence, found: list[Mention], to: list[Statement], spoken: list[Trigger]) -> None:
    """Places, types, sizes and intensities go to their statements; with no mention in the sentence, to the first."""
    text = sentence.text
    for place in places(text):
        if _SPARED.match(text, place.end) or _denied(text, spoken, found, place.start):
            continue
        owner = to[_owner(text, found, place.start, place.end, _APART)]
        owner.places.append(place)
        owner.evidence.append(evidence(f"place: {place.territory}", sentence, place.start, place.end))
    for named, pattern in TYPES:
        for match in pattern.finditer(text):
            if _denied(text, spoken, found, match.start()):
                continue
            owner = to[_owner(text, found, match.start(), match.end(), _APART_FROM_NOUN)]
            owner.types.append(named)
            owner.evidence.append(evidence(f"type: {named}", sentence, match.start(), match.end()))
    for size_mm, start, end in measured_mm(text):
        owner = to[_owner(text, found, start, end, _APART_FROM_NOUN)]
        owner.sizes_mm.append(size_mm)
        owner.evidence.append(evidence("size", sentence, start, end))
    for signal_class, pattern in CLASSES:
        for match in pattern.finditer(text):
            owner = to[_owner(text, found, match.start(), match.end(), _APART_FROM_NOUN)]
            owner.classes.append(signal_class)
            owner.evidence.append(evidence(f"signal: {signal_class}", sentence, match.start(), match.end()))


def _limited(found: list[Trigger], said: list[Mention]) -> list[Trigger]:
    """A trigger of age reaches the next mention and no further."""
    limited = []
    for trigger in found:
        ages = trigger.assertion in {Assertion.COMPARED, Assertion.UNCHANGED} and trigger.reach_start >= trigger.end
        after = [mention.end for mention in said if mention.anchor >= trigger.reach_start]
        if ages and after:
            reach_end = min(trigger.reach_end, after[0])
            limited.append(
                Trigger(
                    trigger.assertion, trigger.start, trigger.end, trigger.reach_start, reach_end, trigger.qualified
                )
            )
        else:
            limited.append(trigger)
    return limited


def _single(sentence: Sentence, mention: Mention, spoken: list[Trigger]) -> Statement:
    trigger = reaching(spoken, mention.anchor)
    said = Assertion.AFFIRMED if trigger is None else trigger.assertion
    acute = mention.kind is Kind.INFARCT and mention.age == "acute"
    made = Statement(sentence, Status.FOUND, mention.kind is Kind.RESTRICTION, acute)
    made.signal_only = mention.kind is Kind.SIGNAL
    made.evidence.append(evidence(f"mention: {mention.kind}", sentence, mention.start, mention.end))
    if trigger is not None:
        made.evidence.append(evidence(f"scope: {trigger.assertion}", sentence, trigger.start, trigger.end))
    if said is Assertion.NEGATED:
        made.status = Status.DENIED
        made.everywhere = trigger is not None and not trigger.qualified and mention.age != "old"
        made.everywhere = made.everywhere and mention.kind is not Kind.OLD
        far = "," in sentence.text[trigger.end : mention.anchor] if trigger is not None else False
        made.doubts += ["a place is named in a list after a negation"] if far else []
    elif said is Assertion.UNCHANGED or mention.kind is Kind.OLD or mention.age == "old":
        made.status = Status.OLD
    elif said is Assertion.UNCERTAIN:
        made.status = Status.UNSURE
    elif said is Assertion.COMPARED:
        made.doubts.append("described as seen before")
    if made.status is Status.FOUND and mention.kind is Kind.INFARCT and not acute:
        made.doubts.append(f"infarct said to be {mention.age}" if mention.age else "infarct of unsaid age")
    return made


def _merged(text: str, found: list[Mention], singles: list[Statement]) -> list[Statement]:
    """Mentions of one lesion become one statement: 'restricted diffusion in the pons, likely an acute infarct'."""
    merged: list[Statement] = []
    for number, single in enumerate(singles):
        if merged:
            last, gap = merged[-1], text[found[number - 1].end : found[number].start]
            alive = {last.status, single.status} <= {Status.FOUND, Status.UNSURE}
            if alive and (not single.places or not _NEW_LESION.search(gap)):
                _join(last, single)
                continue
        merged.append(single)
    return merged


def _join(last: Statement, more: Statement) -> None:
    firm = [one for one in (last, more) if one.status is Status.FOUND]
    last.doubts = [doubt for one in firm for doubt in one.doubts]
    last.restricted = any(one.restricted for one in firm)
    last.acute = any(one.acute for one in firm)
    last.signal_only = all(one.signal_only for one in firm) and bool(firm)
    if last.restricted or last.acute:
        last.doubts = [doubt for doubt in last.doubts if not doubt.startswith("infarct")]
    last.status = Status.FOUND if firm else Status.UNSURE
    for name in ("places", "types", "sizes_mm", "classes", "evidence"):
        getattr(last, name).extend(getattr(more, name))


def _settle(sentence: Sentence, merged: list[Statement], spoken: list[Trigger]) -> None:
    """What a sentence says beside its mentions: no low ADC, an artefact, an exception to a denial."""
    text = sentence.text
    denied = any(one.status is Status.DENIED and one.restricted and one.everywhere for one in merged)
    for match in NOT_RESTRICTED.finditer(text):
        trigger = reaching(spoken, match.start())
        if trigger is None or trigger.assertion is not Assertion.NEGATED:
            not_restricted(sentence, merged, match.start(), match.end())
    low = ADC_LOW.search(text)
    for one in merged:
        if one.status is Status.FOUND and low is not None and reaching(spoken, low.start()) is None:
            one.restricted = one.restricted or one.signal_only
        if one.status is Status.FOUND and denied and not one.restricted:
            one.status = Status.UNSURE if one.acute else Status.OLD
        if one.status in {Status.FOUND, Status.UNSURE} and (art := ARTEFACT.search(text)) is not None:
            one.status = Status.UNSURE
            one.evidence.append(evidence("artefact", sentence, art.start(), art.end()))
        if one.status is Status.FOUND and text.rstrip(" )\"'").endswith("?"):
            one.status = Status.UNSURE
        if one.status is Status.DENIED and one.places:
            one.everywhere = False
    if EXCEPTION.search(text) and any(one.status in {Status.FOUND, Status.UNSURE} for one in merged):
        for one in merged:
            one.everywhere = False


def not_restricted(sentence: Sentence, spoken_of: list[Statement], start: int, end: int) -> None:
    """T2 shine-through or an ADC that is not low: bright DWI then means nothing, and said restriction is in doubt."""
    for one in spoken_of:
        if one.status in {Status.FOUND, Status.UNSURE}:
            one.status = Status.UNSURE if one.restricted or one.acute else Status.OLD
            one.evidence.append(evidence("not restricted", sentence, start, end))


def _denied(text: str, spoken: list[Trigger], found: list[Mention], at: int) -> bool:
    """Whether a negation that follows the mention takes this word away: '... sparing the thalamus'."""
    trigger = reaching(spoken, at)
    return (
        trigger is not None
        and trigger.assertion is Assertion.NEGATED
        and trigger.end <= at
        and any(mention.anchor < trigger.start for mention in found)
        and not any(trigger.end <= mention.anchor for mention in found)
        and not _ANOTHER_NOUN.search(text, trigger.end, at)
    )


def _owner(text: str, found: list[Mention], start: int, end: int, apart: re.Pattern[str]) -> int:
    """Index of the mention that a word belongs to: the one it lies in, the one it directly describes ('right thalamic
    old lacune'), else the last one before it, else the first one after it."""
    before = 0
    for number, mention in enumerate(found):
        if start < mention.end and mention.start < end:
            return number
        if mention.anchor >= end:
            gap = text[end : mention.start]
            if len(gap.split()) <= 5 and not apart.search(gap):
                return number
            break
        before = number
    return before

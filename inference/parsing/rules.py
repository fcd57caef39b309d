"""`parse_report`: an English report's territories, infarct type and signal class by rules, or the reason why not.

PIRTA's neuroradiologist wrote the structured findings with the images at hand; a report's words alone seldom tell the
signal class. What they do not tell stays None and goes to a person: nothing is guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.parsing.language import foreign_letters, is_english
from pirtad.inference.parsing.mentions import LACUNE_MM, NOT_RESTRICTED, Size
from pirtad.inference.parsing.parsed import Candidate, Confidence, Evidence, ParsedReport
from pirtad.inference.parsing.reading import Reading, read
from pirtad.inference.parsing.sentences import sentences
from pirtad.inference.parsing.statements import Statement, Status

_LONGEST_CHARS = 20_000  # chosen: no report of one study is longer; the patterns' time grows with the sentence

_LONGEST_SENTENCE_CHARS = 2_000


@dataclass(slots=True)
class _Group:
    territory: Territory
    statements: list[Statement] = field(default_factory=list)


def parse_report(text: str) -> ParsedReport:
    """What a report says, every decision with its words. Raises nothing for any text: what can't be read is REVIEW."""
    if len(text) > _LONGEST_CHARS:
        return ParsedReport((), Confidence.REVIEW, ("longer than any report",), ())
    if not is_english(text):
        return ParsedReport((), Confidence.REVIEW, ("not in English, or without words",), (), english=False)
    if any(len(sentence.text) > _LONGEST_SENTENCE_CHARS for sentence in sentences(text)):
        return ParsedReport((), Confidence.REVIEW, ("a sentence longer than any",), ())
    reading = read(text)
    reasons = ["part of it is in another script"] if foreign_letters(text) else []
    reasons += ["has an addendum"] if reading.addendum else []
    groups = _groups(reading)
    candidates = [_candidate(group, _shared(reading, groups), reasons) for group in groups]
    if groups:
        _doubts(reading, groups, reasons)
    else:
        candidates = _without_lesion(reading, reasons)
    if reading.mimics:
        reasons.append("haemorrhage or another disease that restricts diffusion is named")
        if not any(one.acute or one.whole for group in groups for one in group.statements):
            candidates = [one for one in candidates if one.territory is Territory.NORMAL]
    if reading.bleeding_infarct:
        reasons.append("haemorrhagic transformation or petechiae")
    noticed = _noticed(reading)
    told = tuple(dict.fromkeys(reasons))
    if not told and candidates and candidates[0].finding is not None:
        return ParsedReport(tuple(candidates), Confidence.CERTAIN, (), noticed)
    return ParsedReport(tuple(candidates), Confidence.REVIEW, told or ("class or type not told",), noticed)


def _groups(reading: Reading) -> list[_Group]:
    """The territories affected, those of the impression first, then in the order they are named."""
    groups: dict[Territory, _Group] = {}
    alive = [one for one in reading.statements if one.status in {Status.FOUND, Status.UNSURE}]
    for statement in sorted(alive, key=lambda one: not one.sentence.in_impression):
        named = [place.territory for place in statement.places]
        if statement.whole is not None:
            named = [statement.whole.territory]
        for territory in dict.fromkeys(named):
            groups.setdefault(territory, _Group(territory)).statements.append(statement)
    return list(groups.values())


def _shared(reading: Reading, groups: list[_Group]) -> list[Statement]:
    """Statements without a place speak of the one territory, if there is one: 'Impression: acute lacunar infarct.'"""
    if len(groups) != 1:
        return []
    return [one for one in reading.statements if one.status is Status.FOUND and not one.places and one.whole is None]


def _candidate(group: _Group, shared: list[Statement], reasons: list[str]) -> Candidate:
    statements = group.statements + shared
    whole = {one.whole for one in statements if one.whole is not None}
    signal_class, infarct_type = None, None
    if len(whole) == 1:
        (said,) = whole
        signal_class, infarct_type = said.signal_class, said.infarct_type
    elif whole:
        reasons.append("two template sentences that differ")
    else:
        signal_class = _signal_class(statements, reasons)
        infarct_type = _infarct_type(group.territory, statements, reasons)
    return Candidate(
        group.territory,
        signal_class,
        infarct_type,
        any(one.sentence.in_impression for one in group.statements),
        tuple(dict.fromkeys(found for one in statements for found in one.evidence)),
    )


def _signal_class(statements: list[Statement], reasons: list[str]) -> SignalClass | None:
    named = {one for statement in statements for one in statement.classes}
    if len(named) == 1:
        return named.pop()
    reasons.append("signal called both strong and mild" if named else "no word on the signal's strength")
    return None


def _infarct_type(territory: Territory, statements: list[Statement], reasons: list[str]) -> InfarctType | None:
    deep = territory is Territory.DEEP_GRAY_MATTER
    words = {one for statement in statements for one in statement.types}
    named = [one for one in words if isinstance(one, InfarctType)]
    over = any(size > LACUNE_MM for statement in statements for size in statement.sizes_mm)
    small, large = Size.SMALL in words, Size.LARGE in words or over
    if len(named) > 1:
        reasons.append("words for several infarct types")
        return None
    if named:
        (only,) = named
        clash = (
            (only is InfarctType.LARGE_VASCULAR_TERRITORIAL and (deep or small))
            or (only is InfarctType.SMALL_STRIATO_CAPSULAR and not deep)
            or (only is InfarctType.SMALL_LACUNE and large)
            or (only is InfarctType.SMALL_STRIATO_CAPSULAR and Size.LARGE in words)
        )
        reasons += ["size or place do not go with the infarct type"] if clash else []
        return only
    if small and large:
        reasons.append("called small and large")
        return None
    return _type_by_size(deep, small, large, statements, reasons)


def _type_by_size(
    deep: bool, small: bool, large: bool, statements: list[Statement], reasons: list[str]
) -> InfarctType | None:
    measured = any(statement.sizes_mm for statement in statements)
    if small or (measured and not large):
        if not small:
            reasons.append("type by measured size alone")
        if deep:
            reasons.append("a small deep lesion may be a lacune or not")
            return InfarctType.SMALL_LACUNE
        return InfarctType.SMALL_DIFFUSION_RESTRICTION
    if any(Size.LARGE in statement.types for statement in statements) and not deep:
        reasons.append("called large, a whole territory is not named")
        return InfarctType.LARGE_VASCULAR_TERRITORIAL
    reasons.append("no word on the infarct type")
    return None


def _doubts(reading: Reading, groups: list[_Group], reasons: list[str]) -> None:
    if len(groups) > 1:
        reasons.append("several territories are named")
    for group in groups:
        firm = [one for one in group.statements if one.status is Status.FOUND]
        solid = [one for one in firm if not one.doubts and (not one.signal_only or one.restricted)]
        if not firm:
            reasons.append("only a possibility")
        elif not solid:
            reasons += [doubt for one in firm for doubt in one.doubts]
            reasons += ["bright on DWI, ADC not told"] if any(one.signal_only for one in firm) else []
        if not any(one.restricted or one.whole for one in firm + _shared(reading, groups)) and not any(
            one.acute for one in firm
        ):
            reasons.append("restriction itself is not said")
        if any("seen before" in doubt for one in firm for doubt in one.doubts):
            reasons.append("described as seen before")
        doubtful = {
            place.doubt for one in group.statements for place in one.places if place.territory is group.territory
        }
        if None not in doubtful or any(doubt and "border" in doubt for doubt in doubtful):
            reasons += sorted(doubt for doubt in doubtful if doubt and not any(one.whole for one in firm))
    unsure = [one for one in reading.statements if one.status is Status.UNSURE]
    if any(any(found.rule in {"artefact", "not restricted"} for found in one.evidence) for one in unsure):
        reasons.append("artefact or T2 shine-through is considered")
    if any(one.everywhere for one in reading.statements if one.status is Status.DENIED) or reading.diffusion_normal:
        reasons.append("restriction is also denied")
    if any(one.doubts and one.places for one in reading.statements if one.status is Status.DENIED):
        reasons.append("a place is named in a list after a negation")


def _without_lesion(reading: Reading, reasons: list[str]) -> list[Candidate]:
    alive = [one for one in reading.statements if one.status in {Status.FOUND, Status.UNSURE}]
    denials = [one for one in reading.statements if one.status is Status.DENIED]
    everywhere = [one for one in denials if one.everywhere]
    proof = [found for one in everywhere for found in one.evidence] + reading.diffusion_normal
    if any(one.status is Status.FOUND for one in alive):
        reasons.append("a lesion without a place that the rules know")
        return []
    if alive:
        reasons.append("only a possibility")
        return []
    if any(one.places and not NOT_RESTRICTED.search(one.sentence.text) for one in denials):
        reasons.append("restriction is denied at a place")
    if any(one.status is Status.OLD and (one.restricted or one.acute) for one in reading.statements):
        reasons.append("an acute lesion is called unchanged")
    if proof:
        reasons += ["a doubt is told, or images are limited"] if reading.doubts else []
        impression = any(one.sentence.in_impression for one in everywhere)
        return [Candidate(Territory.NORMAL, None, None, impression, tuple(proof))]
    if reading.brain_normal:
        reasons.append("called normal without a word on diffusion")
        return [Candidate(Territory.NORMAL, None, None, False, tuple(reading.brain_normal))]
    if denials:
        reasons.append("restriction is denied only in part")
    elif reading.statements:
        reasons.append("old or unchanged lesions, nothing on new ones")
    else:
        reasons.append("nothing on restricted diffusion or infarction")
    return []


def _noticed(reading: Reading) -> tuple[Evidence, ...]:
    found = [one for statement in reading.statements for one in statement.evidence]
    found += (
        reading.diffusion_normal + reading.brain_normal + reading.mimics + reading.bleeding_infarct + reading.doubts
    )
    return tuple(dict.fromkeys(sorted(found, key=lambda one: (one.start, one.end, one.rule))))

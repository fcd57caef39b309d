"""A report's statements in order: table 1's own sentences, the rules' reading of the others, and what carries over."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from pirtad.inference.findings import Finding, Territory
from pirtad.inference.parsing.mentions import ADC_LOW, MICROBLEED, MIMIC, NOT_RESTRICTED
from pirtad.inference.parsing.parsed import Evidence
from pirtad.inference.parsing.scope import Assertion, Trigger, reaching, triggers
from pirtad.inference.parsing.sentences import Sentence, sentences
from pirtad.inference.parsing.statements import (
    Statement,
    Status,
    belonging,
    evidence,
    not_restricted,
    statements,
)
from pirtad.inference.parsing.templates import template_sentences

_ANAPHORA = re.compile(
    r"\W*(?:these|this|it|they|those|the (?:largest|lesions?|infarct\w*|foc\w+|areas?|abnormality|"
    r"restriction|latter)|involv\w+|measur\w+|located|extending|largest)\b",
    re.IGNORECASE,
)
_NORMAL_DIFFUSION = re.compile(
    r"(?:DWI|diffusion(?:[- ]weighted)?(?: images?| imaging| sequences?| series)?)(?: (?:is|are|was|were|appears?))?:? "
    r"(?:normal|unremarkable|negative)\b(?! for\b)|\b(?:normal|unremarkable|negative) (?:DWI|diffusion)\b",
    re.IGNORECASE,
)
_NORMAL_BRAIN = re.compile(
    r"\b(?:normal|unremarkable) (?:\w+ ){0,3}(?:MRI?|brain|examination|study|scan)\b|"
    r"\bno acute (?:intracranial|intra-cranial|brain) (?:\w+ )?(?:abnormalit\w+|findings?|patholog\w+|process)",
    re.IGNORECASE,
)
_OLD_MIMIC = re.compile(r"\b(?:old|chronic|remote|prior|known|treated)(?:[ -]\w+){0,3}[ -]$", re.IGNORECASE)


_DOUBT = re.compile(
    r"\b(?:not|can ?not|can't)\b[^.;,]{0,25}\b(?:exclud|ruled? out)\w*|\br/o\b|\bsuspicio\w+|\bequivocal\b|"
    r"\bquestionable\b|\b(?:limited|degraded|non-?diagnostic|incomplete)\b|"
    r"\bnot (?:performed|acquired|obtained|available|included)\b|\bart[ei]fact\w*|\bdoubtful\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Reading:
    """All that was noticed. doubts: words that make a denial less than whole.
    diffusion_normal, brain_normal: the words that say so; mimics: affirmed or doubted."""

    statements: list[Statement] = field(default_factory=list)
    diffusion_normal: list[Evidence] = field(default_factory=list)
    brain_normal: list[Evidence] = field(default_factory=list)
    mimics: list[Evidence] = field(default_factory=list)
    bleeding_infarct: list[Evidence] = field(default_factory=list)
    doubts: list[Evidence] = field(default_factory=list)
    addendum: bool = False


def read(report: str) -> Reading:
    """The statements of a report's findings and impression."""
    reading = Reading()
    whole = template_sentences(report)
    previous: list[Statement] = []
    for sentence in sentences(report):
        reading.addendum |= sentence.addendum
        end = sentence.start + len(sentence.text)
        inside = [one for one in whole if one[1] < end and sentence.start < one[2]]
        previous = _template(report, sentence, inside) if inside else _free(sentence, previous)
        reading.statements += [one for one in previous if one not in reading.statements]
        if not inside:
            _beside(sentence, reading)
    return reading


def _template(report: str, sentence: Sentence, inside: list[tuple[Finding, int, int]]) -> list[Statement]:
    found = []
    for finding, start, end in inside:
        if start < sentence.start:
            continue  # the second sentence of the normal template
        normal = finding.territory is Territory.NORMAL
        made = Statement(sentence, Status.DENIED if normal else Status.FOUND, True, everywhere=normal, whole=finding)
        made.evidence.append(Evidence("template sentence", start, end, report[start:end], sentence.text))
        found.append(made)
    return found


def _free(sentence: Sentence, previous: list[Statement]) -> list[Statement]:
    """The sentence's own statements, or the previous sentence's where this one goes on about the same lesion."""
    text = sentence.text
    if said := statements(sentence):
        _same_lesion(text, said, previous)
        return said
    if not previous or previous[-1].whole is not None:
        return []
    last = previous[-1]
    spoken = triggers(text)
    if (shine := NOT_RESTRICTED.search(text)) is not None and _affirmed(spoken, shine.start()):
        not_restricted(sentence, previous, shine.start(), shine.end())
        return previous
    if (low := ADC_LOW.search(text)) is not None and _affirmed(spoken, low.start()):
        last.restricted = last.restricted or (last.signal_only and last.status is Status.FOUND)
        last.evidence.append(evidence("low ADC", sentence, low.start(), low.end()))
    listed = sentence.bullet and (last.sentence.bullet or last.sentence.text.endswith(":"))
    if not (listed or _ANAPHORA.match(text)) or last.status is Status.DENIED:
        return []
    more = Statement(sentence, last.status, last.restricted, last.acute, signal_only=last.signal_only)
    more.doubts = list(last.doubts)
    belonging(sentence, [], [more], spoken)
    return [more]


def _affirmed(spoken: list[Trigger], at: int) -> bool:
    trigger = reaching(spoken, at)
    return trigger is None or trigger.assertion is not Assertion.NEGATED


def _same_lesion(text: str, said: list[Statement], previous: list[Statement]) -> None:
    """'The infarct involves ...' has the age of the infarct just spoken of; 'no true restriction' is about it too."""
    first = said[0]
    before = [one for one in previous if one.status is Status.FOUND]
    if not before:
        return
    if first.status is Status.FOUND and _ANAPHORA.match(text) and (before[-1].acute or before[-1].restricted):
        first.doubts = [doubt for doubt in first.doubts if doubt != "infarct of unsaid age"]
        first.restricted, first.acute = before[-1].restricted, before[-1].acute
    if (
        first.status is Status.DENIED
        and first.restricted
        and re.search(r"\b(?:correspond\w+|associated|true)\b", text, re.I)
    ):
        first.everywhere = False
        for one in before:
            one.status = Status.UNSURE if one.acute or one.restricted else Status.OLD


def _beside(sentence: Sentence, reading: Reading) -> None:
    """Normal diffusion, a normal brain, haemorrhage and mimics."""
    text = sentence.text
    spoken = triggers(text)
    for pattern, found in ((_NORMAL_DIFFUSION, reading.diffusion_normal), (_NORMAL_BRAIN, reading.brain_normal)):
        found += [
            evidence("said to be normal", sentence, match.start(), match.end()) for match in pattern.finditer(text)
        ]
    reading.doubts += [evidence("doubt", sentence, one.start(), one.end()) for one in _DOUBT.finditer(text)]
    for match in MICROBLEED.finditer(text):
        if _affirmed(spoken, match.start()) and match[0].lower().startswith(("petech", "transf", "conv")):
            reading.bleeding_infarct.append(evidence("haemorrhage in an infarct", sentence, match.start(), match.end()))
    for match in MIMIC.finditer(text):
        around = text[max(0, match.start() - 12) : match.end() + 16]
        if MICROBLEED.search(around) or not _affirmed(spoken, match.start()):
            continue
        if _OLD_MIMIC.search(text[: match.start()]):
            continue
        reading.mimics.append(evidence("mimic", sentence, match.start(), match.end()))

"""What a trigger word reaches: negation, doubt and age, in the manner of NegEx.

Chapman et al. 2001, "A simple algorithm for identifying negated findings and diseases in discharge summaries": trigger
phrases before or after a term, pseudo-triggers that only look like one, and termination terms that end the reach.
Departures: the reach is the rest of the clause rather than five words (as in later NegEx), an age word reaches only the
next mention, and a trigger after its term stops at a comma where another subject stands between ("infarct in the left
pons, haemorrhage is not seen").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Assertion(StrEnum):
    """What is said of a mention, the strongest first."""

    NEGATED = "negated"
    UNCHANGED = "unchanged"
    UNCERTAIN = "uncertain"
    COMPARED = "compared"
    AFFIRMED = "affirmed"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger and its reach, offsets in the sentence; `far` marks where a comma-separated list begins."""

    assertion: Assertion
    start: int
    end: int
    reach_start: int
    reach_end: int
    qualified: bool = False


_PSEUDO = re.compile(
    r"\b(?:not only|no doubt|without (?:a )?doubt|not necessarily|not certain(?:ly)?|no increase|"
    r"(?:compared|comparison|comparing) (?:to|with)(?: the)?(?: most)?(?: recent)? (?:prior|previous|old)|"
    r"prior to|not (?:\w+ )?(?:seen|present|visible|identified|evident) (?:previously|before|(?:on|in|at) (?:the )?"
    r"(?:prior|previous|earlier|last|old|initial|CT|T2|FLAIR))|"
    r"no (?:prior|previous) (?:studies|study|imaging|exams?|MRI)|new (?:since|from|compared))\b",
    re.IGNORECASE,
)
_UNCERTAIN_BEFORE = (
    r"possibl[ey]|probabl[ey]|likely|suspicious (?:for|of)|suspected|suspicion (?:for|of)|suspect|questionable|"
    r"question(?:able)? of|may(?: represent| reflect| be| indicate)?|might(?: represent| reflect| be)?|"
    r"could(?: represent| reflect| be)|(?:can ?not|could not|not|cannot completely) (?:be )?(?:exclude|rule out)d?|"
    r"(?:does|do) not exclude|r/o|rule out|to exclude|concern(?:ing)? (?:for|of)|equivocal|"
    r"differential (?:diagnosis )?(?:includes)?|"
    r"consider|presum(?:ed|ably)|suggest(?:s|ive|ing|ed)?(?: of)?|favou?r(?:s|ed)?|apparent|versus|vs|query|\?"
)
_UNCERTAIN_AFTER = (
    r"(?:can ?not|can't|could not)(?: \w+)? be (?:\w+ )?(?:excluded|ruled out)|"
    r"(?:is |are )?not (?:\w+ )?(?:excluded|ruled out)|"
    r"(?:is|are|remains?) (?:possible|suspected|questionable|equivocal|considered|favou?red)|is difficult to exclude|"
    r"versus|vs\b|\(\?\)|\?"
)
_NEGATED_BEFORE = (
    r"no longer|no|not|nor|neither|never|without|w/o|absence of|absent|negative for|free of|lack(?:s|ing)?(?: of)?|"
    r"fail(?:s|ed)? to (?:show|demonstrate|reveal)|rules out|ruled out|excludes|resolution of|resolved|rather than|nil|"
    r"unlikely|sparing(?: of)?|spares"
)
_NEGATED_AFTER = (
    r"(?:(?:is|are|was|were|has|have|been|can|could|be) )*(?:not|no longer|never) "
    r"(?:\w+ly )?(?:be )?(?:been )?(?:seen|present|identified|evident|"
    r"demonstrated|observed|detected|noted|visuali[sz]ed|visible|apparent|appreciated|shown|found|suspected|depicted)|"
    r"(?:is|are|was|were) (?:absent|unlikely|negative)|absent|"
    r"(?:has|have|is|are|been|was|were) ?(?:been )?(?:excluded|ruled out|resolved)|"
    r":? ?(?:none|negative|nil|absent)\b(?! for\b)|: ?no\b|unlikely"
)
_NO_CHANGE = r"no (?:(?:significant|appreciable|substantial|interval) )*change|not (?:\w+ )?changed"
_UNCHANGED_BEFORE = rf"unchanged|stable|(?:{_NO_CHANGE})(?: (?:in|of|to|from))?"
_UNCHANGED_AFTER = rf"(?:is |are )?(?:\w+ly )?(?:unchanged|stable)\b|{_NO_CHANGE}"
_BARE = re.compile(
    r"\W*(?:unchanged|stable|(?:no|not) (?:\w+ )*changed?|none|negative|nil|absent|unlikely|\?|vs|versus)\b",
    re.IGNORECASE,
)
_COMPARED_BEFORE = (
    r"previous(?:ly)?(?:[- ](?:seen|noted|described|reported|demonstrated|known|identified))?|prior|known|"
    r"again (?:seen|noted|demonstrated)|re-?demonstrat\w+|"
    r"(?:evolution|progression|maturation) of|follow-?up of"
)
_COMPARED_AFTER = (
    r"(?:as )?(?:seen|noted|described|present) (?:on (?:the )?)?(?:prior|previous)\w*|again (?:seen|noted)"
)
# Pre-triggers of negation that leave room for doubt are found first, so that "does not exclude" is no "not".
_RULES = tuple(
    (assertion, before, re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE))
    for assertion, before, pattern in (
        (Assertion.UNCERTAIN, False, _UNCERTAIN_AFTER),
        (Assertion.UNCERTAIN, True, _UNCERTAIN_BEFORE),
        (Assertion.UNCHANGED, False, _UNCHANGED_AFTER),
        (Assertion.UNCHANGED, True, _UNCHANGED_BEFORE),
        (Assertion.NEGATED, False, _NEGATED_AFTER),
        (Assertion.NEGATED, True, _NEGATED_BEFORE),
        (Assertion.COMPARED, False, _COMPARED_AFTER),
        (Assertion.COMPARED, True, _COMPARED_BEFORE),
    )
)
EXCEPTION = re.compile(
    r"\b(?:but|except(?:ing)?(?: for)?|apart from|aside from|other than|besides|with the exception of|save for)\b", re.I
)
_TERMINATION = re.compile(
    rf"{EXCEPTION.pattern}|\b(?:however|nevertheless|although|though|yet|whereas|while|there (?:is|are|was|were)|"
    rf"because|"
    r"due to|secondary to|in addition)\b|;|→|->|=>|\s[-–]\s|\n\s*[-•*]",
    re.IGNORECASE,
)
_OTHER_SUBJECT = re.compile(
    r"\b(?:h[ae]{1,2}morrhag\w+|h[ae]{1,2}matoma|mass effect|midline shift|o?edema|T2|FLAIR|enhancement|hydrocephalus|"
    r"herniation|stenosis|occlusion|transformation|swelling|bleed\w*)\b",
    re.IGNORECASE,
)
# "No other restriction" denies nothing about the one at hand, "no large infarct" nothing about a small one.
_QUALIFIED = re.compile(
    r"\b(?:other|additional|further|new|large|major|territorial|definite|definitive|convincing|obvious|gross|significant|"
    r"cortical|FLAIR|CT|T2|interval|elsewhere|second|remaining|longer|contralateral|clear)\b",
    re.IGNORECASE,
)


def triggers(sentence: str) -> list[Trigger]:
    """The triggers of a sentence with their reach, none overlapping."""
    stops = [(match.start(), match.end()) for match in _TERMINATION.finditer(sentence)]
    taken = [match.span() for match in _PSEUDO.finditer(sentence)]
    found: list[Trigger] = []
    for assertion, before, pattern in _RULES:
        for match in pattern.finditer(sentence):
            if any(match.start() < end and start < match.end() for start, end in taken):
                continue
            taken.append(match.span())
            ahead = match.end(), min((start for start, _ in stops if start >= match.end()), default=len(sentence))
            back = _back_from(sentence, match.start(), stops), match.start()
            if before:
                reach = ahead
                qualified = _QUALIFIED.search(sentence[match.start() : match.end() + 40]) is not None
            else:
                reach = back
                qualified = _QUALIFIED.search(sentence[back[0] : match.end()]) is not None
            found.append(Trigger(assertion, match.start(), match.end(), *reach, qualified))
            # "Unchanged restriction ..." and "restriction unchanged": the bare word may speak of what follows as well.
            if not before and _BARE.match(match[0]):
                found.append(Trigger(assertion, match.start(), match.end(), *ahead, qualified))
    return found


def _back_from(sentence: str, trigger: int, stops: list[tuple[int, int]]) -> int:
    begin = max((end for _, end in stops if end <= trigger), default=0)
    for cut in (", ", " and ", " with "):
        at = sentence.rfind(cut, begin, trigger)
        if at >= 0 and _OTHER_SUBJECT.search(sentence, at, trigger):
            begin = max(begin, at)
    return begin


def reaching(found: list[Trigger], at: int) -> Trigger | None:
    """The strongest trigger whose reach holds the place `at`, None if nothing speaks of it."""
    order = list(Assertion)
    over = [trigger for trigger in found if trigger.reach_start <= at < trigger.reach_end]
    return min(over, key=lambda trigger: (order.index(trigger.assertion), trigger.start), default=None)

"""What a text claims about the images, read by rules: `parse_report` for territory, signal, type and negation, and
patterns for what it does not look for.

What no rule reads is counted as unread and not judged; each count of errors is a lower bound for free text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.parsing.parsed import ParsedReport
from pirtad.inference.parsing.rules import parse_report
from pirtad.inference.parsing.sentences import Sentence, sentences
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, LESION_TERRITORIES
from pirtad.inference.report.wording import reading

# The product's wording and table 1's say the same, one to one.
_TEMPLATE_OF_READING = {reading(finding): sentence for sentence, finding in FINDING_OF_SENTENCE.items()}
_SIDE = re.compile(r"\b(?P<left>left|lt\.)|\b(?P<right>right|rt\.)|\b(?P<bilateral>bilateral|both sides)", re.I)
_SIDE_OF_BODY = re.compile(r"\s*-?(?:handed|hemipar\w+|hemipleg\w+|-?sided weakness|arm|leg|hand|face)\b", re.I)
_VOLUME = re.compile(r"(\d+(?:\.\d+)?)\s*(?:ml|cc|cm3)\b", re.I)
_LENGTH = re.compile(r"\d+(?:\.\d+)?\s*(?:mm|cm)\b(?!\d)", re.I)
_ADC = re.compile(r"\bADC\D{0,12}(\d\.\d+) x 10\^-3", re.I)
_FOCI = re.compile(r"\b(\d+) (?:foci|focus|lesions?)\b", re.I)
_SHARE = re.compile(rf"({'|'.join(one.phrase for one in LESION_TERRITORIES)}) \((\d+) %\)")
_ACUTE = re.compile(r"\bacute (?:\w+ )?(?:isch\w+ )?(?:infarct\w*|stroke)", re.I)
_NOT_CLAIMED = re.compile(r"\b(?:one cause|exclud\w+|no|not|without|negative|rule out|r/o)\b", re.I)
# Sentences that claim nothing about the images beyond the evidence.
_FRAME = re.compile(r"Supported by \d+ of \d+ similar cases|Does not exclude|may be subacute, T2 shine-through", re.I)
# What nothing in DWI and ADC, the retrieved cases or the measurement says (fact check, NOT_ASSESSED).
OUTSIDE = {
    "haemorrhage": re.compile(r"\bh[ae]{1,2}morrhag\w*|\bbleed\w*|\bh[ae]{1,2}matoma", re.I),
    "vessels": re.compile(r"\bocclu\w+|\bstenos\w+|\bthromb(?!oly)\w+|\baneurysm\w*|\bpatent\b", re.I),
    "other sequences": re.compile(r"\b(?:FLAIR|T2(?! shine)|T1|SWI|GRE|CT|[Pp]erfusion|[Cc]ontrast)\b"),
    "mass effect": re.compile(r"\bmass effect|\bmidline shift|\bo?edema|\bherniation|\bhydrocephalus", re.I),
    "advice": re.compile(r"\b(?:recommend|thrombolysis|tPA\b|thrombectomy|anticoag|antiplatelet|aspirin)", re.I),
    "earlier studies": re.compile(r"\bcompared (?:to|with)|\bprevious (?:study|exam\w*|MRI)|\bunchanged\b", re.I),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claims:
    """restriction: affirmed, denied, or None where the text does not tell; also_denied: both at once. territory: the
    one named first, NORMAL for a denial. territories: all that are said to be affected. sides: of "left", "right",
    "bilateral". volumes_ml, adcs_mm2_per_s, foci: the numbers given. lengths: sizes in mm or cm, of which there is
    no truth. acute: an acute infarct is at least held possible. outside: kinds of OUTSIDE. unread: sentences of
    findings and impression in which no rule read anything."""

    restriction: bool | None
    also_denied: bool
    territory: Territory | None
    territories: frozenset[Territory]
    signals: frozenset[SignalClass]
    types: frozenset[InfarctType]
    sides: frozenset[str]
    volumes_ml: tuple[float, ...]
    adcs_mm2_per_s: tuple[float, ...]
    foci: tuple[int, ...]
    lengths: int
    acute: bool
    outside: frozenset[str]
    unread: int


def claims_of(text: str) -> Claims:
    """What findings and impression of a report claim; a text without headings counts whole."""
    for ours, template in _TEMPLATE_OF_READING.items():
        text = text.replace(ours, template)
    parsed = parse_report(text)
    lesions = [one for one in parsed.candidates if one.territory is not Territory.NORMAL]
    found = sentences(text)
    spoken = [one.text for one in found]
    whole = "\n".join(spoken)
    named = {one.territory for one in lesions}
    named |= {one for phrase, share in _SHARE.findall(whole) if int(share) for one in Territory if one.phrase == phrase}
    dominant = parsed.dominant
    return Claims(
        restriction=None if dominant is None else bool(lesions),
        also_denied="restriction is also denied" in parsed.reasons,
        territory=None if dominant is None else dominant.territory,
        territories=frozenset(named),
        signals=frozenset(one.signal_class for one in lesions if one.signal_class is not None),
        types=frozenset(one.infarct_type for one in lesions if one.infarct_type is not None),
        sides=_sides(whole),
        volumes_ml=tuple(float(one) for one in _VOLUME.findall(whole)),
        adcs_mm2_per_s=tuple(float(one) * 1e-3 for one in _ADC.findall(whole)),
        foci=tuple(int(one) for one in _FOCI.findall(whole)),
        lengths=len(_LENGTH.findall(whole)),
        acute=any(_ACUTE.search(one) and not _NOT_CLAIMED.search(one) for one in spoken),
        outside=frozenset(kind for kind, pattern in OUTSIDE.items() if pattern.search(whole)),
        unread=sum(not _is_read(one, parsed) for one in found),
    )


def _sides(text: str) -> frozenset[str]:
    return frozenset(
        str(match.lastgroup) for match in _SIDE.finditer(text) if not _SIDE_OF_BODY.match(text, match.end())
    )


def _is_read(sentence: Sentence, parsed: ParsedReport) -> bool:
    text = sentence.text
    patterns = (_SIDE, _VOLUME, _LENGTH, _ADC, _FOCI, _SHARE, _ACUTE, _FRAME, *OUTSIDE.values())
    if not any(letter.isalpha() for letter in text) or any(one.search(text) for one in patterns):
        return True
    end = sentence.start + len(text)
    return any(one.start < end and sentence.start < one.end for one in parsed.evidence)

"""The words that say restricted diffusion or infarction, and what stands beside them: signal, type, age, mimics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pirtad.inference.findings import InfarctType, SignalClass


class Kind(StrEnum):
    """What a mention says. RESTRICTION settles it; SIGNAL is bright DWI, which T2 alone can make; INFARCT needs an
    age; OLD is a lesion that is old by its own name."""

    RESTRICTION = "restriction"
    SIGNAL = "signal"
    INFARCT = "infarct"
    OLD = "old"


@dataclass(frozen=True, slots=True)
class Mention:
    """Offsets in the sentence; anchor: where its noun begins, which a scope must reach."""

    kind: Kind
    start: int
    end: int
    anchor: int
    age: str | None = None  # "acute", "subacute", "old" as the words beside it say


_RESTRICTION = (
    r"restrict(?:ed|ing|s|ion of|ion in)? (?:the )?(?:water )?diffusi(?:on|vity)|diffusion[- ]restrict(?:ions?|ed|ing)|"
    r"diffusion is (?:\w+ )?restricted|(?:reduced|impaired|decreased) diffusion|diffusion[- ]positive|"
    r"\b(?:DWI|DW)[- ]positive|true restriction|\brestriction\b|\brestricting\b|"
    r"\brestricted (?:\w+ )?(?:focus|foci|lesions?|areas?)\b"
)
_BRIGHT = (
    r"hyper-?intens\w+|hyper-?signal|(?:high|higher|bright|increased|abnormal|elevated)[- ]+(?:DWI )?(?:signal|SI)"
    r"(?: intensity)?|signal (?:abnormalit|hyperintensit|change|alteration)\w*|\bbright\b"
)
_DWI = r"(?:DWI|diffusion(?:[- ]weighted)?(?: images?| imaging| sequences?| series)?|b ?= ?1000|trace)"
_SIGNAL = (
    rf"\b{_DWI} (?:{_BRIGHT}|lesions?|abnormalit\w+|spots?)|"
    rf"(?:{_BRIGHT})(?:(?! (?:FLAIR|T2|T1)\b)[^.;,]){{0,80}}? on (?:the )?(?:b ?1000|trace|DWI|diffusion)\b"
)
_INFARCT = r"\binfarct(?:s|ions?|ed)?\b|\bischa?emi(?:a|c)\b|\bstrokes?\b|\bCVA\b|\blacunes?\b"
_OLD = r"\bencephalomalaci[ac]\b|\bgliosis\b|\bgliotic\b|\bleukoaraiosis\b|\bmicroangiopath\w+"
_MENTION = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (Kind.RESTRICTION, _RESTRICTION),
        (Kind.SIGNAL, _SIGNAL),
        (Kind.INFARCT, _INFARCT),
        (Kind.OLD, _OLD),
    )
)
_ACUTE = r"hyper-?acute|acute|recent|new|fresh|evolving"
_AGE_WORD = re.compile(
    rf"\b(?:(?P<subacute>(?:late |early )?sub-?acute)|(?P<acute>{_ACUTE})|"
    r"(?P<old>old|chronic|remote|prior|previous|healed|established|long-?standing|ancient|mature))\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(r"(?:(?:[\w/'-]+)[ \n]+){0,9}$")
_AFTER = re.compile(
    rf"(?:,| is| are| appears?| in| of| at| likely| at the)*[ (,]+"
    rf"(?:{_ACUTE}|(?:late |early )?sub-?acute|chronic|old)\b"
    r"(?! (?:infarct|lacun|isch|stroke|h[ae]|on ))",
    re.IGNORECASE,
)
ADC_LOW = re.compile(
    r"(?:low|reduced|decreased|hypointens\w+|dark|drop\w*|reduction|loss)[^.;]{0,30}\bADC\b|"
    r"\bADC\b[^.;]{0,25}\b(?:low|reduc\w+|decreas\w+|hypointens\w+|dark|drop\w*|correlat\w+|loss|confirm\w+)",
    re.IGNORECASE,
)
NOT_RESTRICTED = re.compile(
    r"T2[ -]*shine[ -]*through|shine[- ]through|facilitated diffusion|"
    r"(?:elevated|increased|high|normal|intermediate|isointense|bright)(?:(?!low|reduc|decreas|dark|hypo)[^.;,]){0,20}"
    r"\bADC\b|"
    r"\bADC\b(?:(?!low|reduc|decreas|dark|hypo)[^.;,]){0,25}\b(?:elevated|increased|high|normal|bright|hyperintens\w+|isointens\w+|"
    r"not (?:reduced|decreased|low))|"
    r"(?:no|without|lacks?|absence of|absent)(?: \w+){0,4} ADC\b",
    re.IGNORECASE,
)
MIMIC = re.compile(
    r"\b(?:h[ae]{1,2}morrhag\w+|h[ae]{1,2}matoma\w*|abscess\w*|empyema|tumou?rs?|neoplas\w+|metasta\w+|glioma\w*|"
    r"glioblastoma\w*|lymphoma\w*|meningioma\w*|status epilepticus|(?:post-?)?ictal|seizure\w*|PRES\b|"
    r"posterior reversible|"
    r"hypoglyc\w+|creutzfeldt\w*|CJD\b|encephalitis|cerebritis|demyelinat\w+|multiple sclerosis|"
    r"(?:hypoxic|anoxic)[ -]*(?:ischa?emic|brain|encephalopath\w+)?|venous infarct\w*|(?:sinus|venous) thrombosis|"
    r"diffuse axonal|epidermoid\w*|toxic leuko\w+|CLOCC|cytotoxic lesion|osmotic|"
    r"extra-?axial|subdural|epidural|choroid plexus|contusions?|"
    r"(?<!no )(?:mass|space-occupying)(?: lesion)?s?\b(?! effect)|ring[- ]enhanc\w+)",
    re.IGNORECASE,
)
MICROBLEED = re.compile(
    r"\bmicro-?(?:h[ae]{1,2}morrhag\w+|bleeds?)|petechia\w*|transformation|conversion", re.IGNORECASE
)
ARTEFACT = re.compile(r"\bart[ei]fact\w*", re.IGNORECASE)

_STRONG = (
    r"strong(?:ly)?|marked(?:ly)?|intense(?:ly)?|avid(?:ly)?|profound(?:ly)?|vivid(?:ly)?|very|"
    r"pronounced|striking(?:ly)?"
)
_MILD = r"mild(?:ly)?|faint(?:ly)?|subtle|subtly|slight(?:ly)?|weak(?:ly)?|low-grade|minimal(?:ly)?|vague(?:ly)?"
# An intensity word speaks of the signal only if nothing but describing words lie between it and the signal's own noun.
_BETWEEN = (
    r"(?:[ -]+(?!(?:in|of|with|and|or|but|mass|effect|"
    r"o?edema|swelling|stenosis|infarct\w*|chronic|atrophy|from)\b)[\w-]+){0,4}?"
    r"(?:[ -]+(?:area|focus|foci|region|zone|patch|spot)s? of)?"
)
_SIGNAL_NOUN = (
    rf"(?:{_RESTRICTION}|(?:{_DWI}) (?:{_BRIGHT})|(?:{_BRIGHT})(?=[^.;]*\b(?:DWI|diffusion|trace|b ?1000))|"
    r"(?:low|reduced|decreased|dark) ADC)"
)
_AFTERWARDS = r"(?:diffusion restriction|restricted diffusion|restriction|DWI signal) (?:is|are|appears?) (?:only )?"


def _intensity(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b{_BETWEEN}[ -]+{_SIGNAL_NOUN}|{_AFTERWARDS}(?:{words})\b", re.IGNORECASE)


CLASSES = ((SignalClass.STRONG, _intensity(_STRONG)), (SignalClass.MILD, _intensity(_MILD)))


class Size(StrEnum):
    """What a word says of a lesion's extent where it names no type of table 1."""

    SMALL = "small"
    LARGE = "large"
    OVER_20_MM = "over 20 mm"


_LESION = r"(?! (?:vessel|amount|volume|artery|arteries|mass|right|left-sided shift))"
TYPES: tuple[tuple[InfarctType | Size, re.Pattern[str]], ...] = tuple(
    (named, re.compile(pattern, re.IGNORECASE))
    for named, pattern in (
        (InfarctType.SMALL_STRIATO_CAPSULAR, r"\bstriato-?capsular\b"),
        (InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL, r"\bwedge(?:[- ](?:shaped?|like))?\b"),
        (InfarctType.SMALL_LACUNE, r"\blacun(?:ar|es?)(?:[- ](?:type|sized))?\b"),
        (
            InfarctType.LARGE_VASCULAR_TERRITORIAL,
            r"(?<!wedge-shaped vascular )\bterritorial\b|\bmalignant\b|"
            r"\b(?:large|extensive|massive|entire|complete|whole|near-complete|holohemispheric)\b[^.;,]{0,60}?"
            r"\b(?:MCA|ACA|PCA|PICA|SCA|AICA|ICA|middle cerebral artery|anterior cerebral artery|"
            r"posterior cerebral artery|vascular) (?:artery )?(?:territor(?:y|ies)|infarct\w*|distribution)",
        ),
        (Size.LARGE, rf"\b(?:large|extensive|massive|sizeable|confluent)\b{_LESION}"),
        (
            Size.SMALL,
            rf"\b(?:small|tiny|punctate|pinpoint|dot-like|minute|sub-?centimet(?:er|re|ric)|millimet(?:er|re|ric)|"
            rf"pin-?head|punctiform|spotty)\b{_LESION}",
        ),
    )
)
_MEASURE = re.compile(
    r"(?<![\w.])(\d{1,3}(?:[.,]\d)?)(?:\s*(?:mm|cm))?(?:\s*[x×]\s*\d{1,3}(?:[.,]\d)?(?:\s*(?:mm|cm))?)*\s*-?(mm|cm)\b",
    re.I,
)
_NUMBER = re.compile(r"\d{1,3}(?:[.,]\d)?")
LACUNE_MM = 20.0
"""A recent small subcortical infarct measures up to about 20 mm in axial section (STRIVE, Wardlaw et al. 2013)."""


def mentions(sentence: str) -> list[Mention]:
    """What a sentence says of restricted diffusion and infarction, in its order, none overlapping."""
    found: list[Mention] = []
    for kind, pattern in _MENTION:
        for match in pattern.finditer(sentence):
            if any(match.start() < other.end and other.start < match.end() for other in found):
                continue
            mention = _aged(kind, sentence, match)
            if mention is not None:
                found.append(mention)
    return sorted(found, key=lambda mention: mention.start)


def _aged(kind: Kind, sentence: str, match: re.Match[str]) -> Mention | None:
    plain = Mention(kind, match.start(), match.end(), match.start())
    if kind is not Kind.INFARCT:
        return plain
    before = _BEFORE.search(sentence[: match.start()])
    near = before[0] if before is not None else ""
    # Of "old left and acute right infarct" the nearest word counts; "acute on chronic" is acute.
    near = re.sub(r"\bon (?:top of )?chronic\b", "", near)
    near = re.split(r"\b(?:with|but|infarct\w*|stroke|lacunes?|since|from|study|scan|MRI|to)\b", near)[-1]
    words = list(_AGE_WORD.finditer(near))
    age = None if not words else words[-1].lastgroup
    start = match.start() if not words else match.start() - len(near) + words[-1].start()
    start = start if sentence[start : match.start()].startswith(words[-1][0] if words else "") else match.start()
    end = match.end()
    if age is None and (after := _AFTER.match(sentence, match.end())) is not None:
        word = _AGE_WORD.search(after[0])
        age = None if word is None else word.lastgroup
        end = match.end() if word is None else after.end()
    noun = match[0].lower()
    if noun.startswith(("isch", "stroke", "cva")) and age is None:
        return None
    if noun.startswith("lacune") and age is None:
        return Mention(Kind.OLD, match.start(), match.end(), match.start(), "old")
    return Mention(kind, min(start, match.start()), end, match.start(), age)


def measured_mm(sentence: str) -> list[tuple[float, int, int]]:
    """Largest diameter in mm and place of each measurement in a sentence."""
    found = []
    for match in _MEASURE.finditer(sentence):
        numbers = [float(number.replace(",", ".")) for number in _NUMBER.findall(match[0])]
        found.append((max(numbers) * (10.0 if match[2].lower() == "cm" else 1.0), match.start(), match.end()))
    return found

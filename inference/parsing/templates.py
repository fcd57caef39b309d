"""Table 1's own sentences, which say class, type and territory in full."""

from __future__ import annotations

import re

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory

_EVERY = (
    Finding(Territory.NORMAL),
    *(
        Finding(territory, signal_class, infarct_type)
        for territory in Territory
        if territory is not Territory.NORMAL
        for signal_class in SignalClass
        for infarct_type in InfarctType
    ),
)


def _pattern(sentence: str) -> re.Pattern[str]:
    words = r"\s+".join(re.escape(word) for word in sentence.rstrip(".").split())
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


_BY_SENTENCE = tuple((_pattern(finding.sentence()), finding) for finding in _EVERY)


def template_sentences(text: str) -> list[tuple[Finding, int, int]]:
    """Each of table 1's sentences in a text, with its place, in the text's order."""
    return sorted(
        (
            (finding, match.start(), match.end())
            for pattern, finding in _BY_SENTENCE
            for match in pattern.finditer(text)
        ),
        key=lambda found: found[1],
    )

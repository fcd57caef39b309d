"""A report's sentences with their places in the text, from the sections that count.

Findings and impression count; history, indication, technique, comparison and recommendation do not. A report without
headings counts whole. Lines wrapped inside a sentence are joined by leaving the text as it is: offsets stay verbatim.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_IMPRESSION = r"impressions?|conclusions?|opinion|summary|diagnos[ie]s|interpretation|assessment"
_FINDINGS = r"findings?|report|results?|description|observations?|mri? findings|brain findings|addendum"
_OTHER = (
    r"(?:relevant |past |medical )*(?:clinical|medical|patient)?[ \t]?(?:history|indications?|information|details|"
    r"context|question|data|presentation)(?: and history)?|reason for (?:exam(?:ination)?|study|referral)|"
    r"techniques?|protocol|procedure|sequences|comparisons?|priors?|exam(?:ination)?(?: type)?|study|contrast|"
    r"recommendations?|electronically signed(?: by)?|signed(?: by)?|dictated(?: by)?|symptoms|complaints?"
)
_HEADING = re.compile(
    rf"(?:^|(?<=[.;]))[ \t*#]*(?:(?P<impression>{_IMPRESSION})|(?P<findings>{_FINDINGS})|(?P<other>{_OTHER}))"
    r"[ \t*]*(?::|[ \t]-[ \t]|$)",
    re.IGNORECASE | re.MULTILINE,
)
# Without a full stop before it: capitals and a colon make a heading within a line too.
_SHOUTED = re.compile(
    r"(?<=[\w)] )(?:(?P<impression>IMPRESSION|CONCLUSION|OPINION)|(?P<findings>FINDINGS)|"
    r"(?P<other>HISTORY|INDICATION|TECHNIQUE|COMPARISON)):"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:dr|mr|mrs|ms|prof|vs|approx|lt|rt|fig|st|ca|cf|resp|e\.g|i\.e|max|min|incl|bilat|lat|sup|inf|ant|post)"
    r"|(?:^|[\s(])[a-z]|\b\d{1,2})\.$",
    re.IGNORECASE,
)
_STOP = re.compile(r"[.!?]{1,3}[)\"']{0,2}(?=\s{1,20}[^a-z\s]|\s{0,20}$)|\n[ \t]*\n|\n")
_BULLET = re.compile(r"\s*(?:[-*•·–>→]|\(?\d{1,2}[.)]\s)")
_NUMBERING = re.compile(r"(?:^|[\n.!?]\s*)\(?\d{1,2}[.)]$")
_RUNS_ON = re.compile(
    r"(?:,|-|/|\b(?:of|the|in|and|or|nor|left|right|no|not|with|without|for|to|an?|acute|chronic|old|evidence|"
    r"restricted|diffusion|small|large|superior|inferior|is|are|involving|on|by|bilateral|as|from|at|lt\.|rt\.))\s*$",
    re.IGNORECASE,
)


_NEAR_CHARS = 80
"""What tells the end of a sentence stands this near to it; more only costs time."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """text == report[start:start + len(text)]. bullet: it is an item of a list."""

    text: str = field(repr=False)
    start: int
    in_impression: bool
    bullet: bool
    addendum: bool = False


def sentences(report: str) -> list[Sentence]:
    """The sentences of findings and impression, in the report's order."""
    return [
        found
        for start, end, kind, addendum in _sections(report)
        if kind != "other"
        for found in _split(report, start, end, kind == "impression", addendum)
    ]


def _sections(report: str) -> list[tuple[int, int, str, bool]]:
    heads = sorted([*_HEADING.finditer(report), *_SHOUTED.finditer(report)], key=lambda match: match.start())
    heads = [head for n, head in enumerate(heads) if n == 0 or head.start() >= heads[n - 1].end()]
    kinds = [str(head.lastgroup) for head in heads]
    ends = [*(head.start() for head in heads[1:]), len(report)][: len(heads)]
    sections = [
        (head.end(), end, kind, "addendum" in head[0].lower())
        for head, end, kind in zip(heads, ends, kinds, strict=True)
    ]
    before = heads[0].start() if heads else len(report)
    if "findings" in kinds:
        return sections  # what stands before the first heading is a title or the question
    return sorted([(0, before, "findings", False), *sections, *_after_blank_line(report, sections)])


def _after_blank_line(report: str, sections: list[tuple[int, int, str, bool]]) -> list[tuple[int, int, str, bool]]:
    """No heading for the findings: they are what follows a blank line after the last heading that does not count."""
    others = [section for section in sections if section[2] == "other"]
    if not others:
        return []
    start, end, _, _ = others[-1]
    gap = re.compile(r"\n[ \t]*\n").search(report, start + 1, end)
    return [] if gap is None else [(gap.end(), end, "findings", False)]


def _split(report: str, start: int, end: int, in_impression: bool, addendum: bool) -> list[Sentence]:
    found: list[Sentence] = []
    begin = start

    def close(stop: int) -> None:
        raw = report[begin:stop]
        text = raw.strip()
        if re.search(r"\w", text):
            at = begin + len(raw) - len(raw.lstrip())
            found.append(Sentence(text, at, in_impression, _BULLET.match(text) is not None, addendum))

    for stop in _STOP.finditer(report, start, end):
        if stop.end() < end and not _ends(report, begin, stop):
            continue
        close(stop.end())
        begin = stop.end()
    close(end)
    return found


def _ends(report: str, begin: int, stop: re.Match[str]) -> bool:
    before = report[max(begin, stop.end() - _NEAR_CHARS) : stop.end()].rstrip()
    if not stop[0].startswith("\n"):
        return not (_ABBREVIATION.search(before) or _NUMBERING.search(before))
    after = report[stop.end() : stop.end() + _NEAR_CHARS]
    if stop[0].count("\n") > 1 or _BULLET.match(after) or before.endswith((".", ":", ";", "!", "?")):
        return not re.search(r"\b(?:lt|rt|dr|approx)\.$", before, re.IGNORECASE)
    return not (after.lstrip()[:1].islower() or _RUNS_ON.search(before))

"""What a system wrote about a query, in the form that all of them are judged in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pirtad.inference.report.report import Report


class System(StrEnum):
    """Who writes."""

    OURS = "pirtad"
    NEAREST = "nearest report copied"
    VOTE = "template vote"
    ALONE = "language model without retrieval"
    VISION = "2D vision-language model"


@dataclass(frozen=True, slots=True)
class Written:
    """text: the whole report, with headings. compared: findings and impression alone, for the measures of wording; of
    ours without the measured sentences, which no reference has. None in place of it: the system states nothing."""

    text: str
    compared: str


def sections(presentation: str, nihss: str, history: str, findings: str, impression: str) -> str:
    """The layout of table 3."""
    return (
        f"Clinical Presentation: {presentation} NIHSS: {nihss}\nPast Medical History: {history}\n"
        f"Findings: {findings}\nImpression: {impression}\n"
    )


def written_by_us(report: Report) -> Written | None:
    """Of a draft; None of an abstention. Similar cases and the fixed blocks are evidence and no statement."""
    if not report.is_draft:
        return None
    findings = " ".join((report.findings, *report.measured))
    text = sections(
        report.clinical_presentation, report.nihss, report.past_medical_history, findings, report.impression
    )
    return Written(text, f"{report.findings} {report.impression}")

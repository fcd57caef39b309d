"""Reports sorted: those that the rules are certain of, those that a person decided, those that wait."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.findings import Finding
from pirtad.inference.parsing.model import parse_with_model
from pirtad.inference.parsing.parsed import Confidence, ParsedReport
from pirtad.inference.parsing.review import Decision, ReviewError, ReviewRow, proposal, read_review, write_review
from pirtad.inference.parsing.rules import parse_report
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.schema import INVALID_ANSWER


@dataclass(frozen=True, slots=True)
class Triage:
    """findings: of the cases to take, by name as given. by_rules: how many of them no person looked at. waiting,
    left_out: names of the cases not taken, undecided and refused by a person."""

    findings: dict[str, Finding] = field(repr=False)
    by_rules: int
    waiting: tuple[str, ...] = field(repr=False)
    left_out: tuple[str, ...] = field(repr=False)


def triage(reports: Iterable[tuple[str, str]], review: Path, model: LanguageModel | None = None) -> Triage:
    """Sorts (case, report) pairs; what waits for a person is added to the file `review`, and no row there is changed.

    A person's row goes before the rules. Raises ReviewError for a review file that can't be used, or a report that is
    another than the one its row was decided on; LanguageModelUnavailable if `model` does not answer at all.
    """
    decided = read_review(review) if review.exists() else []
    by_case = {row.case.casefold(): row for row in decided}
    findings: dict[str, Finding] = {}
    asked: list[ReviewRow] = []
    waiting: list[str] = []
    left_out: list[str] = []
    changed: list[str] = []
    by_rules = 0
    for case, report in reports:
        row = by_case.get(case.casefold())
        if row is None:
            parsed = _parsed(report, model)
            if parsed.confidence is Confidence.CERTAIN and parsed.finding is not None:
                findings[case] = parsed.finding
                by_rules += 1
                continue
            asked.append(row := proposal(case, report, parsed))
        elif row.report.split() != report.split():
            changed.append(case)
            continue
        if (finding := row.finding) is not None:
            findings[case] = finding
        else:
            (left_out if row.decision is Decision.LEFT_OUT else waiting).append(case)
    if changed:
        raise ReviewError(f"{review.name}: the table has another report than the one reviewed: {', '.join(changed)}")
    if asked:
        write_review(review, [*decided, *asked])
    return Triage(findings, by_rules, tuple(waiting), tuple(left_out))


def _parsed(report: str, model: LanguageModel | None) -> ParsedReport:
    parsed = parse_report(report)
    # A mimic is an answer: the report can't be classified, whoever reads it.
    told = parsed.candidates or any(one.rule == "mimic" for one in parsed.evidence)
    if model is None or told:
        return parsed
    try:
        return parse_with_model(report, model)
    except LanguageModelUnavailable as error:
        if error.code != INVALID_ANSWER:
            raise
        return ParsedReport((), Confidence.REVIEW, (*parsed.reasons, error.reason), parsed.evidence, parsed.english)

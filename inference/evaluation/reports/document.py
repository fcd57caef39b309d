"""The figures as JSON and as a table, and single reports with their evidence as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pirtad.inference.evaluation.document import plain
from pirtad.inference.evaluation.reports.experiment import Judged, Outcome, ReportsExperiment
from pirtad.inference.evaluation.reports.faithfulness import omitted, unsupported
from pirtad.inference.evaluation.reports.registry_facts import invented_facts
from pirtad.inference.evaluation.retrieval_scores import Figures
from pirtad.inference.report.registry_text import registry_line
from pirtad.inference.report.report import Basis

# Label, key, in percent. Rows of the table; the columns are the systems.
_ROWS = (
    ("territory Acc@1, all", "territory_acc_at_1", True),
    ("reports / queries", "coverage", True),
    ("Acc@1 of reports", "territory_acc_at_1_of_reports", True),
    ("Acc@1 where ours drafts", "territory_acc_at_1_where_ours_drafts", True),
    ("names a territory", "names_a_territory", True),
    ("per 100 reports:", "", False),
    (" against truth", "unsupported_by_truth_per_100", False),
    (" omitted of truth", "omitted_of_truth_per_100", False),
    (" against evidence", "unsupported_by_evidence_per_100", False),
    (" omitted of evidence", "omitted_of_evidence_per_100", False),
    (" wrong side", "laterality_errors_per_100", False),
    (" wrong negation", "negation_errors_per_100", False),
    (" invented registry", "invented_registry_facts_per_100", False),
    (" unread sentences", "unread_sentences_per_100", False),
    ("wording, percent:", "", False),
    (" BLEU-1", "bleu_1", True),
    (" BLEU-2", "bleu_2", True),
    (" BLEU-3", "bleu_3", True),
    (" BLEU-4", "bleu_4", True),
    (" ROUGE-1", "rouge_1", True),
    (" ROUGE-2", "rouge_2", True),
    (" ROUGE-L", "rouge_l", True),
    (" METEOR, no synonyms", "meteor_without_synonyms", True),
)
_SYSTEM_NAMES = {
    "pirtad": "pirtad",
    "nearest report copied": "nearest",
    "template vote": "vote",
    "language model without retrieval": "LLM alone",
    "2D vision-language model": "2D VLM",
}
_NOTES = (
    "95 % bootstrap intervals. Simulated studies; registries are drawn.",
    "Where n reports count 0 they end at 0; the upper end is then about 300 / n per 100 (rule of three).",
    "Lesions are measured on the network's 2 x 2 x 4 mm grid, not on the scanner's images.",
    "Free text is read by rules: its error counts are lower bounds.",
    "METEOR without WordNet's synonyms: exact words and stems.",
)
_RULE = "-" * 72


def document(figures: Figures, experiment: ReportsExperiment) -> Figures:
    """For JSON: intervals as {"value", "low", "high"}, shares in [0, 1], and under "of" what the figures are of."""
    return {**{name: _plain(figure) for name, figure in figures.items()}, "of": experiment.describe()}


def table(found: dict[str, Any]) -> str:
    """`document`'s result as plain text; a row for each figure, a column for each system."""
    systems = found["systems"]
    lines = [_line("", [_SYSTEM_NAMES[name] for name in systems])]
    for label, key, percent in _ROWS:
        cells = [_cell(figures[key], 100 if percent else 1) for figures in systems.values()] if key else []
        lines.append(_line(label, cells))
    retrieval = found["retrieval"]
    lines += ["", f"{found['n']} queries, {found['of']['split']} scanners"]
    for label, key in (
        ("nearest case", "acc_at_1"),
        ("vote", "vote_accuracy"),
        ("vote where ours drafts", "vote_accuracy_where_ours_drafts"),
    ):
        lines.append(_line(f"retrieval, {label}", [_cell(retrieval[key], 100)]))
    lines += ["", "How our reports came about"]
    lines += [f"{_cell(found['basis'][one.name.lower()], 100):>20}  {one}" for one in Basis]
    lines += [f"{count:>20}  because: {reason}" for reason, count in found["abstained_because"].items()]
    if found["abstention_curve"] is not None:
        lines += ["", f"{'coverage':>8} {'probability from':>17} {'accuracy of the vote':>22}"]
        lines += [
            f"{row['coverage']:8.0%} {row['least_probability']:17.3f} {_cell(row['accuracy'], 100):>22}"
            for row in found["abstention_curve"]
        ]
    return "\n".join([*lines, "", *_NOTES]) + "\n"


def page(outcome: Outcome) -> str:
    """One query: truth, evidence, our report and the others', each with what was found wrong with it."""
    probability = "none" if outcome.probability is None else f"{outcome.probability:.3f}"
    parts = [
        f"Query {outcome.name}\nTruth: {outcome.references[1]}\nSide: {_joined(outcome.truth.sides)}, "
        f"volume {outcome.truth.volume_ml:.1f} ml, territories {_joined(outcome.truth.territories)}",
        f"Registry (drawn): {registry_line(outcome.registry)}",
        f"Probability that the vote is right: {probability}",
        f"{_RULE}\npirtad, {outcome.report.basis}\n\n{outcome.report.text()}",
    ]
    for system, said in outcome.reports.items():
        body = "states nothing" if said is None else f"{said.written.text}\n{_judgement(outcome, said)}"
        parts.append(f"{_RULE}\n{system}\n\n{body}")
    return "\n".join(parts) + "\n"


def write_pages(outcomes: list[Outcome], count: int, folder: Path) -> list[Path]:
    """`count` queries, evenly spaced, a text file each."""
    folder.mkdir(parents=True, exist_ok=True)
    count = min(count, len(outcomes))
    paths = []
    for number in range(count):
        outcome = outcomes[(2 * number + 1) * len(outcomes) // (2 * count)]
        path = folder / f"report-{number + 1:03d}.txt"
        path.write_text(page(outcome), encoding="utf-8")
        paths.append(path)
    return paths


def _judgement(outcome: Outcome, said: Judged) -> str:
    return "\n".join(
        [
            f"against the truth: {_joined(unsupported(said.claims, outcome.truth))}; "
            f"omitted: {_joined(omitted(said.claims, outcome.truth))}",
            f"against the evidence: {_joined(unsupported(said.claims, outcome.evidence))}; "
            f"omitted: {_joined(omitted(said.claims, outcome.evidence))}",
            f"invented about the patient: {_joined(invented_facts(said.written.text, outcome.registry))}",
        ]
    )


def _joined(words: frozenset[Any] | tuple[str, ...]) -> str:
    return ", ".join(sorted(str(one) for one in words)) or "none"


def _plain(figure: object) -> object:
    return [plain(one) for one in figure] if isinstance(figure, list) else plain(figure)


def _line(label: str, cells: list[str]) -> str:
    return (f"{label:<36}" + "".join(f"{cell:>21}" for cell in cells)).rstrip()


def _cell(figure: dict[str, float] | None, scale: int) -> str:
    if figure is None:
        return "-"
    value, low, high = (scale * figure[name] for name in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f}-{high:.1f})"

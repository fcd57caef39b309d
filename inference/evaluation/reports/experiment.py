"""The queries' reports by every system, with what they rest on and what is true."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pirtad.inference.engine import Engine
from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.evaluation.experiment import EvaluationConfig, Experiment, run_experiment
from pirtad.inference.evaluation.reports.baselines import model_alone, nearest_copied, template_vote
from pirtad.inference.evaluation.reports.claims import Claims, claims_of
from pirtad.inference.evaluation.reports.faithfulness import Support, evidence_of, truth_of
from pirtad.inference.evaluation.reports.query import Query, prepared, query_of, references
from pirtad.inference.evaluation.reports.vision_baseline import Slice, VisionModel, direct_report
from pirtad.inference.evaluation.reports.written import System, Written, written_by_us
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.ood.calibration import Calibration
from pirtad.inference.prepared import Prepared
from pirtad.inference.report.abstention import DraftRules
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.report import Registry, Report
from pirtad.inference.training.cases import case_path, load_case

_ATTEMPTS = 3
_log = logging.getLogger(__name__)

Tell = Callable[[int, int], None]
"""(queries done, queries in all)."""


@dataclass(frozen=True, slots=True)
class Writers:
    """Who writes. language_model: the product's. rules: when it gives a draft; None: the strictest. alone: ask the
    same model without retrieved cases as well. vision: None where there is no endpoint."""

    language_model: LanguageModel = field(repr=False)
    rules: DraftRules | None = None
    k: int = 5
    timeout_s: float = 120.0
    alone: bool = True
    vision: VisionModel | None = field(default=None, repr=False)
    vision_slice: Slice = Slice.MIDDLE


@dataclass(frozen=True, slots=True)
class Judged:
    """A report and what it was read as."""

    written: Written
    claims: Claims


@dataclass(frozen=True, slots=True)
class Outcome:
    """One query. reports: of each system that was asked, None where it states nothing (ours abstains, a model gives no
    usable answer). probability: calibrated, that the voted territory is right; None without a calibration."""

    name: str
    finding: Finding
    registry: Registry
    references: tuple[str, ...]
    truth: Support
    evidence: Support
    report: Report
    nearest: Territory
    probability: float | None
    reports: dict[System, Judged | None]

    @property
    def territory(self) -> Territory:
        """The query's class."""
        return self.finding.territory


@dataclass(frozen=True, slots=True)
class ReportsExperiment:
    """experiment: the queries and what they were asked of; outcomes: in the order of its answers."""

    experiment: Experiment = field(repr=False)
    writers: Writers
    outcomes: list[Outcome] = field(repr=False)

    def describe(self) -> dict[str, object]:
        """What the figures are of."""
        model, vision = self.writers.language_model, self.writers.vision
        described = self.experiment.describe()
        described["language_model"] = {"name": model.name, "digest": model.digest}
        described["vision_model"] = (
            None if vision is None else {"name": vision.name, "slice": str(self.writers.vision_slice)}
        )
        described["registries"] = "drawn"
        described["measured_on"] = "the network's grid"
        return described


def run_reports(config: EvaluationConfig, writers: Writers, tell: Tell) -> ReportsExperiment:
    """Make the queries (progress goes to stdout), then every report, one query after the other.

    Raises as `run_experiment` does, and LanguageModelUnavailable when a model can not be asked.
    """
    experiment = run_experiment(config)
    engine = Engine(
        experiment.encoder,
        experiment.case_base,
        writers.language_model,
        k=writers.k,
        timeout_s=writers.timeout_s,
        calibration=Calibration.load(config.case_base),
        rules=writers.rules,
    )
    stored = {case.case_id: case.report for case in experiment.case_base.cases}
    outcomes = []
    for done, answer in enumerate(experiment.answers, start=1):
        query = query_of(load_case(case_path(experiment.cache, answer.recipe)))
        report, analysis = _drafted(engine, prepared(query))
        reports = {System.OURS: written_by_us(report), **_baselines(query, analysis, stored, writers)}
        outcomes.append(_outcome(query, report, analysis, reports))
        tell(done, len(experiment.answers))
    return ReportsExperiment(experiment, writers, outcomes)


def _drafted(engine: Engine, study: Prepared) -> tuple[Report, Analysis]:
    """As the queue would have it: a model that can not be asked once is asked again."""
    for _ in range(_ATTEMPTS - 1):
        try:
            return engine.draft(study)
        except LanguageModelUnavailable as error:
            _log.warning("%s; asking again", error.code)
    return engine.draft(study)


def _baselines(
    query: Query, analysis: Analysis, stored: dict[str, str], writers: Writers
) -> dict[System, Written | None]:
    found: dict[System, Written | None] = {
        System.NEAREST: nearest_copied(stored[analysis.similar[0].case_id]),
        System.VOTE: template_vote(query.registry, analysis.similar),
    }
    if writers.alone:
        found[System.ALONE] = model_alone(writers.language_model, query.registry, writers.timeout_s)
    if writers.vision is not None:
        found[System.VISION] = direct_report(writers.vision, query.case, query.registry, writers.vision_slice)
    return found


def _outcome(query: Query, report: Report, analysis: Analysis, reports: dict[System, Written | None]) -> Outcome:
    familiar = analysis.out_of_distribution
    return Outcome(
        name=query.case.recipe.name,
        finding=query.case.finding,
        registry=query.registry,
        references=references(query),
        truth=truth_of(query.case),
        evidence=evidence_of(analysis.similar, analysis.lesion),
        report=report,
        nearest=analysis.similar[0].territory,
        probability=None if familiar is None else familiar.territory_probability,
        reports={system: None if one is None else Judged(one, claims_of(one.text)) for system, one in reports.items()},
    )

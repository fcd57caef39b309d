"""Figures over outcomes whose counts are known by hand, their JSON and table, and the measures of wording."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from pirtad.inference.evaluation.intervals import Bootstrap
from pirtad.inference.evaluation.reports.claims import claims_of
from pirtad.inference.evaluation.reports.document import document, page, table, write_pages
from pirtad.inference.evaluation.reports.experiment import Judged, Outcome
from pirtad.inference.evaluation.reports.faithfulness import Support, evidence_of
from pirtad.inference.evaluation.reports.scores import score_reports
from pirtad.inference.evaluation.reports.text_metrics import METRICS, likeness
from pirtad.inference.evaluation.reports.written import System, Written, written_by_us
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.report.report import Basis, Provenance, Registry, Report, SimilarCase
from pirtad.inference.report.wording import NO_RELIABLE_DRAFT, impressions, reading

pytestmark = pytest.mark.skipif(
    find_spec("nltk") is None or find_spec("rouge_score") is None, reason="the optional extra evaluate"
)
POSTERIOR = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
ANTERIOR = Finding(Territory.ANTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
REGISTRY = Registry(75, "Female", None, 4.0, "HTN")
NEIGHBOURS = tuple(SimilarCase(f"sim-{n}", 0.9, Territory.POSTERIOR, POSTERIOR.sentence()) for n in range(5))


def outcome(number: int, truth: Finding, basis: Basis, probability: float | None, vision: str | None) -> Outcome:
    """Five posterior neighbours; our report says so or abstains; the nearest case's report names a side."""
    drafted = basis is not Basis.ABSTENTION
    report = Report(
        territory=Territory.POSTERIOR,
        clinical_presentation="A 75-year-old Female patient; presentation not provided.",
        nihss="4.0",
        past_medical_history="HTN",
        findings=reading(POSTERIOR) if drafted else NO_RELIABLE_DRAFT,
        impression=impressions(Territory.POSTERIOR, acute=False)[0] if drafted else NO_RELIABLE_DRAFT,
        similar=NEIGHBOURS,
        provenance=Provenance("e", "0", "1", "0", "m", "0", "0", "0"),
        basis=basis,
        abstained_because=()
        if drafted
        else ("No case is similar enough: the best similarity is 0.20, the least for a draft 0.50.",),
    )
    copied = f"Findings: {POSTERIOR.sentence()} It is on the right.\nImpression: Acute infarction."
    support = Support(
        restriction=True,
        territories=frozenset({truth.territory}),
        signals=frozenset({SignalClass.STRONG}),
        types=frozenset({InfarctType.SMALL_LACUNE}),
        sides=frozenset({"left"}),
        acute=True,
        volume_ml=2.0,
        adc_mm2_per_s=0.5e-3,
        foci=None,
        exact=False,
    )
    texts = {
        System.OURS: written_by_us(report),
        System.NEAREST: Written(copied, copied),
        System.VISION: None if vision is None else Written(vision, vision),
    }
    return Outcome(
        name=f"query-{number}",
        finding=truth,
        registry=REGISTRY,
        references=(reading(truth), f"{truth.sentence()} Acute infarction."),
        truth=support,
        evidence=evidence_of(NEIGHBOURS, None),
        report=report,
        nearest=Territory.POSTERIOR,
        probability=probability,
        reports={name: None if one is None else Judged(one, claims_of(one.text)) for name, one in texts.items()},
    )


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Three drafts, of which one is of an anterior infarct, and an abstention on an anterior one."""
    denial = "No diffusion restriction detected within the coverage."
    return [
        outcome(1, POSTERIOR, Basis.ANSWER, 0.9, denial),
        outcome(2, POSTERIOR, Basis.SECOND_ANSWER, 0.8, "A 12-year-old boy plays. It is sunny."),
        outcome(3, ANTERIOR, Basis.TEMPLATE, 0.4, None),
        outcome(4, ANTERIOR, Basis.ABSTENTION, 0.2, "There is a diffusion restriction in the anterior circulation."),
    ]


def test_the_figures_are_those_counted_by_hand(outcomes: list[Outcome]) -> None:
    found = score_reports(outcomes, Bootstrap(range(4), seed=0, resamples=50))
    ours, nearest, vision = (found["systems"][str(one)] for one in (System.OURS, System.NEAREST, System.VISION))
    # Given two posterior truths of four, and an abstention on a wrong vote
    assert found["retrieval"]["acc_at_1"].value == 0.5
    assert ours["territory_acc_at_1"].value == 0.5  # what is not stated is not right
    assert ours["coverage"].value == 0.75
    assert ours["territory_acc_at_1_of_reports"].value == pytest.approx(2 / 3)
    assert nearest["territory_acc_at_1_where_ours_drafts"].value == pytest.approx(2 / 3)
    # Then one of our three drafts has the wrong territory, and none of them names a side
    assert ours["unsupported_by_truth_per_100"].value == pytest.approx(100 / 3)
    assert ours["unsupported_by_evidence_per_100"].value == 0
    assert ours["omitted_of_evidence_per_100"].value == 0
    assert ours["omitted_of_truth_per_100"].value == pytest.approx(100 * 4 / 3)  # three sides, one territory
    assert ours["laterality_errors_per_100"].value == 0
    assert nearest["laterality_errors_per_100"].value == 100
    assert nearest["unsupported_by_evidence_kinds"] == {"acute": 4, "side": 4}
    assert nearest["unsupported_by_truth_kinds"] == {"side": 4, "territory": 2}
    # And of the three texts of the vision model one denies, one says nothing about it, one is right
    assert vision["negation_errors_per_100"].value == pytest.approx(100 / 3)
    assert vision["names_a_territory"].value == pytest.approx(2 / 3)
    assert vision["territory_acc_at_1"].value == 0.25
    assert vision["invented_registry_facts_per_100"].value == pytest.approx(100 / 3)  # an age
    assert vision["unread_sentences_per_100"].value > 0
    assert {name: share.value for name, share in found["basis"].items()} == {
        "answer": 0.25,
        "second_answer": 0.25,
        "template": 0.25,
        "abstention": 0.25,
    }
    assert found["abstained_because"] == {"No case is similar enough": 1}


def test_the_abstention_curve_falls_from_the_surest_queries_to_all(outcomes: list[Outcome]) -> None:
    bootstrap = Bootstrap(range(4), seed=0, resamples=50)
    curve = score_reports(outcomes, bootstrap)["abstention_curve"]
    assert [row["coverage"] for row in curve] == [0.25, 0.5, 0.75, 1.0]
    assert [row["least_probability"] for row in curve] == [0.9, 0.8, 0.4, 0.2]
    assert [row["accuracy"].value for row in curve] == pytest.approx([1, 1, 2 / 3, 0.5])
    without = [replace(one, probability=None) for one in outcomes]
    assert score_reports(without, bootstrap)["abstention_curve"] is None


def test_json_table_and_pages_tell_the_same_and_name_what_is_wrong(outcomes: list[Outcome], tmp_path) -> None:
    figures = score_reports(outcomes, Bootstrap(range(4), seed=0, resamples=50))
    experiment = SimpleNamespace(describe=lambda: {"split": "internal"})
    found = json.loads(json.dumps(document(figures, experiment)))
    assert found["systems"]["pirtad"]["coverage"]["value"] == 0.75
    assert found["abstention_curve"][0]["accuracy"]["value"] == 1.0
    text = table(found)
    row = next(line for line in text.splitlines() if line.startswith("Acc@1 of reports"))
    assert row.split()[3] == "66.7"
    assert "METEOR without WordNet" in text
    assert "because: No case is similar enough" in text
    paths = write_pages(outcomes, 2, tmp_path / "pages")
    assert [path.name for path in paths] == ["report-001.txt", "report-002.txt"]
    assert "query-2" in paths[0].read_text()
    shown = page(outcomes[3])
    assert "No draft because:" in shown
    assert "sim-0" in shown
    assert "against the evidence: acute, side" in shown
    assert len(write_pages(outcomes, 99, tmp_path / "all")) == len(outcomes)


def test_likeness_is_one_for_the_same_words_and_falls_with_the_order() -> None:
    said = "There is strong small lacune diffusion restriction in the posterior circulation territory."
    same = likeness(said, ["something else", said])
    assert set(same) == set(METRICS)
    assert all(value > 0.99 for value in same.values())
    turned = likeness(" ".join(reversed(said.split())), [said])
    assert turned["bleu_1"] > 0.9 > turned["bleu_2"] > turned["bleu_4"]
    assert turned["rouge_1"] == 1.0 > turned["rouge_l"] > turned["rouge_2"]
    assert likeness("zzz", [said]) == dict.fromkeys(METRICS, 0.0)
    assert likeness("", [said]) == dict.fromkeys(METRICS, 0.0)
    # A stem counts, a synonym does not: WordNet is not there.
    assert likeness("restrictions", ["restriction"])["meteor_without_synonyms"] > 0
    assert likeness("car", ["automobile"])["meteor_without_synonyms"] == 0
    with pytest.raises(ValueError, match="no reference"):
        likeness(said, [])

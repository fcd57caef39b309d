"""Encoder, case base and language model together: what one study's analysis is made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.untrained import write_untrained

from pirtad.inference.engine import Engine
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.report import Registry
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.retrieval.patients import Pseudonyms

SHAPE_OF_NETWORK = ViTConfig(width=48, depth=1, heads=3, mlp_width=48, pooling_heads=4, cell_width=8, map_width=8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    directory = tmp_path_factory.mktemp("encoder")
    write_untrained(directory, SHAPE_OF_NETWORK)
    return Encoder.load(directory)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    array = np.zeros((2, *SHAPE), dtype=np.float32)
    array[:, 30:60, 30:70, 10:30] = 1 + 0.1 * np.random.default_rng(0).standard_normal((2, 30, 40, 20))
    mask = (array != 0).any(axis=0)
    return Prepared(NetworkInput(array, mask, np.eye(4)), Registry(60), 1000.0, patient_id=" 0042 ")


def engine_of(encoder: Encoder, prepared: Prepared, pseudonyms: Pseudonyms) -> Engine:
    """With a case base of seven cases, of which the nearest three are the patient's own."""
    own = encoder.encode(prepared.network_input.array)
    rng = np.random.default_rng(1)
    vectors = np.stack([own + 0.02 * n * rng.standard_normal(own.shape).astype(np.float32) for n in range(7)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    patient = pseudonyms.of("0042")
    cases = [
        Case(f"case-{n}", Finding(Territory.NORMAL), "A report.", "test", patient if n < 3 else f"p-{n:016x}")
        for n in range(7)
    ]
    base = CaseBase.build(cases, vectors, encoder.manifest, pseudonyms=pseudonyms)
    return Engine(encoder, base, FakeLanguageModel(), k=3, timeout_s=1)


def test_a_patients_own_cases_are_no_evidence(encoder: Encoder, prepared: Prepared) -> None:
    engine = engine_of(encoder, prepared, Pseudonyms("0" * 32))
    found = {case.case_id for case in engine.analyse(prepared).similar}
    assert found.isdisjoint({"case-0", "case-1", "case-2"})
    # Where no header names the patient, nobody can tell
    unnamed = engine.analyse(replace(prepared, patient_id=None))
    assert unnamed.similar[0].case_id == "case-0"


def test_one_pass_of_the_network_gives_what_single_calls_give(encoder: Encoder, prepared: Prepared) -> None:
    x = prepared.network_input.array
    seen = encoder.see(x)
    vector, odds = encoder.encode_and_classify(x)
    np.testing.assert_array_equal(seen.vector, vector)
    np.testing.assert_array_equal(seen.odds, odds)
    assert seen.lesion_probability is not None
    np.testing.assert_array_equal(seen.lesion_probability, encoder.lesion_probability(x))


def test_without_volumes_no_lesion_is_measured(encoder: Encoder, prepared: Prepared, tmp_path: Path) -> None:
    report, analysis = engine_of(encoder, prepared, Pseudonyms("0" * 32)).draft(prepared)
    assert analysis.lesion is None
    assert report.lesion is None
    assert report.measured == ()

"""The case base: exact cosine search, and refusal of what does not belong together."""

from __future__ import annotations

import dataclasses
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.retrieval.files import CASES_FILE, INDEX_FILE, MANIFEST_FILE
from pirtad.inference.training import seeds

ENCODER = EncoderManifest("test", "a" * 64, "1", ViTConfig(), "none", "2026-01-01")
LACUNE = Finding(Territory.DEEP_GRAY_MATTER, SignalClass.MILD, InfarctType.SMALL_LACUNE)
SHIPPED = Path(str(files("pirtad.inference"))) / "weights" / "small"


def units(count: int, dimension: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def case(number: int, finding: Finding = LACUNE) -> Case:
    return Case(f"sim-{number:06d}", finding, finding.sentence(), f"simulated, seed {number}")


def case_base(count: int = 30) -> CaseBase:
    return CaseBase.build([case(number) for number in range(count)], units(count), ENCODER)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(1, 40))
def test_search_agrees_with_plain_cosine_similarity(seed: int, k: int) -> None:
    base, query = case_base(), units(1, seed=seed + 1)[0]
    found = base.search(query, k)
    expected = units(30) @ query
    order = np.argsort(-expected)[: min(k, 30)]
    assert [one.case_id for one in found] == [f"sim-{row:06d}" for row in order]
    np.testing.assert_allclose([one.similarity for one in found], expected[order], atol=1e-5)


def test_a_case_finds_itself_with_its_sentence() -> None:
    found = case_base().search(units(30)[7])
    assert len(found) == 5
    assert found[0].case_id == "sim-000007"
    assert found[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert found[0].similarity <= 1.0
    assert found[0].finding == LACUNE.sentence()
    assert found[0].territory is Territory.DEEP_GRAY_MATTER


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    normal = case(5, Finding(Territory.NORMAL))
    odd = dataclasses.replace(case(6), report='line\u2028separator, "quotes"\nand a second line')
    saved = CaseBase.build([case(1), normal, odd], units(3), ENCODER).save(tmp_path / "base")
    loaded = CaseBase.load(tmp_path / "base", ENCODER)
    assert loaded.cases == saved.cases == (case(1), normal, odd)
    assert loaded.info() == saved.info()
    assert loaded.info().cases_by_territory[Territory.NORMAL] == 1
    assert loaded.search(units(3)[2])[0].case_id == "sim-000006"


def test_adding_gives_a_new_case_base_and_leaves_the_old(tmp_path: Path) -> None:
    old = case_base(3).save(tmp_path / "base")
    vector = units(1, seed=9)
    new = old.add([case(99)], vector).save(tmp_path / "base")
    assert (old.info().cases, new.info().cases) == (3, 4)
    assert new.info().sha256 != old.info().sha256
    # The directory holds the new one, and nothing of the exchange is left behind.
    assert CaseBase.load(tmp_path / "base", ENCODER).search(vector[0], 1)[0].case_id == "sim-000099"
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_failed_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = case_base(3).save(tmp_path / "base")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pirtad.inference.retrieval.files._sync", full)
        with pytest.raises(OSError, match="No space"):
            base.add([case(99)], units(1, seed=9)).save(tmp_path / "base")
    assert CaseBase.load(tmp_path / "base", ENCODER).info() == base.info()
    # and a later write succeeds all the same.
    assert base.add([case(99)], units(1, seed=9)).save(tmp_path / "base").info().cases == 4


@pytest.mark.parametrize(
    ("encoder", "code"),
    [
        (dataclasses.replace(ENCODER, weights_sha256="b" * 64), "case_base_encoder"),
        (dataclasses.replace(ENCODER, preprocessing_version="2"), "preprocessing_version"),
    ],
)
def test_another_encoder_is_refused(tmp_path: Path, encoder: EncoderManifest, code: str) -> None:
    case_base().save(tmp_path / "base")
    with pytest.raises(ModelMismatch) as refused:
        CaseBase.load(tmp_path / "base", encoder)
    assert refused.value.code == code


@pytest.mark.parametrize("name", [INDEX_FILE, CASES_FILE])
def test_an_altered_file_is_refused(tmp_path: Path, name: str) -> None:
    case_base().save(tmp_path / "base")
    path = tmp_path / "base" / name
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789")
    with pytest.raises(ModelMismatch, match=name) as refused:
        CaseBase.load(tmp_path / "base", ENCODER)
    assert refused.value.code == "case_base_digest"


@pytest.mark.parametrize("name", [INDEX_FILE, CASES_FILE, MANIFEST_FILE])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    case_base().save(tmp_path / "base")
    (tmp_path / "base" / name).unlink()
    with pytest.raises(ModelMismatch, match=name):
        CaseBase.load(tmp_path / "base", ENCODER)


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 1}', '{"schema": 7}'])
def test_an_unreadable_manifest_is_refused(tmp_path: Path, text: str) -> None:
    case_base().save(tmp_path / "base")
    (tmp_path / "base" / MANIFEST_FILE).write_text(text)
    with pytest.raises(ModelMismatch) as refused:
        CaseBase.load(tmp_path / "base", ENCODER)
    assert refused.value.code == "case_base_manifest"


@pytest.mark.parametrize(
    ("cases", "vectors", "says"),
    [
        ([], units(1)[:0], "without cases"),
        ([case(1), case(1)], units(2), "twice"),
        ([case(1)], units(2), "vectors of shape"),
        ([case(1)], units(1) * 2, "length 1"),
        ([case(1)], units(1) * np.float32(np.nan), "length 1"),
        ([case(1)], units(1).astype(np.float64), "float64"),
    ],
)
def test_what_does_not_fit_is_not_built(cases: list[Case], vectors: np.ndarray, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CaseBase.build(cases, vectors, ENCODER)


@pytest.mark.parametrize("vector", [units(1)[0] * 2, units(1, 8)[0], units(1)])
def test_a_query_of_another_kind_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shape|length"):
        case_base().search(vector)


@pytest.mark.parametrize("name", ["Müller", "sim-", "sim 1", "12345678", "SIM-1", "a-1", "../etc-1"])
def test_an_id_that_could_be_a_patient_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="case_id"):
        Case(name, LACUNE, "", "")


def test_a_report_is_not_shown_in_a_repr() -> None:
    assert "secret" not in repr(dataclasses.replace(case(1), report="secret"))


def test_the_shipped_case_base_belongs_to_the_shipped_encoder() -> None:
    base = CaseBase.load(SHIPPED / "case_base", EncoderManifest.read(SHIPPED))
    counts = base.info().cases_by_territory
    assert base.info().cases >= 300
    assert min(counts.values()) >= 0.12 * base.info().cases
    for one in base.cases:
        seed = int(one.case_id.removeprefix("sim-"))
        # Of training only what is normal, and of what tests ask nothing at all.
        assert seed in seeds.CASE_BASE or (seed in seeds.TRAINING and one.finding.territory is Territory.NORMAL)
        assert one.finding.sentence() in one.report
    assert json.loads((SHIPPED / "case_base" / MANIFEST_FILE).read_text())["cases"] == base.info().cases

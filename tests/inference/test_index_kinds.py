"""The index behind a case base: its kind, one case a patient, growing, mapping, and case bases of earlier versions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, Territory
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.retrieval import index as index_module
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.retrieval.files import CASES_FILE, INDEX_FILE, MANIFEST_FILE
from pirtad.inference.retrieval.index import IndexKind, kind_for, open_index
from pirtad.inference.retrieval.patients import Pseudonyms

ENCODER = EncoderManifest("test", "a" * 64, "1", ViTConfig(), "none", "2026-01-01")
SALT = Pseudonyms("0f" * 16)
COUNT, DIMENSION = 1500, 16


def units(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def cases(count: int, patient: Any = lambda number: None, first: int = 0) -> list[Case]:
    normal = Finding(Territory.NORMAL)
    return [Case(f"sim-{n}", normal, "", "test", patient(n)) for n in range(first, first + count)]


def ids(found: Any) -> list[str]:
    return [case.case_id for case in found]


def test_the_kind_goes_by_the_number_of_cases() -> None:
    assert [kind_for(count) for count in (1, 50_000, 50_001, 500_000, 500_001)] == [
        *(IndexKind.EXACT, IndexKind.EXACT, IndexKind.HNSW, IndexKind.HNSW, IndexKind.IVF)
    ]


@pytest.mark.parametrize("kind", list(IndexKind))
def test_every_kind_finds_the_neighbours_before_and_after_it_was_stored(tmp_path: Path, kind: IndexKind) -> None:
    vectors, queries = units(COUNT), units(40, seed=1)
    built = CaseBase.build(cases(COUNT), vectors, ENCODER, kind=kind)
    built.save(tmp_path / "base")
    loaded = CaseBase.load(tmp_path / "base", ENCODER)

    assert json.loads((tmp_path / "base" / MANIFEST_FILE).read_text())["kind"] == kind
    assert loaded.info().kind is kind
    truth = [[f"sim-{row}" for row in np.argsort(-(vectors @ query))[:5]] for query in queries]
    for base in (built, loaded):
        hits = sum(
            len(set(ids(base.search(query))) & set(wanted)) for query, wanted in zip(queries, truth, strict=True)
        )
        assert hits >= (200 if kind is IndexKind.EXACT else 190)
        found = base.search(queries[0])
        rows = [int(case.case_id.removeprefix("sim-")) for case in found]
        np.testing.assert_allclose([case.similarity for case in found], vectors[rows] @ queries[0], atol=1e-5)
    np.testing.assert_array_equal(np.concatenate(list(loaded.vectors())), vectors)


@pytest.mark.parametrize("kind", list(IndexKind))
def test_what_was_mapped_can_be_added_to_and_stored_over_itself(tmp_path: Path, kind: IndexKind) -> None:
    # Given a stored case base, its vectors mapped from the file
    CaseBase.build(cases(200), units(200), ENCODER, kind=kind).save(tmp_path / "base")
    loaded = CaseBase.load(tmp_path / "base", ENCODER)
    # When cases are added, and the directory is replaced while the old one is still mapped
    more = units(3, seed=8)
    CaseBase.load(tmp_path / "base", ENCODER).add(cases(3, first=200), more).save(tmp_path / "base")
    again = CaseBase.load(tmp_path / "base", ENCODER)
    # Then the new one finds old and new, and the old one is as it was
    assert (again.info().cases, again.info().version, again.info().kind) == (203, 2, kind)
    assert again.search(more[1], 1)[0].case_id == "sim-201"
    assert again.search(units(200)[7], 1)[0].case_id == "sim-7"
    assert loaded.info().cases == 200
    assert loaded.search(units(200)[7], 1)[0].case_id == "sim-7"


def resident_anonymous_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.parametrize("kind", list(IndexKind))
def test_vectors_are_mapped_and_not_held(tmp_path: Path, kind: IndexKind) -> None:
    # 16 MiB of vectors; FAISS reads a flat index and a graph into memory when asked for IO_FLAG_MMAP alone.
    # (Inverted lists of which but one holds anything are read too.)
    vectors = np.random.default_rng(0).standard_normal((4096, 1024), dtype=np.float32)
    if kind is IndexKind.HNSW:
        graph = faiss.IndexHNSWFlat(1024, 4, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = 4
        graph.add(vectors)
        faiss.write_index(graph, str(tmp_path / INDEX_FILE))
    else:
        flat = faiss.IndexFlatIP(1024)
        made = flat if kind is IndexKind.EXACT else faiss.IndexIVFFlat(flat, 1024, 4, faiss.METRIC_INNER_PRODUCT)
        made.train(vectors[:256])
        made.add(vectors)
        faiss.write_index(made, str(tmp_path / INDEX_FILE))
    before = resident_anonymous_kib()
    opened = open_index(tmp_path / INDEX_FILE)
    assert opened.ntotal == 4096
    assert resident_anonymous_kib() - before < 8 * 1024


def test_a_base_that_grows_past_the_limit_changes_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "EXACT_UP_TO", 100)
    base = CaseBase.build(cases(90), units(90), ENCODER)
    grown = base.add(cases(20, first=90), units(20, seed=3))
    assert (base.info().kind, grown.info().kind) == (IndexKind.EXACT, IndexKind.HNSW)
    assert grown.search(units(20, seed=3)[4], 1)[0].case_id == "sim-94"
    # A kind once chosen is not undone by the next addition.
    forced = CaseBase.build(cases(90), units(90), ENCODER, kind=IndexKind.IVF)
    assert forced.add(cases(1, first=90), units(1, seed=3)).info().kind is IndexKind.IVF


@pytest.mark.parametrize("kind", list(IndexKind))
def test_one_case_a_patient_and_none_of_the_query_s_own(kind: IndexKind) -> None:
    # Given a patient with 300 studies nearest to the query, and further patients with two each
    query = units(1, seed=5)[0]
    vectors = units(1200)
    vectors = vectors[np.argsort(-(vectors @ query))]
    base = CaseBase.build(
        cases(1200, lambda n: SALT.of("own") if n < 300 else SALT.of(str(n // 2))), vectors, ENCODER, kind=kind,
        pseudonyms=SALT,
    )  # fmt: skip
    patient = {case.case_id: case.patient for case in base.cases}

    with_own = base.search(query, 5)
    without = base.search(query, 5, exclude_patient=SALT.of(" OWN "))

    assert with_own[0].case_id == "sim-0"
    for found in (with_own, without):
        assert len({patient[case.case_id] for case in found}) == len(found) == 5
    assert SALT.of("own") not in {patient[case.case_id] for case in without}
    if kind is IndexKind.EXACT:
        assert ids(without) == [f"sim-{n}" for n in (300, 302, 304, 306, 308)]
    assert base.info().patients == 451
    # and all patients, where more are asked for than there are
    assert len(base.search(query, 2000, exclude_patient=SALT.of("own"))) == 450


def test_cases_without_a_patient_count_as_one_each() -> None:
    base = CaseBase.build(cases(6, lambda n: "soop-3" if n < 2 else None), units(6), ENCODER)
    assert base.info().patients == 5
    assert len(base.search(units(6)[0], 6)) == 5
    assert len(base.search(units(6)[0], 6, exclude_patient="soop-3")) == 4
    assert len(base.search(units(6)[0], 6, exclude_patient="soop-4")) == 5


def test_patients_and_the_salt_survive_and_no_number_is_stored(tmp_path: Path) -> None:
    held = CaseBase.build(cases(2, lambda n: SALT.of(f"HN-77{n}")), units(2), ENCODER, pseudonyms=SALT)
    held.save(tmp_path / "base")
    loaded = CaseBase.load(tmp_path / "base", ENCODER)
    assert loaded.cases == held.cases
    assert loaded.pseudonyms == SALT
    assert "HN-77" not in (tmp_path / "base" / CASES_FILE).read_text()
    assert SALT.salt not in repr(SALT)
    assert "p-" not in repr(held.cases[0])
    with pytest.raises(ValueError, match="pseudonyms"):
        loaded.add(cases(1, first=9), units(1), pseudonyms=Pseudonyms.fresh())


def test_a_pseudonym_needs_salt_and_number() -> None:
    assert SALT.of("123") == SALT.of(" 123\n") != Pseudonyms("f0" * 16).of("123")
    assert Pseudonyms.fresh() != Pseudonyms.fresh()
    with pytest.raises(ValueError, match="no number"):
        SALT.of("  ")
    with pytest.raises(ValueError, match="salt"):
        Pseudonyms("short")


@pytest.mark.parametrize("patient", ["123456", "Doe", "p-", "DOE-1", "p-xyz"])
def test_what_could_be_a_hospital_number_is_no_patient(patient: str) -> None:
    with pytest.raises(ValueError, match="pseudonym"):
        cases(1, lambda _: patient)


def test_a_case_base_of_schema_1_still_loads(tmp_path: Path) -> None:
    # Given a directory as the first version wrote it
    CaseBase.build(cases(3), units(3), ENCODER).save(tmp_path / "base")
    path = tmp_path / "base" / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    for key in ("version", "kind", "patient_salt"):
        del manifest[key]
    path.write_text(json.dumps({**manifest, "schema": 1}))
    assert '"patient"' not in (tmp_path / "base" / CASES_FILE).read_text()
    # Then it loads, and the next write raises its version
    loaded = CaseBase.load(tmp_path / "base", ENCODER)
    assert (loaded.info().version, loaded.info().kind, loaded.pseudonyms) == (1, IndexKind.EXACT, None)
    assert loaded.add(cases(1, first=3), units(1, seed=2)).save(tmp_path / "base").info().version == 2


def test_an_addition_by_another_process_is_not_lost(tmp_path: Path) -> None:
    CaseBase.build(cases(3), units(3), ENCODER).save(tmp_path / "base")
    mine, theirs = CaseBase.load(tmp_path / "base", ENCODER), CaseBase.load(tmp_path / "base", ENCODER)
    theirs.add(cases(1, first=3), units(1, seed=2)).save(tmp_path / "base")
    with pytest.raises(ModelMismatch) as refused:
        mine.add(cases(1, first=4), units(1, seed=3)).save(tmp_path / "base")
    assert refused.value.code == "case_base_changed"
    assert ids(CaseBase.load(tmp_path / "base", ENCODER).cases) == ["sim-0", "sim-1", "sim-2", "sim-3"]
    # A case base built anew replaces whatever lies there, and the version rises all the same.
    assert CaseBase.build(cases(2), units(2), ENCODER).save(tmp_path / "base").info().version == 3


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "ivf"}, "case_base_content"),
        ({"version": "one"}, "case_base_manifest"),
        ({"patient_salt": "x"}, "case_base_manifest"),
        ({"cases": 4}, "case_base_content"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    CaseBase.build(cases(3), units(3), ENCODER).save(tmp_path / "base")
    path = tmp_path / "base" / MANIFEST_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelMismatch) as refused:
        CaseBase.load(tmp_path / "base", ENCODER)
    assert refused.value.code == code


def test_a_gpu_is_used_where_faiss_has_one_but_not_for_more_than_it_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a FAISS that has a GPU, whose copy of the index tells what it was asked
    asked: list[int] = []

    class OnGpu:
        def __init__(self, index: Any) -> None:
            self.index, self.ntotal = index, index.ntotal

        def search(self, query: np.ndarray, count: int, params: Any = None) -> Any:
            asked.append(count)
            return self.index.search(query, count, params=params)

    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "index_cpu_to_gpu", lambda _resources, _at, index: OnGpu(index), raising=False)
    base = CaseBase.build(cases(2500), units(2500), ENCODER)
    assert base.search(units(2500)[3], 1)[0].case_id == "sim-3"
    assert asked == [1]
    assert len(base.search(units(2500)[3], 2200)) == 2200
    assert asked == [1]
    # A graph stays on the processor.
    CaseBase.build(cases(50), units(50), ENCODER, kind=IndexKind.HNSW).search(units(50)[0])
    assert asked == [1]


def test_a_further_case_must_fit(tmp_path: Path) -> None:
    base = CaseBase.build(cases(3), units(3), ENCODER)
    with pytest.raises(ValueError, match="twice"):
        base.add(cases(1), units(1, seed=4))
    with pytest.raises(ValueError, match="dimensions"):
        base.add(cases(1, first=5), np.eye(1, 8, dtype=np.float32))
    with pytest.raises(ValueError, match="length 1"):
        base.add(cases(1, first=5), units(1) * 2)
    assert dataclasses.replace(base.cases[0], patient="soop-3").patient == "soop-3"

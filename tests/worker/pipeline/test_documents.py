"""From a prepared study to its documents: what the stages hand on, and which documents it becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage
from support.drafting import MASK, NOTE, NOW, PREPARED, UNUSED, UNWEIGHTED, WEIGHTED, Peer

from pirtad.inference.volume import DiffusionPair, Volume
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.sr.documents import DOCUMENTS, Result
from pirtad.worker.sr.evidence import references
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.narrative import compose_narrative

RULE = {"description": "^ax dwi", "kind": "trace"}


def test_notes_and_a_computed_map_reach_the_narrative(documented: Callable[..., list[Path]]) -> None:
    document = dcmread(documented()[0])
    texts = [item.TextValue for item in document.ContentSequence[-1].ContentSequence]
    assert texts[1] == NOTE
    assert "map that pirtad computed from series 1 and 2, 2 images" in texts[2]
    listed = [uid for *_, uid in references(document.CurrentRequestedProcedureEvidenceSequence)]
    assert sorted(listed) == [UNWEIGHTED, WEIGHTED]
    assert UNUSED not in listed


def test_a_result_is_two_objects_of_one_series(documented: Callable[..., list[Path]], peer: Peer) -> None:
    documents = [dcmread(path) for path in documented()]
    assert [document.SOPClassUID for document in documents] == [BasicTextSRStorage, Comprehensive3DSRStorage]
    assert [document.InstanceNumber for document in documents] == [1, 2]
    assert len({document.SeriesInstanceUID for document in documents}) == 1
    assert peer.roles() == ["narrative", "measurements"]


@pytest.mark.parametrize(
    ("pacs", "roles"),
    [
        ({}, ["narrative", "measurements", "picture"]),
        ({"picture": False}, ["narrative", "measurements"]),
        ({"measurements": False, "picture": False}, ["narrative"]),
    ],
)
def test_volumes_add_a_picture_unless_the_pacs_takes_none(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, pacs: dict[str, object], roles: list[str]
) -> None:
    # Given a study that was prepared with its volumes
    brain = np.random.default_rng(0).uniform(100, 200, (*MASK.shape,)).astype(np.float32)
    volume = Volume(brain, np.diag([2.0, 2.0, 4.0, 1.0]))
    pair = DiffusionPair(volume, Volume(brain * np.float32(5e-6), volume.affine), 1000.0)
    # When it is delivered
    drafted(replace(PREPARED, pair=pair), pacs).deliver(claimed, NOW)
    # Then the PACS gets what it takes, the picture in a series of its own
    assert peer.roles() == roles
    series = [str(dcmread(path, stop_before_pixels=True).SeriesInstanceUID) for _, path, _ in peer.sent]
    assert len(set(series)) == 1 + ("picture" in roles)


def test_the_same_rules_make_the_same_documents(documented: Callable[..., list[Path]], tmp_path: Path) -> None:
    assert documented(rules=[RULE]) == documented(rules=[RULE])
    assert len(list((tmp_path / "results").glob("*.dcm"))) == 2


def test_other_series_settings_make_other_documents(documented: Callable[..., list[Path]]) -> None:
    other = {**RULE, "b_value_s_per_mm2": 1000}
    variants: list[dict[str, object]] = [
        {},
        {"rules": [RULE]},
        {"rules": [other]},
        {"rules": [RULE, other]},
        {"rules": [other, RULE]},
        {"repeats": "last"},
        {"compute_adc": False},
        {"compute_trace": False},
    ]
    made = {path for variant in variants for path in documented(**variant)}
    assert len(made) == 2 * len(variants)
    # What is written out though it is the default changes nothing
    assert set(documented(repeats="refuse", compute_adc=True)) <= made


def test_the_lesion_mask_reaches_what_is_composed(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Result] = []

    def watched(result: Result, identity: SrIdentity) -> Dataset:
        seen.append(result)
        return compose_narrative(result.report, result.source, identity=identity)

    monkeypatch.setitem(DOCUMENTS, "narrative", watched)
    drafted().deliver(claimed, NOW)
    (result,) = seen
    assert result.lesion_mask is not None
    np.testing.assert_array_equal(result.lesion_mask, MASK)

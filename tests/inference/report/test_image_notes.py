"""What a reader must know about the images: carried beside the draft, and never told to the language model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pirtad.inference.prepared import Prepared
from pirtad.inference.preprocess.grid import SHAPE
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.report import Registry, Report
from pirtad.inference.volume import DiffusionPair, Volume

SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")
NOTES = (
    "The trace image was computed by pirtad: geometric mean of 12 directions at b 1000 s/mm2.",
    "The ADC map was computed by pirtad from b 0 and 1000 s/mm2.",
)


@pytest.fixture
def noted(registry, table_3, found, lesion, familiar) -> Report:
    return Generator(FakeLanguageModel(), SOURCES).generate(
        registry, found(table_3, lesion, familiar=familiar), image_notes=NOTES
    )


@pytest.fixture
def prepared(registry) -> Prepared:
    network_input = NetworkInput(np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, bool), np.eye(4))
    grid = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    pair = DiffusionPair(Volume(grid, np.eye(4)), Volume(grid / 1e4, np.diag([2.0, 2.0, 3.0, 1.0])), 1000.0)
    uids = ("1.2.1", "1.2.2"), ("1.2.1", "1.2.3")
    return Prepared(network_input, registry, 1000.0, *uids, True, NOTES, pair, "12345")


def test_the_notes_stand_between_impression_and_cases(noted):
    text = noted.text()
    assert f"\n\nImages:\n{NOTES[0]}\n{NOTES[1]}\n\nSimilar patient reports:\n" in text
    assert text.index("Impression: ") < text.index("Images:")


def test_without_notes_the_text_is_what_it_was(noted):
    plain = replace(noted, image_notes=())
    assert "Images:" not in plain.text()
    assert plain.text() == noted.text().replace("Images:\n" + "\n".join(NOTES) + "\n\n", "")


def test_json_carries_them_and_older_json_has_none(noted):
    assert Report.from_json(noted.to_json()) == noted
    older = json.loads(noted.to_json())
    del older["image_notes"]
    assert Report.from_json(json.dumps(older)) == replace(noted, image_notes=())


def test_the_language_model_is_not_told(registry, table_3, found, lesion, familiar):
    told, untold = FakeLanguageModel(), FakeLanguageModel()
    noted = Generator(told, SOURCES).generate(registry, found(table_3, lesion, familiar=familiar), image_notes=NOTES)
    plain = Generator(untold, SOURCES).generate(registry, found(table_3, lesion, familiar=familiar))
    assert told.requests == untold.requests
    assert replace(noted, image_notes=()) == plain


def test_the_prepared_study_keeps_them(tmp_path: Path, prepared: Prepared):
    prepared.save(tmp_path)
    loaded = Prepared.load(tmp_path)
    assert (loaded.dwi_uids, loaded.adc_uids) == (("1.2.1", "1.2.2"), ("1.2.1", "1.2.3"))
    assert (loaded.adc_is_computed, loaded.image_notes) == (True, NOTES)
    assert isinstance(loaded.registry, Registry)
    assert loaded.patient_id == "12345"
    assert "12345" not in repr(loaded)
    assert loaded.pair is not None
    assert prepared.pair is not None
    for mine, theirs in (
        (loaded.pair.dwi, prepared.pair.dwi),
        (loaded.pair.adc_mm2_per_s, prepared.pair.adc_mm2_per_s),
    ):
        np.testing.assert_array_equal(mine.array, theirs.array)
        np.testing.assert_array_equal(mine.affine, theirs.affine)


def test_a_study_prepared_by_an_earlier_version_has_none(tmp_path: Path, prepared: Prepared):
    prepared.save(tmp_path)
    facts = json.loads((tmp_path / "facts.json").read_bytes())
    del facts["image_notes"], facts["adc_is_computed"], facts["patient_id"]
    (tmp_path / "pair.npz").unlink()
    (tmp_path / "facts.json").write_text(json.dumps(facts))

    loaded = Prepared.load(tmp_path)

    assert (loaded.adc_is_computed, loaded.image_notes) == (False, ())
    assert (loaded.pair, loaded.patient_id) == (None, None)

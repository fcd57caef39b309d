"""What was assessed and what was not stands in the report, and beside an impression that denies a lesion."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.coverage import Coverage, Covered, Part
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.montage import montage
from pirtad.inference.report.report import NOT_ASSESSED, Basis, Report
from pirtad.inference.volume import DiffusionPair, Volume

SEEN = Part(Covered.SEEN, 1.0, 1.0)
WHOLE = Coverage(1000.0, False, 24, 120.0, 1.0, 1.0, SEEN, SEEN)
CUT = replace(WHOLE, imaged=0.934, assessed=0.934, lower_posterior_fossa=Part(Covered.NOT_WHOLLY, 0.4, 0.4))
SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")


@pytest.fixture
def drafted(registry, case, found):
    def make(territory: Territory, coverage: Coverage | None) -> Report:
        analysis = replace(found([case(territory, 0.9)] * 5), coverage=coverage)
        return Generator(FakeLanguageModel(), SOURCES).generate(registry, analysis)

    return make


def test_the_block_says_what_was_assessed_and_what_was_not(drafted):
    text = drafted(Territory.ANTERIOR, CUT).text()
    assert (
        "Assessed: DWI (b 1000 s/mm2) and ADC (as received).\n"
        "Coverage, measured by software: 24 slices, 120 mm head to foot, 93 % of a template brain; "
        "lower posterior fossa partly outside the images; vertex within the images.\n" + NOT_ASSESSED
    ) in text


def test_a_normal_study_without_its_lower_posterior_fossa_says_so_beside_the_impression(drafted):
    report = drafted(Territory.NORMAL, CUT)
    (line,) = (one for one in report.text().splitlines() if one.startswith("Impression:"))
    assert line.endswith("Not wholly assessed: lower posterior fossa (partly outside the images).")
    # and the impression itself is in the words that the model is allowed
    assert "posterior fossa" not in report.impression


def test_nothing_is_added_where_everything_was_seen_or_a_lesion_is_described(drafted):
    assert drafted(Territory.NORMAL, WHOLE).beside_impression == ()
    assert drafted(Territory.ANTERIOR, CUT).beside_impression == ()


def test_an_unknown_coverage_is_said_to_be_unknown(drafted):
    unknown = replace(WHOLE, imaged=None, assessed=None, lower_posterior_fossa=Part(Covered.NOT_KNOWN))
    sentence = "Not known whether the images reach: lower posterior fossa"
    assert sentence in drafted(Territory.NORMAL, unknown).text()
    assert sentence in drafted(Territory.NORMAL, None).text()
    assert "Coverage: not measured." in drafted(Territory.ANTERIOR, None).text()


def test_an_abstention_denies_nothing_and_has_the_block(drafted):
    report = replace(drafted(Territory.NORMAL, CUT), basis=Basis.ABSTENTION)
    assert report.beside_impression == ()
    assert "lower posterior fossa partly outside the images" in report.text()


def test_json_gives_it_back_and_an_older_draft_has_none(drafted):
    report = drafted(Territory.NORMAL, CUT)
    assert Report.from_json(report.to_json()) == report
    older = json.loads(report.to_json())
    del older["coverage"]
    assert Report.from_json(json.dumps(older)).coverage is None


def test_the_picture_with_its_words_still_fits_a_reading_monitor(drafted):
    values = np.zeros((64, 64, 30), dtype=np.float32)
    values[12:52, 8:56, 4:26] = 400.0
    volume = Volume(values, np.diag([3.0, 3.0, 5.0, 1.0]))
    part = Part(Covered.NOT_WHOLLY, 1.0, 0.4)
    longest = replace(CUT, assessed=0.8, lower_posterior_fossa=part, vertex=part)
    noted = replace(
        drafted(Territory.NORMAL, longest),
        image_notes=(
            "Trace image computed by pirtad: geometric mean of 12 directions at b 1000 s/mm2; the scanner sent none.",
            "ADC map computed by pirtad: from b 0 and b 1000 s/mm2; the scanner sent none that could be used.",
            "The diffusion-weighted image is not axial.",
        ),
    )
    height, width, _ = montage(DiffusionPair(volume, volume, 1000.0), None, noted).shape
    assert height <= 1536
    assert width <= 2048

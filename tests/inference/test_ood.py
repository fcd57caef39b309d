"""Familiarity: what is odd is told, what is known passes, and a calibration serves its own case base alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.ood.calibration import CALIBRATION_FILE, Calibration
from pirtad.inference.ood.evaluate import OVERALL, auroc, auroc_interval, evaluate_ood, win_interval
from pirtad.inference.ood.features import image_features
from pirtad.inference.ood.fit import LEAST_CASES, KnownStudy, fit_calibration, look
from pirtad.inference.ood.gaussian import Gaussian
from pirtad.inference.ood.samples import MimicSample
from pirtad.inference.ood.vote_probability import VoteProbability, reliability
from pirtad.inference.preprocess.network_input import NetworkInput
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.simulation.mimics import MimicKind

SMALL = ViTConfig(width=48, depth=1, heads=3, mlp_width=96, pooling_heads=4)
FINDINGS = {
    territory: Finding(territory)
    if territory is Territory.NORMAL
    else Finding(territory, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
    for territory in Territory
}


def head(seed: int, noise: float = 0.05) -> np.ndarray:
    """A small rough head (small is quick) of tissue with fluid in its middle, (2, 96, 112, 48)."""
    rng = np.random.default_rng(seed)
    size = rng.uniform(0.93, 1.07)
    axes = [np.linspace(-1, 1, length) for length in (96, 112, 48)]
    i, j, k = np.meshgrid(*axes, indexing="ij", sparse=True)
    radius = np.sqrt((i / 0.42) ** 2 + (j / 0.42) ** 2 + (k / 0.42) ** 2) / size
    fluid = radius < rng.uniform(0.15, 0.2)
    adc = np.where(fluid, 2.8, rng.uniform(0.78, 0.86)) + noise * rng.standard_normal(radius.shape)
    dwi = np.where(fluid, 0.3, 1.0) + noise * rng.standard_normal(radius.shape)
    return np.where(radius < 1, np.stack([dwi, adc]).clip(0.01, 4), 0).astype(np.float32)


def with_mass(array: np.ndarray) -> np.ndarray:
    """The head with a dark core within oedema on one side."""
    result = array.copy()
    result[1, 52:64, 48:66, 18:30] = 1.5
    result[0, 54:62, 51:63, 20:28], result[1, 54:62, 51:63, 20:28] = 0.15, 0.4
    return result


@pytest.fixture(scope="module")
def encoder() -> Iterator[Encoder]:
    """On one thread: so small a model spends its time waiting for the others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield Encoder(ViT(SMALL), EncoderManifest("untrained", "a" * 64, "1", SMALL, "none", "2026-01-01"))
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def known() -> list[KnownStudy]:
    return [KnownStudy(head(seed), tuple(Territory)[seed % 4]) for seed in range(LEAST_CASES)]


@pytest.fixture(scope="module")
def case_base(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> CaseBase:
    territories = [tuple(Territory)[number % 4] for number in range(8)]
    cases = [
        Case(f"sim-{number:06d}", FINDINGS[one], FINDINGS[one].sentence(), "made for a test")
        for number, one in enumerate(territories)
    ]
    vectors = np.stack([encoder.encode(head(1000 + number)) for number in range(8)])
    return CaseBase.build(cases, vectors, encoder.manifest).save(tmp_path_factory.mktemp("ood") / "base")


@pytest.fixture(scope="module")
def mimics() -> list[MimicSample]:
    """Of two kinds, and one of a kind that preprocessing refuses."""
    made = [MimicSample(MimicKind.TUMOUR, seed, with_mass(head(seed)), "") for seed in range(500, 505)]
    made += [MimicSample(MimicKind.GHOSTING, seed, head(seed, noise=0.2), "") for seed in range(510, 515)]
    return [*made, MimicSample(MimicKind.KNEE, 520, None, "no_brain")]


@pytest.fixture(scope="module")
def calibration(
    encoder: Encoder, case_base: CaseBase, known: list[KnownStudy], mimics: list[MimicSample]
) -> Calibration:
    return fit_calibration(encoder, case_base, known, mimics)


def written(encoder: Encoder, case_base: CaseBase, calibration: Calibration, directory: Path) -> Calibration:
    """The calibration in the directory of a copy of the case base."""
    saved = case_base.save(directory)
    own = replace(calibration, case_base_sha256=saved.info().sha256)
    own.save(directory)
    return own


def test_a_mass_is_out_with_reasons_and_a_like_head_is_not(
    encoder: Encoder, case_base: CaseBase, calibration: Calibration
) -> None:
    found = {}
    for name, array in (("like", head(77)), ("mass", with_mass(head(77)))):
        seen = look(encoder, case_base, array)
        ready = NetworkInput(array, (array != 0).any(axis=0), np.eye(4))
        found[name] = calibration.assess(seen.vector, seen.similar, seen.probabilities, ready)
    assert found["mass"].is_out
    assert found["mass"].score > found["mass"].threshold
    assert 1 <= len(found["mass"].reasons) <= 4
    # A kind of mimic is no diagnosis: its name stays out.
    assert found["mass"].reasons[0] == "more like what is neither infarct nor healthy than like known studies"
    assert any("standard deviations" in reason for reason in found["mass"].reasons)
    assert found["mass"].score > 2 * found["like"].score
    assert not found["like"].is_out
    assert found["like"].reasons == ()
    assert 0 < found["like"].territory_probability < 1
    assert json.loads(json.dumps(found["mass"].to_dict()))["is_out"] is True


def test_the_threshold_keeps_19_of_20_known_studies(calibration: Calibration) -> None:
    assert calibration.known_cases == LEAST_CASES
    assert calibration.specificity == pytest.approx(0.95, abs=0.03)


def test_too_few_studies_or_mimics_are_refused(
    encoder: Encoder, case_base: CaseBase, known: list[KnownStudy], mimics: list[MimicSample]
) -> None:
    with pytest.raises(ValueError, match="least"):
        fit_calibration(encoder, case_base, known[:10], mimics)
    with pytest.raises(ValueError, match="no kind"):
        fit_calibration(encoder, case_base, known, mimics[:2])


def test_the_file_says_what_it_was_fitted_to(calibration: Calibration) -> None:
    assert calibration.mimics_by_kind == {"tumour": 5, "ghosting": 5}
    assert set(calibration.left_out) == {"tumour", "ghosting"}
    assert calibration.left_out["tumour"].kinds == ("ghosting",)


def test_what_is_saved_judges_alike(
    encoder: Encoder, case_base: CaseBase, calibration: Calibration, tmp_path: Path
) -> None:
    own = written(encoder, case_base, calibration, tmp_path / "base")
    loaded = Calibration.load(tmp_path / "base")
    assert loaded is not None
    array = head(5)
    seen = look(encoder, case_base, array)
    ready = NetworkInput(array, (array != 0).any(axis=0), np.eye(4))
    before, after = (one.assess(seen.vector, seen.similar, seen.probabilities, ready) for one in (own, loaded))
    assert after.score == pytest.approx(before.score, rel=1e-3)
    assert after.territory_probability == pytest.approx(before.territory_probability)
    # The case base still loads with one more file beside it.
    assert CaseBase.load(tmp_path / "base", encoder.manifest).info().cases == 8


def test_a_calibration_of_another_case_base_is_ignored_and_says_so(
    encoder: Encoder, case_base: CaseBase, calibration: Calibration, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a calibration that was fitted to a case base of one case less
    own = written(encoder, case_base, calibration, tmp_path / "base")
    replace(own, case_base_sha256="b" * 64).save(tmp_path / "base")
    with caplog.at_level(logging.WARNING):
        assert Calibration.load(tmp_path / "base") is None
    assert "belongs to another case base" in caplog.text


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": 999}', '{"schema": 1}'])
def test_a_calibration_that_can_not_be_read_is_ignored(
    content: str, encoder: Encoder, case_base: CaseBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case_base.save(tmp_path / "base")
    (tmp_path / "base" / CALIBRATION_FILE).write_text(content)
    with caplog.at_level(logging.WARNING):
        assert Calibration.load(tmp_path / "base") is None
    assert "can not be read" in caplog.text


def test_no_calibration_is_no_error(tmp_path: Path) -> None:
    assert Calibration.load(tmp_path) is None


def test_evaluation_tells_mimics_from_known_and_counts_refusals(
    encoder: Encoder, case_base: CaseBase, calibration: Calibration
) -> None:
    held_out = [KnownStudy(head(seed), tuple(Territory)[seed % 4]) for seed in range(200, 212)]
    others = [MimicSample(MimicKind.TUMOUR, seed, with_mass(head(seed)), "") for seed in range(300, 303)]
    others.append(MimicSample(MimicKind.SPHERE, 1, None, "no_brain"))
    scores = evaluate_ood(encoder, case_base, calibration, held_out, others)
    by_kind = {row.kind: row for row in scores.kinds}
    assert list(by_kind) == ["tumour", "sphere", OVERALL]
    assert by_kind["tumour"].auroc == 1.0
    assert by_kind["sphere"].refused == 1
    assert by_kind["sphere"].auroc_unrefused is None
    assert by_kind[OVERALL].n == 4
    assert (by_kind["tumour"].fitted_to, by_kind["sphere"].fitted_to) == (5, 0)
    assert [row.kind for row in scores.left_out] == list(by_kind)
    assert all(row.fitted_to == 0 for row in scores.left_out)
    assert sum(row.queries for row in scores.reliability) == scores.known == 12
    json.dumps(scores.to_dict())


def test_auroc_is_the_chance_of_the_right_order() -> None:
    inside, outside = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, np.inf])
    assert auroc(inside, outside) == pytest.approx((1.5 + 3 + 3) / 9)
    low, high = auroc_interval(inside, outside)
    assert low <= auroc(inside, outside) <= high


def test_the_interval_is_wider_when_mimics_share_their_seeds() -> None:
    # Given the same wins and losses, of six heads or of two
    wins = np.tile([1.0, 1.0, 1.0, 0.0, 0.0, 0.0], (30, 1))
    widths = [
        high - low for low, high in (win_interval(wins, np.array(s)) for s in ([1, 2, 3, 4, 5, 6], [1, 1, 1, 2, 2, 2]))
    ]
    assert widths[1] > widths[0] > 0.3


def test_features_are_finite_and_follow_what_is_put_in() -> None:
    plain, odd = image_features(head(1)), image_features(with_mass(head(1)))
    assert np.isfinite(list(plain.values())).all()
    assert odd["dark_ml"] > plain["dark_ml"] + 2
    assert odd["oedema_one_sided_ml"] > plain["oedema_one_sided_ml"] + 2
    assert odd["adc_asymmetry"] > plain["adc_asymmetry"]
    assert image_features(head(1, noise=0.15))["dwi_noise_i"] > plain["dwi_noise_i"]
    with pytest.raises(ValueError, match="nothing"):
        image_features(np.zeros((2, 96, 112, 48), dtype=np.float32))


def test_features_do_not_tell_left_from_right() -> None:
    array = with_mass(head(3))
    mirrored = image_features(array[:, ::-1].copy())
    for name, value in image_features(array).items():
        assert mirrored[name] == pytest.approx(value, abs=0.02), name


def test_a_gaussian_knows_what_it_was_fitted_on() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6)) + 5
    model = Gaussian.fit(rows)
    # Shrinkage widens the narrow directions of correlated features, which brings everything a little nearer.
    assert 0.8 < model.distance(rows).mean() < 1.02
    assert (model.distance(rows + 8 * rows.std(axis=0)) > np.quantile(model.distance(rows), 0.99)).mean() > 0.95
    with pytest.raises(ValueError, match="rows"):
        Gaussian.fit(rows[:1])


UNSURE = np.full(4, 0.25, dtype=np.float32)


def retrieved(similarity: float, agreeing: int) -> tuple[SimilarCase, ...]:
    order = [Territory.ANTERIOR] * agreeing + [Territory.NORMAL] * (5 - agreeing)
    return tuple(SimilarCase(f"sim-{n:06d}", similarity, one, FINDINGS[one].sentence()) for n, one in enumerate(order))


def test_probability_of_the_vote_follows_what_was_seen() -> None:
    # Given agreed neighbours that were right nine times of ten, and split ones that were right half of the time
    votes = [retrieved(0.95, 5)] * 100 + [retrieved(0.6, 3)] * 100
    right = np.array([n % 10 != 0 for n in range(100)] + [n % 2 == 0 for n in range(100)])
    model = VoteProbability.fit(votes, [UNSURE] * 200, right)
    assert model.of(retrieved(0.95, 5), UNSURE) == pytest.approx(0.9, abs=0.05)
    assert model.of(retrieved(0.6, 3), UNSURE) == pytest.approx(0.5, abs=0.05)
    table, error = reliability(np.array([model.of(one, UNSURE) for one in votes]), right)
    assert error < 0.06
    assert sum(row.queries for row in table) == 200


def sure_of(territory: Territory, probability: float) -> np.ndarray:
    rest = (1 - probability) / (len(Territory) - 1)
    return np.array([probability if one is territory else rest for one in Territory], dtype=np.float32)


def test_the_head_s_agreement_counts_for_the_vote_and_nothing_counts_against_it() -> None:
    # Given votes that are right when the head agrees, and the less often the more similar the cases are
    rng = np.random.default_rng(0)
    agrees = rng.random(400) < 0.5
    similarity = rng.uniform(0.5, 0.95, 400)
    votes = [retrieved(float(one), 4) for one in similarity]
    heads = [sure_of(Territory.ANTERIOR, 0.9 if one else 0.1) for one in agrees]
    right = rng.random(400) < np.where(agrees, 0.9, 0.4) - 0.5 * (similarity - 0.7)
    # When the probability is fitted
    model = VoteProbability.fit(votes, heads, right)
    # Then the head is heard, and similarity never lowers it
    assert model.of(votes[0], heads[int(agrees.argmax())]) > 0.8
    assert model.of(votes[0], heads[int(agrees.argmin())]) < 0.55
    assert min(model.slopes) >= 0
    assert VoteProbability.from_dict(model.to_dict()) == model


def test_probability_never_says_certain() -> None:
    model = VoteProbability.fit([retrieved(0.9, 5)] * 20, [UNSURE] * 20, np.ones(20, dtype=bool))
    assert 0.8 < model.of(retrieved(0.9, 5), UNSURE) < 1
    _, error = reliability(np.array([0.9, 0.9]), np.array([True, False]))
    assert error == pytest.approx(0.4)

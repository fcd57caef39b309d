"""Training: seeds that never meet, variations that keep the truth, a run that learns and goes on after a stop."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.report.report import SimilarCase
from pirtad.inference.simulation.atlas import LABEL_OF
from pirtad.inference.training import seeds
from pirtad.inference.training.augment import insert_infarct, vary
from pirtad.inference.training.build import CaseBaseConfig, build_simulated_case_base
from pirtad.inference.training.cases import (
    CaseRecipe,
    SimulatedCase,
    balanced_recipes,
    case_path,
    load_case,
    make_case,
    save_case,
)
from pirtad.inference.training.configuration import TrainingConfig
from pirtad.inference.training.contrastive import supervised_contrastive
from pirtad.inference.training.data import TrainingSet, in_advance
from pirtad.inference.training.export import TRAINING_LESIONS_FILE
from pirtad.inference.training.metrics import score_retrieval, vote
from pirtad.inference.training.objective import collate
from pirtad.inference.training.progress import Progress
from pirtad.inference.training.train import train_encoder
from pirtad.inference.training.voxels import BrainVoxels, voxels_of

TINY = ViTConfig(width=24, depth=1, heads=2, mlp_width=48, pooling_heads=2)
TYPE = {
    Territory.ANTERIOR: InfarctType.LARGE_VASCULAR_TERRITORIAL,
    Territory.DEEP_GRAY_MATTER: InfarctType.SMALL_LACUNE,
    Territory.POSTERIOR: InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL,
}


def toy(seed: int) -> SimulatedCase:
    """A box of a brain in three slabs of territories, with a bright block in the slab of its class."""
    return toy_of(balanced_recipes([seed])[0])


def toy_of(recipe: CaseRecipe) -> SimulatedCase:
    seed, territory = recipe.seed, recipe.territory
    rng = np.random.default_rng(seed)
    array = np.zeros((2, 96, 112, 48), dtype=np.float32)
    array[:, 24:72, 20:92, 12:36] = rng.normal(1.0, 0.05, (2, 48, 72, 24)).clip(0.2)
    territories = np.zeros(array.shape[1:], dtype=np.uint8)
    for label, start in ((1, 20), (2, 44), (3, 68)):
        territories[24:72, start : start + 24, 12:36] = label
    lesion = np.zeros(territories.shape, dtype=np.bool_)
    finding = (
        Finding(territory) if territory is Territory.NORMAL else Finding(territory, SignalClass.STRONG, TYPE[territory])
    )
    if territory is not Territory.NORMAL:
        start = 20 + 24 * (LABEL_OF[territory] - 1)
        i = int(rng.integers(26, 58))
        lesion[i : i + 12, start + 4 : start + 20, 16:30] = True
        array[0][lesion], array[1][lesion] = 2.2, 0.45
    return SimulatedCase(
        recipe=recipe,
        array=array.astype(np.float16),
        lesion=lesion,
        territories=territories,
        finding=finding,
        side=None,
        bilateral=False,
        volume_ml=float(lesion.sum() * 0.016),
        shares={} if territory is Territory.NORMAL else {territory: 1.0},
        mean_adc_mm2_per_s=None,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Toy cases where training looks for simulated ones."""
    directory = tmp_path_factory.mktemp("cache")
    wanted = [*seeds.TRAINING[:24], *seeds.VALIDATION[:8], *seeds.CASE_BASE[:16], *seeds.TEST[:12]]
    for recipe in balanced_recipes(wanted):
        save_case(toy_of(recipe), case_path(directory, recipe))
    return directory


def configure(cache: Path, directory: Path, **changes: object) -> TrainingConfig:
    config = TrainingConfig(
        cache=cache,
        run=directory / "run",
        out=directory / "out",
        training_cases=24,
        validation_cases=8,
        steps=20,
        batch_size=8,
        learning_rate=3e-3,
        warmup_steps=5,
        bfloat16=False,
        workers=1,
        threads=torch.get_num_threads(),
        vit=TINY,
        command="python -m pirtad test",
    )
    return dataclasses.replace(config, **changes)


def test_no_seed_serves_two_purposes() -> None:
    ranges = (seeds.TRAINING, seeds.VALIDATION, seeds.CASE_BASE, seeds.TEST, seeds.DEMO)
    for one, other in combinations(ranges, 2):
        assert not set(one) & set(other)
    assert range(900_000, 1_000_000) == seeds.DEMO


def test_classes_are_balanced() -> None:
    first = [seeds.territory_of(seed) for seed in seeds.first(seeds.TRAINING, 400)]
    assert {territory: first.count(territory) for territory in Territory} == dict.fromkeys(Territory, 100)
    with pytest.raises(ValueError, match="10001 cases"):
        seeds.first(seeds.TEST, 10_001)


def test_a_real_case_goes_through_the_product_preprocessing_and_the_cache(tmp_path: Path) -> None:
    # Given a demonstration seed of the class deep gray matter
    case = make_case(CaseRecipe(930_002, Territory.DEEP_GRAY_MATTER))
    assert case.finding.territory is Territory.DEEP_GRAY_MATTER
    assert case.array.shape == (2, 96, 112, 48)
    # Then its infarct lies, on the network's grid, in its territory, bright on DWI and low on ADC,
    labels = case.territories[case.lesion]
    assert (labels[labels > 0] == LABEL_OF[Territory.DEEP_GRAY_MATTER]).mean() > 0.75
    assert np.median(case.array[0][case.lesion]) > 1.1
    assert np.median(case.array[1][case.lesion]) < 0.9
    # and it comes back from the cache as it was.
    save_case(case, tmp_path / "case.npz")
    again = load_case(tmp_path / "case.npz")
    for field in dataclasses.fields(SimulatedCase):
        np.testing.assert_equal(getattr(again, field.name), getattr(case, field.name))


def dense(case: BrainVoxels) -> np.ndarray:
    return collate([case], TINY).x[0].numpy()


def test_variation_moves_image_and_truth_together() -> None:
    original = voxels_of(toy(1))
    for seed in range(8):
        varied = vary(original, np.random.default_rng(seed))
        assert varied.finding == original.finding
        # The infarct's voxels stay the bright ones, and stay in their territory.
        assert np.median(varied.dwi[varied.lesion]) > 1.3 * np.median(varied.dwi[~varied.lesion])
        assert (varied.territories[varied.lesion] == 1).all()
        assert varied.lesion.sum() == original.lesion.sum()
        x = dense(varied)
        assert np.isfinite(x).all()
        assert ((x[0] > 0).sum()) == len(varied.place)


def test_variation_mirrors_about_half_of_the_time() -> None:
    case = toy(1)
    voxels = voxels_of(case)
    left = [
        np.median(vary(voxels, np.random.default_rng(seed)).place[voxels.lesion][:, 0]) > 47.5 for seed in range(40)
    ]
    assert 8 < sum(left) < 32


@pytest.mark.parametrize("territory", list(TYPE))
def test_an_inserted_infarct_restricts_diffusion_in_its_territory(territory: Territory) -> None:
    normal = voxels_of(toy(0))
    for seed in range(5):
        case = insert_infarct(normal, territory, np.random.default_rng(seed))
        assert case.finding.territory is territory
        assert (case.territories[case.lesion] == LABEL_OF[territory]).mean() >= 0.8
        assert np.median(case.dwi[case.lesion]) > 1.15
        assert np.median(case.adc[case.lesion]) < 0.75
        untouched = case.dwi == normal.dwi
        assert untouched.mean() > 0.3
    assert not normal.lesion.any()


def test_an_infarct_goes_into_normal_cases_only() -> None:
    with pytest.raises(ValueError, match="normal"):
        insert_infarct(voxels_of(toy(1)), Territory.ANTERIOR, np.random.default_rng(0))


def test_patch_targets_add_up_and_name_the_class() -> None:
    batch = collate([voxels_of(toy(3)), voxels_of(toy(0))], TINY)
    torch.testing.assert_close(batch.infarct.sum(-1), torch.ones(2, TINY.patches))
    torch.testing.assert_close(batch.anatomy.sum(-1), torch.ones(2, TINY.patches), atol=1e-5, rtol=0)
    assert float(batch.infarct[0, :, 3].max()) == 1.0  # posterior
    assert float(batch.infarct[1, :, 1:].max()) == 0.0
    assert batch.territory.tolist() == [3, 0]


def test_training_learns_exports_and_retrieves(cache: Path, tmp_path: Path) -> None:
    # Given a toy task, when a small network is trained on it
    manifest = train_encoder(configure(cache, tmp_path, report_every_steps=1))
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]
    # Then the product loads the weights, and a case base built with them retrieves better than chance.
    assert Encoder.load(tmp_path / "out").manifest == manifest
    scores = build_simulated_case_base(
        CaseBaseConfig(cache, tmp_path / "out", tmp_path / "base", cases=16, test_cases=12, workers=1)
    )
    assert scores is not None
    assert scores.retrieval.queries == 12
    assert scores.retrieval.accuracy_at_1 > 0.5


def test_an_interrupted_run_ends_like_an_uninterrupted_one(cache: Path, tmp_path: Path, monkeypatch) -> None:
    # Given two runs of the same configuration, one of which stops right after its first checkpoint
    config = configure(cache, tmp_path / "whole", steps=6, checkpoint_every_steps=3)
    whole = train_encoder(config)
    other = configure(cache, tmp_path / "halves", steps=6, checkpoint_every_steps=3)

    def stop(_self: Progress, done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train_encoder(other)
    # When it is started again, then the weights are the same, and so are the metrics.
    assert train_encoder(other).weights_sha256 == whole.weights_sha256
    texts = {(tmp_path / half / "run" / "metrics.jsonl").read_text() for half in ("whole", "halves")}
    assert len(texts) == 1


def test_training_can_begin_with_a_finished_encoder_of_the_same_shape(cache: Path, tmp_path: Path) -> None:
    # Given a finished encoder, when training goes on from it with a learning rate of next to nothing
    finished = train_encoder(configure(cache, tmp_path / "first", steps=3))
    start = tmp_path / "first" / "out"
    still = configure(cache, tmp_path / "second", steps=1, learning_rate=1e-12, weight_decay=0.0, start=start)
    train_encoder(still)
    # Then it is that encoder still
    before, after = (load_file(tmp_path / run / "out" / "weights.safetensors") for run in ("first", "second"))
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-6)
    assert finished.config == TINY
    with pytest.raises(ValueError, match="another shape"):
        train_encoder(
            dataclasses.replace(still, run=tmp_path / "third", vit=dataclasses.replace(TINY, depth=TINY.depth + 1))
        )


def test_a_run_directory_is_not_shared_by_two_configurations(cache: Path, tmp_path: Path) -> None:
    train_encoder(configure(cache, tmp_path, steps=1))
    with pytest.raises(ValueError, match="another configuration"):
        train_encoder(configure(cache, tmp_path, steps=2))


def test_a_finished_run_says_where_its_weights_come_from(cache: Path, tmp_path: Path) -> None:
    # Given an encoder trained by a named recipe, and one that begins with it
    command = f"pirtad train encoder {tmp_path}/run ./out --cache={tmp_path}/cache --config runs/mine.toml"
    first = train_encoder(configure(cache, tmp_path / "first", steps=1, recipe="mine", command=command))
    start = tmp_path / "first" / "out"
    second = train_encoder(configure(cache, tmp_path / "second", steps=1, start=start, starts_from="mine"))
    # Then the manifests say so, and name no folder of this machine.
    assert (first.recipe, first.started_from_sha256) == ("mine", "")
    assert first.training_command == "pirtad train encoder run ./out --cache=cache --config runs/mine.toml"
    assert second.started_from_sha256 == first.weights_sha256
    assert first.recipe_sha256 != second.recipe_sha256
    assert (start / TRAINING_LESIONS_FILE).read_text() == ""  # no real lesion was shown
    written = json.loads((tmp_path / "second" / "run" / "config.json").read_text())
    assert written["recipe_sha256"] == second.recipe_sha256
    with pytest.raises(ValueError, match="recipe other"):
        train_encoder(configure(cache, tmp_path / "third", steps=1, start=start, starts_from="other"))


def test_a_run_may_go_on_with_other_threads_but_not_with_another_seed(cache: Path, tmp_path: Path) -> None:
    train_encoder(configure(cache, tmp_path, steps=1))
    train_encoder(configure(cache, tmp_path, steps=1, threads=1, report_every_steps=1))
    with pytest.raises(ValueError, match="another configuration"):
        train_encoder(configure(cache, tmp_path, steps=1, seed=5))


@pytest.mark.parametrize("contrastive_weight", [0.0, 0.5])
def test_the_papers_objective_trains_the_linear_head_alone(
    cache: Path, tmp_path: Path, contrastive_weight: float
) -> None:
    config = configure(
        cache, tmp_path, steps=2, report_every_steps=1, objective="paper", contrastive_weight=contrastive_weight
    )
    train_encoder(config)
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    extra = {"contrastive"} if contrastive_weight else set()
    assert set(record) == {"step", "loss", "batch_accuracy"} | extra
    assert (record["loss"] > 2.0) == bool(contrastive_weight)  # log 4 = 1.39 from the head alone


def test_training_in_bfloat16_keeps_weights_in_float32(cache: Path, tmp_path: Path) -> None:
    train_encoder(configure(cache, tmp_path, steps=2, bfloat16=True))
    weights = load_file(tmp_path / "out" / "weights.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_a_loss_that_is_not_a_number_stops_the_run(cache: Path, tmp_path: Path) -> None:
    config = configure(cache, tmp_path, steps=8, report_every_steps=1, learning_rate=1e30, warmup_steps=1)
    with pytest.raises(ValueError, match="not a number"):
        train_encoder(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_told(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no CUDA device"):
        train_encoder(configure(cache, tmp_path, device="cuda"))


def test_metrics_reach_tensorboard_where_it_is_installed(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train_encoder(configure(cache, tmp_path, steps=1))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_terminal_gets_a_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with Progress(tmp_path, 10, 0, tensorboard=False) as progress:
        progress.advance(7)
        progress.report({"step": 7, "loss": 0.25})
    shown = capsys.readouterr().out
    assert "7/10" in shown
    assert "loss 0.25" in shown


@pytest.mark.parametrize("loaders", [0, 2])
def test_batches_come_in_order_whoever_prepares_them(cache: Path, loaders: int) -> None:
    cases = TrainingSet([case_path(cache, recipe) for recipe in balanced_recipes(seeds.TRAINING[:8])], "none")
    prepare: Callable[[int], torch.Tensor] = lambda step: collate(cases.draw(4, (0, step)), TINY).x  # noqa: E731
    for step, batch in enumerate(in_advance(prepare, range(3, 6), loaders), start=3):
        torch.testing.assert_close(batch, prepare(step), rtol=0, atol=0)


def test_without_augmentation_a_case_comes_as_it_is(cache: Path) -> None:
    paths = [case_path(cache, recipe) for recipe in balanced_recipes(seeds.TRAINING[:4])]
    originals = {voxels_of(load_case(path)).dwi.tobytes() for path in paths}
    drawn = TrainingSet(paths, "none").draw_unlabelled(4, (0, 0))
    assert {case.dwi.tobytes() for case in drawn} == originals
    varied = TrainingSet(paths, "light").draw_unlabelled(4, (0, 0))
    assert not {case.dwi.tobytes() for case in varied} & originals


def test_the_contrastive_loss_is_khoslas() -> None:
    # Given two cases of one class, one of another, none alike: checked against the sum written out
    vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 2.0]])
    labels = torch.tensor([1, 1, 2])
    near, far, across = 0.8, 0.0, 0.6
    first = -np.log(np.exp(near / 0.1) / (np.exp(near / 0.1) + np.exp(far / 0.1)))
    second = -np.log(np.exp(near / 0.1) / (np.exp(near / 0.1) + np.exp(across / 0.1)))
    assert float(supervised_contrastive(vectors, labels)) == pytest.approx((first + second) / 2, rel=1e-5)
    # Where no class comes twice there is nothing to learn, and no nan.
    assert float(supervised_contrastive(vectors, torch.tensor([0, 1, 2]))) == 0.0


def similar(*pairs: tuple[Territory, float]) -> list[SimilarCase]:
    return [SimilarCase(f"sim-{row}", similarity, territory, "") for row, (territory, similarity) in enumerate(pairs)]


def test_scores_follow_the_papers_definitions() -> None:
    normal, anterior = Territory.NORMAL, Territory.ANTERIOR
    first = similar((anterior, 0.9), (normal, 0.8), (anterior, 0.7), (normal, 0.6), (normal, 0.5))
    second = similar((normal, 0.9), (normal, 0.2), (anterior, 0.1), (anterior, 0.1), (anterior, 0.1))
    score = score_retrieval([anterior, normal], [first, second])
    assert score.accuracy_at_1 == score.map_at_1 == 1.0
    assert score.accuracy_at_5 == 1.0
    # AP@5 with N the relevant retrieved: (1/1 + 2/3)/2 and (1/1 + 2/2)/2.
    assert score.map_at_5 == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    # The vote weighs by similarity: 1.9 against 1.6 is normal for the first query, 1.1 against 0.3 for the second.
    assert score.vote_accuracy == 0.5
    assert score.confusion[1][0] == 1
    assert vote(first) is normal


def test_a_query_without_a_hit_scores_zero() -> None:
    score = score_retrieval([Territory.POSTERIOR], [similar((Territory.NORMAL, 0.9))])
    assert score.map_at_5 == score.accuracy_at_5 == score.vote_accuracy == 0.0

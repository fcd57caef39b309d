"""The masked autoencoder: what is hidden stays hidden, it learns, and fine-tuning takes its weights."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.models.vit import ViT, ViTConfig
from pirtad.inference.training import held_out, seeds
from pirtad.inference.training.ablations import AblationConfig, run_ablations
from pirtad.inference.training.cases import SimulatedCase, balanced_recipes, case_path, save_case
from pirtad.inference.training.configuration import MaeConfig, TrainingConfig, configure, named_settings
from pirtad.inference.training.held_out import held_out_recipes, score
from pirtad.inference.training.mae import MaskedAutoencoder, hide
from pirtad.inference.training.pretrain import train_mae
from pirtad.inference.training.progress import Progress
from pirtad.inference.training.train import train_encoder

TINY = ViTConfig(width=24, depth=1, heads=2, mlp_width=48, pooling_heads=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small striped brains whose class is how bright their block is, where training looks for simulated cases."""
    directory = tmp_path_factory.mktemp("cache")
    recipes = balanced_recipes([*seeds.TRAINING[:16], *seeds.VALIDATION[:4]])
    for recipe in [*recipes, *held_out_recipes(12, "shifted", None)]:
        rng = np.random.default_rng(recipe.seed)
        array = np.zeros((2, 96, 112, 48), dtype=np.float32)
        shape = (2, 32, 32, 18)
        array[:, 32:64, 40:72, 12:30] = 1 + 0.3 * np.sin(np.arange(32) / 3)[None, :, None, None]
        array[:, 32:64, 40:72, 12:30] += rng.normal(0, 0.02, shape)
        lesion = np.zeros(array.shape[1:], dtype=np.bool_)
        normal = recipe.territory is Territory.NORMAL
        if not normal:
            place = 40 + 11 * (tuple(Territory).index(recipe.territory) - 1)
            lesion[34:62, place : place + 9, 14:28] = True
            array[0][lesion], array[1][lesion] = 2.4, 0.4
        territories = np.where(lesion, tuple(Territory).index(recipe.territory), 0).astype(np.uint8)
        words = (None, None) if normal else (SignalClass.STRONG, InfarctType.SMALL_LACUNE)
        case = SimulatedCase(
            recipe=recipe,
            array=array.astype(np.float16),
            lesion=lesion,
            territories=territories,
            finding=Finding(recipe.territory, *words),
            side=None,
            bilateral=False,
            volume_ml=1.0,
            shares={} if normal else {recipe.territory: 1.0},
            mean_adc_mm2_per_s=None,
        )
        save_case(case, case_path(directory, recipe))
    return directory


def mae_config(cache: Path, directory: Path, **changes: object) -> MaeConfig:
    config = MaeConfig(
        cache=cache,
        run=directory / "run",
        out=directory / "out",
        training_cases=16,
        validation_cases=4,
        epochs=None,
        steps=30,
        batch_size=8,
        learning_rate=0.16,
        warmup_steps=3,
        bfloat16=False,
        workers=1,
        threads=torch.get_num_threads(),
        tensorboard=False,
        vit=TINY,
        decoder_width=24,
        decoder_depth=1,
        decoder_heads=2,
    )
    return dataclasses.replace(config, **changes)


def test_a_quarter_of_each_brain_is_shown_and_the_rest_is_asked_for() -> None:
    real = torch.arange(40)[None] < torch.tensor([[40], [12], [1]])
    hidden = hide(real, 0.25, torch.Generator().manual_seed(0))
    assert hidden.shown_real.sum(1).tolist() == [10, 3, 1]
    assert hidden.masked.sum(1).tolist() == [30, 9, 0]
    for row in range(3):
        shown = set(hidden.shown[row][hidden.shown_real[row]].tolist())
        asked = set(hidden.masked[row].nonzero()[:, 0].tolist())
        assert not shown & asked
        assert shown | asked == set(range(int(real[row].sum())))
    other = hide(real, 0.25, torch.Generator().manual_seed(1))
    assert not torch.equal(other.masked, hidden.masked)


def volume(seed: int = 0) -> torch.Tensor:
    x = torch.zeros(2, 2, 96, 112, 48)
    generator = torch.Generator().manual_seed(seed)
    x[0, :, 16:64, 24:72, 12:30] = torch.rand(2, 48, 48, 18, generator=generator) + 0.5
    x[1, :, 16:40, 24:48, 12:24] = torch.rand(2, 24, 24, 12, generator=generator) + 0.5
    return x


@pytest.fixture
def autoencoder() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return MaskedAutoencoder(ViT(TINY), 24, 1, 2, normalised_targets=False).eval()


def test_what_is_masked_does_not_reach_the_reconstruction(autoencoder: MaskedAutoencoder) -> None:
    # Given two volumes that differ in the masked patches alone
    patches, kept, real = autoencoder.encoder.cut(volume())
    hidden = hide(real, 0.25, torch.Generator().manual_seed(0))
    changed = torch.where(hidden.masked[..., None, None, None, None], 3 * patches, patches)
    # Then both are rebuilt alike; and a shown patch does reach the others.
    with torch.inference_mode():
        rebuilt, other = (
            autoencoder.decode(autoencoder.encode(one, kept, hidden), kept, real, hidden) for one in (patches, changed)
        )
        torch.testing.assert_close(rebuilt[real], other[real])
        seen = autoencoder.decode(autoencoder.encode(2 * patches, kept, hidden), kept, real, hidden)
    assert not torch.allclose(rebuilt[hidden.masked], seen[hidden.masked])


def test_a_row_s_reconstruction_does_not_depend_on_its_neighbours_in_the_batch(
    autoencoder: MaskedAutoencoder,
) -> None:
    patches, kept, real = autoencoder.encoder.cut(volume())
    hidden = hide(real, 0.25, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = autoencoder.decode(autoencoder.encode(patches, kept, hidden), kept, real, hidden)
        elsewhere = patches.clone()
        elsewhere[0] *= 2
        apart = autoencoder.decode(autoencoder.encode(elsewhere, kept, hidden), kept, real, hidden)
    torch.testing.assert_close(together[1][real[1]], apart[1][real[1]])


def test_the_loss_is_the_mean_square_over_masked_patches(autoencoder: MaskedAutoencoder) -> None:
    # Given a reconstruction of zeros everywhere, the loss is the mean square of the masked voxels
    with torch.no_grad():
        autoencoder.rebuild.weight.zero_()
        autoencoder.rebuild.bias.zero_()
    x = volume()
    patches, _, real = autoencoder.encoder.cut(x)
    hidden = hide(real, 0.25, torch.Generator().manual_seed(4))
    with torch.inference_mode():
        loss = autoencoder(x, 0.25, torch.Generator().manual_seed(4))["loss"]
    assert float(loss) == pytest.approx(float(patches[hidden.masked].square().mean()), rel=1e-5)
    # and of patches at mean 0 and spread 1 it is 1.
    normalised = MaskedAutoencoder(autoencoder.encoder, 24, 1, 2, normalised_targets=True)
    normalised.load_state_dict(autoencoder.state_dict())
    with torch.inference_mode():
        loss = normalised(x, 0.25, torch.Generator().manual_seed(4))["loss"]
    assert float(loss) == pytest.approx(1.0, abs=0.01)


def test_it_learns_to_rebuild_what_is_hidden_from_what_is_shown() -> None:
    # Given brains that are each of one brightness, so that only the shown patches tell what the masked ones are
    torch.manual_seed(0)
    model = MaskedAutoencoder(ViT(TINY), 24, 1, 2, normalised_targets=False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    ratios = []
    for step in range(120):
        generator = torch.Generator().manual_seed(step)
        x = torch.zeros(8, 2, 96, 112, 48)
        x[:, :, 32:56, 40:64, 12:24] = torch.rand(8, 2, 1, 1, 1, generator=generator) + 0.5
        parts = model(x, 0.25, generator)
        optimiser.zero_grad()
        torch.autograd.backward(parts["loss"])
        optimiser.step()
        ratios.append(float(parts["loss"].detach() / parts["loss_of_mean"]))
    # Then the error falls well under that of a network that rebuilds without looking.
    assert ratios[0] > 1
    assert max(ratios[-5:]) < 0.5


def test_pretraining_learns_resumes_and_its_weights_are_fine_tuned(cache: Path, tmp_path: Path, monkeypatch) -> None:
    # Given a pretraining that is stopped after its checkpoint and started again
    config = mae_config(cache, tmp_path / "mae", checkpoint_every_steps=10, report_every_steps=10, recipe="tiny_mae")

    def stop(_self: Progress, done: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Progress, "advance", stop)
        with pytest.raises(KeyboardInterrupt):
            train_mae(config)
    manifest = train_mae(config)
    whole = train_mae(dataclasses.replace(config, run=tmp_path / "whole", out=tmp_path / "whole_out"))
    assert manifest.weights_sha256 == whole.weights_sha256
    # Then it rebuilds better than it did;
    records = [json.loads(line) for line in (config.run / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [10, 20, 30]
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["validation_loss"] < records[0]["validation_loss"]
    # the product refuses an encoder whose head was never trained;
    assert not manifest.classifies
    with pytest.raises(ModelMismatch, match="pretrained only") as refused:
        Encoder.load(config.out)
    assert refused.value.code == "encoder_not_fine_tuned"
    # and fine-tuning, with a decoder for the lesion map too, begins with it.
    tuned = train_encoder(
        TrainingConfig(
            cache=cache,
            run=tmp_path / "run",
            out=tmp_path / "out",
            start=config.out,
            starts_from="tiny_mae",
            training_cases=16,
            validation_cases=4,
            steps=1,
            batch_size=4,
            learning_rate=1e-12,
            weight_decay=0.0,
            bfloat16=False,
            tensorboard=False,
            threads=torch.get_num_threads(),
            vit=dataclasses.replace(TINY, map_width=8),
        )
    )
    assert tuned.classifies
    assert tuned.started_from_sha256 == manifest.weights_sha256
    before, after = load_file(config.out / "weights.safetensors"), load_file(tmp_path / "out" / "weights.safetensors")
    for name, value in before.items():
        torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-6)
    Encoder.load(tmp_path / "out")


def test_the_base_network_goes_through_one_step_of_each_stage() -> None:
    # The paper's width on two small brains: shapes, gradients and mixed precision, not learning.
    mae = configure(MaeConfig, named_settings("pirta_base_mae"), dict.fromkeys(("cache", "run", "out"), Path("x")))
    torch.manual_seed(0)
    vit = dataclasses.replace(mae.vit, depth=1)
    model = MaskedAutoencoder(ViT(vit), mae.decoder_width, 1, mae.decoder_heads, mae.normalised_targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(volume(), mae.keep_share, torch.Generator().manual_seed(0))["loss"]
    torch.autograd.backward(loss)
    assert torch.isfinite(loss)
    # MONAI's blocks carry layers of cross attention that nothing here uses.
    used = {name: value.grad for name, value in model.encoder.blocks.named_parameters() if "cross" not in name}
    grown = [grad is not None and bool(grad.any()) for grad in used.values()]
    assert len(grown) > 8
    assert all(grown)
    with torch.inference_mode():
        assert model.encoder(volume()).embedding.shape == (2, 768)


def ablation_config(cache: Path, tmp_path: Path, **changes: object) -> AblationConfig:
    shape = dataclasses.asdict(TINY)
    config = AblationConfig(
        cache=cache,
        run=tmp_path / "run",
        out=tmp_path / "out",
        steps=2,
        mae_steps=2,
        batch_size=4,
        training_cases=8,
        large_set_cases=16,
        validation_cases=4,
        test_cases=12,
        workers=1,
        threads=torch.get_num_threads(),
        device="cpu",
        bfloat16=False,
        vit=shape,
    )
    return dataclasses.replace(config, **changes)


def test_the_comparison_has_the_papers_columns_and_goes_on_where_it_was(cache: Path, tmp_path: Path) -> None:
    config = ablation_config(cache, tmp_path)
    rows = run_ablations(config)
    assert [(row.label, row.pretraining_cases) for row in rows] == [
        ("paper, no pretraining", 0),
        ("paper, small set", 8),
        ("paper, large set", 16),
        ("no pretraining + our network", 0),
        ("+ wide augmentation", 0),
        ("+ dense supervision", 0),
        ("+ lesion map (ours)", 0),
        ("ours + contrastive loss", 0),
        ("ours, after the large set", 16),
    ]
    for row in rows:
        assert row.score is not None, row.failure
        assert row.score.cases == 12
        assert row.score.map_at_1.low <= row.score.map_at_1.value <= row.score.map_at_1.high
    written = json.loads((config.out / "ablations.json").read_text())
    assert [row["label"] for row in written["rows"]] == [row.label for row in rows]
    assert str(tmp_path) not in (config.out / "ablations.json").read_text()
    text = (config.out / "ablations.txt").read_text()
    assert "Fine-tuning 2 steps, pretraining 2 steps, 4 cases a step" in text
    # Started again it trains nothing, and says the same.
    before = {path: path.stat().st_mtime_ns for path in config.out.rglob("weights.safetensors")}
    assert len(before) == 12
    assert run_ablations(config) == rows
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_budget_in_the_same_folder_is_told_row_by_row(cache: Path, tmp_path: Path) -> None:
    run_ablations(ablation_config(cache, tmp_path, steps=1))
    rows = run_ablations(ablation_config(cache, tmp_path, steps=2))
    assert all(row.score is None and "another configuration" in row.failure for row in rows)


def test_a_query_never_meets_itself_or_its_own_lesion(tmp_path: Path, cache: Path, monkeypatch) -> None:
    # Given an encoder for which every case is the same, so that order alone decides
    class Same:
        def encode_and_classify(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return np.array([1.0, 0.0], np.float32), np.array([0.9, 0.1, 0.0, 0.0], np.float32)

    paths = [case_path(cache, recipe) for recipe in held_out_recipes(12, "shifted", None)]
    scored = score(Same(), paths)  # type: ignore[arg-type]
    # Then the head's accuracy is that of "normal", and the nearest is the first other case: the first case of all,
    # which is normal, and for that one itself the second, which is not. So it hits for two of the three normal cases.
    assert scored.head_accuracy.value == pytest.approx(0.25)
    assert scored.head_by_class == {"normal": 1.0, "anterior": 0.0, "deep_gray_matter": 0.0, "posterior": 0.0}
    assert scored.map_at_1.value == pytest.approx(2 / 12)
    # When all cases show one subject's lesion, there is nothing left to retrieve.
    loaded = held_out.load_case

    def one_subject(path: Path) -> SimulatedCase:
        case = loaded(path)
        return dataclasses.replace(case, recipe=dataclasses.replace(case.recipe, subject="sub-1"))

    monkeypatch.setattr(held_out, "load_case", one_subject)
    with pytest.raises(ValueError, match="same lesion"):
        score(Same(), paths)  # type: ignore[arg-type]

"""The transformer: shapes, what it may and may not depend on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pirtad.inference.models.vit import ViT, ViTConfig, voxels_of_patches

SMALL = ViTConfig(width=48, depth=2, heads=3, mlp_width=96, pooling_heads=4)


@pytest.fixture(scope="module")
def model() -> ViT:
    torch.manual_seed(0)
    return ViT(SMALL).eval()


def volume(*corners: tuple[int, int, int]) -> torch.Tensor:
    """One study (1, 2, 96, 112, 48), zero but for a block of 20 voxels at each corner."""
    x = torch.zeros(1, 2, 96, 112, 48)
    generator = torch.Generator().manual_seed(1)
    for i, j, k in corners:
        block = torch.rand(1, 2, 20, 20, 20, generator=generator) + 0.1
        x[:, :, i : i + 20, j : j + 20, k : k + 20] = block
    return x


def test_shapes(model: ViT) -> None:
    with torch.inference_mode():
        encoded = model(torch.cat([volume((10, 10, 10)), volume((40, 50, 20))]))
    assert encoded.embedding.shape == (2, 48)
    assert encoded.logits.shape == (2, 4)
    assert encoded.tokens.shape[:2] == encoded.kept.shape == encoded.real.shape


def test_the_head_reads_the_embedding_and_nothing_else(model: ViT) -> None:
    # PIRTA 2.3.2: what enters the linear layer is the representation that retrieval compares.
    with torch.inference_mode():
        encoded = model(volume((10, 10, 10)))
        torch.testing.assert_close(encoded.logits, model.head(encoded.embedding))


def test_the_papers_plain_form_has_neither_cells_nor_attentive_pooling() -> None:
    # Given one linear map a patch, two channels and the mean of the tokens
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, cell_width=0, pooling_heads=0, computed_dwi=False)
    plain = ViT(config).eval()
    x = volume((10, 10, 10))
    with torch.inference_mode():
        encoded = plain(torch.cat([x, volume((10, 10, 10), (60, 60, 20))]))
        alone = plain(x)
    first = plain.patch[0]
    assert isinstance(first, torch.nn.Linear)
    assert first.in_features == 2 * 8 * 8 * 6
    assert not any(name.startswith(("pooling", "cell")) for name in plain.state_dict())
    # Then what fills a row up in a batch has no part in the mean
    torch.testing.assert_close(encoded.embedding[:1], alone.embedding)
    mean = alone.tokens.mean(1)
    torch.testing.assert_close(alone.embedding, plain.embedding_norm(mean))
    with pytest.raises(ValueError, match="without cells"):
        dataclasses.replace(config, map_width=8)


def test_patches_without_brain_are_left_out(model: ViT) -> None:
    with torch.inference_mode():
        encoded = model(volume((0, 0, 0)))
    # 20 voxels span 3 patches of 8 along i and j and 4 of 6 along k.
    assert int(encoded.real.sum()) == 3 * 3 * 4
    assert encoded.kept[0, 0] == 0


def test_company_in_the_batch_changes_nothing(model: ViT) -> None:
    # Given a small and a large brain, the small one's row is filled up in a common batch
    small, large = volume((10, 10, 10)), volume((10, 10, 10), (60, 60, 20), (30, 80, 0))
    with torch.inference_mode():
        together = model(torch.cat([small, large]))
        alone = model(small)
    assert not bool(together.real[0].all())
    torch.testing.assert_close(together.embedding[:1], alone.embedding, atol=1e-5, rtol=1e-5)


def test_where_something_lies_matters(model: ViT) -> None:
    with torch.inference_mode():
        here, there = model(volume((8, 8, 6))).embedding, model(volume((64, 8, 6))).embedding
    assert not torch.allclose(here, there, atol=1e-3)


def test_an_empty_volume_gives_numbers(model: ViT) -> None:
    with torch.inference_mode():
        assert bool(torch.isfinite(model(torch.zeros(1, 2, 96, 112, 48)).embedding).all())


def test_every_weight_takes_part_in_learning() -> None:
    model = ViT(SMALL).train()
    encoded = model(torch.cat([volume((10, 10, 10)), volume((40, 50, 20))]))
    encoded.logits.square().sum().backward()
    idle = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
    # MONAI builds a norm for cross-attention that is not used.
    assert all("norm_cross_attn" in name for name in idle)


def test_shipped_size() -> None:
    config = ViTConfig()
    assert config.patches == 12 * 14 * 8
    count = sum(value.numel() for value in ViT(config).parameters())
    assert count * 4 < 16 * 2**20
    assert dataclasses.asdict(config)["width"] == 192


def test_the_lesion_map_puts_every_voxel_where_it_came_from() -> None:
    # Given a decoder whose logits are replaced by the voxels of a random map, cut as the network cuts
    model = ViT(dataclasses.replace(SMALL, map_width=8)).eval()
    x = volume((3, 5, 7), (60, 60, 20))
    with torch.inference_mode():
        encoded = model(x)
        wanted = torch.rand(1, 96, 112, 48, generator=torch.Generator().manual_seed(3)) * (x.amax(1) > 0)
        cut = voxels_of_patches(wanted, encoded.kept, model.config)
        assert encoded.lesion_logits is not None
        assert encoded.lesion_logits.shape == cut.shape
        back = model.lesion_probability(dataclasses.replace(encoded, lesion_logits=torch.logit(cut)))
    # Then putting them together gives the map again.
    torch.testing.assert_close(back, wanted, atol=1e-5, rtol=0)


def test_weights_without_a_decoder_give_no_map(model: ViT) -> None:
    with torch.inference_mode(), pytest.raises(ValueError, match="no decoder"):
        model.lesion_probability(model(volume((10, 10, 10))))

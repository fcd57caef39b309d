"""The 3D vision transformer that turns a preprocessed study into an embedding and four class logits.

Read from top to bottom: ViTConfig, then ViT.forward. Sources:
- PIRTA section 2.3.2: two channels (DWI, ADC) cut into volume patches, positional embeddings, ViT encoder, one linear
  layer to four classes; what enters that layer is the representation that retrieval compares.
- ViT: Dosovitskiy et al., arXiv 2010.11929; the blocks are MONAI's. Sine positions: He et al., arXiv 2111.06377.
- Pooling by attention instead of a class token: Zhai et al., Scaling Vision Transformers, arXiv 2106.04560.
- Weights shared within a patch before it is embedded: after Xiao et al., Early convolutions, arXiv 2106.14881.
- Computed DWI: Blackledge et al., Radiology 261, 2011.
Departures from the paper, with their reasons in docs/adr/0004-encoder.md: patches that hold no brain are left out of
the sequence; a third channel is computed from the two; a patch is embedded in two steps; tokens say whether they hold
an infarct, and pooling listens to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import nn
from torch.nn import functional

CLASSES = 4
# Numbers that a token tells each of its cells.
_CONTEXT = 8


@dataclass(frozen=True, slots=True)
class ViTConfig:
    """Everything that determines the shapes of the weights."""

    image_shape: tuple[int, int, int] = (96, 112, 48)
    """Voxels along i (left), j (posterior), k (superior); preprocess.grid.SHAPE."""
    channels: int = 2
    """DWI and ADC."""
    patch_shape: tuple[int, int, int] = (8, 8, 6)
    """Voxels a patch: 16 x 16 x 24 mm. Divides image_shape."""
    cell_width: int = 32
    """Numbers that stand for a cell, 2 x 2 x 2 voxels of a patch; patch_shape is even. 0 embeds a patch's voxels at
    once, by one linear map (Dosovitskiy et al.)."""
    computed_dwi: bool = True
    """Whether a third channel is computed from the two."""
    width: int = 192
    """Length of a token and of the embedding; divisible by 6."""
    depth: int = 4
    """Transformer blocks."""
    heads: int = 3
    """Attention heads a block; divides width."""
    mlp_width: int = 768
    """Hidden width of the feed-forward part of a block."""
    pooling_heads: int = 6
    """Heads of the attention that pools tokens into the embedding; divides width. 0 takes the tokens' mean."""
    map_width: int = 0
    """Hidden width of the decoder of the lesion map, which needs cells; 0 for weights that have none."""

    def __post_init__(self) -> None:
        if self.map_width and not self.cell_width:
            raise ValueError("a lesion map is told to cells; without cells there is none")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Patches along i, j, k."""
        i, j, k = (length // step for length, step in zip(self.image_shape, self.patch_shape, strict=True))
        return i, j, k

    @property
    def patches(self) -> int:
        """Patches of a volume."""
        return math.prod(self.grid)

    @property
    def cells(self) -> int:
        """Cells of a patch."""
        return math.prod(self.patch_shape) // 8


@dataclass(frozen=True, slots=True)
class Encoded:
    """embedding: (B, width). logits: (B, 4), in the order of findings.Territory. tokens: (B, T, width), the kept
    patches after the last block; patch_logits: (B, T, 4), no infarct or one of a class in each; kept: int64 (B, T),
    their numbers in the patch grid (C order over i, j, k); real: bool (B, T), False where a token only fills up.
    lesion_logits: (B, T, cells, 8), acute infarct in each voxel of the kept patches, None without a decoder."""

    embedding: torch.Tensor
    logits: torch.Tensor
    tokens: torch.Tensor
    patch_logits: torch.Tensor
    kept: torch.Tensor
    real: torch.Tensor
    lesion_logits: torch.Tensor | None = None


class ViT(nn.Module):
    """(B, 2, 96, 112, 48) -> Encoded."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        voxels = (config.channels + config.computed_dwi) * 8
        if config.cell_width:
            self.cell = nn.Sequential(
                nn.Linear(voxels, 2 * config.cell_width), nn.GELU(), nn.Linear(2 * config.cell_width, config.cell_width)
            )
            self.patch = nn.Sequential(nn.GELU(), nn.Linear(config.cells * config.cell_width, config.width))
        else:
            self.cell = nn.Sequential()
            self.patch = nn.Sequential(nn.Linear(config.cells * voxels, config.width))
        self.register_buffer("positions", sine_positions(config.grid, config.width), persistent=False)  # (P, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                hidden_size=config.width,
                mlp_dim=config.mlp_width,
                num_heads=config.heads,
                qkv_bias=True,
                use_flash_attention=True,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.infarct = nn.Linear(config.width, CLASSES)
        if config.pooling_heads:
            # Half of the heads begin by looking where the infarct is, the others anywhere.
            attentive = torch.arange(config.pooling_heads) < config.pooling_heads / 2
            self.pooling_attention = nn.Parameter(attentive.float())
            self.pooling_score = nn.Linear(config.width, config.pooling_heads)
            self.pooling_value = nn.Linear(config.width, config.width)
        self.embedding_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, CLASSES)
        if config.map_width:
            # What the patch's token knows, told to each of its cells; the cell knows its own eight voxels.
            self.context = nn.Linear(config.width, config.cells * _CONTEXT)
            self.lesion = nn.Sequential(
                nn.Linear(config.cell_width + _CONTEXT, config.map_width), nn.GELU(), nn.Linear(config.map_width, 8)
            )

    def forward(self, x: torch.Tensor) -> Encoded:
        """x: float (B, 2, 96, 112, 48), preprocess.NetworkInput.array; exactly 0 outside the brain."""
        patches, kept, real = self.cut(x)
        cells, tokens = self.embed(patches, kept)
        tokens = self.attend(tokens, real)
        patch_logits = self.infarct(tokens).float()  # (B, T, 4)
        embedding = self._pool(tokens, patch_logits, real)  # (B, width)
        return Encoded(
            embedding, self.head(embedding), tokens, patch_logits, kept, real, self._lesion_logits(cells, tokens)
        )

    def cut(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The patches with brain (B, T, 2, 8, 8, 6), and Encoded.kept and .real, which say what they are."""
        kept, real = self._patches_with_brain(x)  # (B, T) each
        return _take(x, kept, self.config), kept, real

    def embed(self, patches: torch.Tensor, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cells (B, T, cells, cell_width or voxels) and tokens (B, T, width) of patches (B, T, 2, 8, 8, 6) at kept
        (B, T)."""
        channels = _centred_channels(patches)
        cells = self.cell(_cells(channels if self.config.computed_dwi else channels[:, :, :2]))
        return cells, self.patch(cells.flatten(2)) + self.get_buffer("positions")[kept]

    def attend(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Tokens (B, T, width) after the blocks; real (B, T) is False where a token must not be looked at."""
        for block in self.blocks:
            tokens = block(tokens, attn_mask=real[:, None, None, :])
        return cast("torch.Tensor", self.norm(tokens))

    def _lesion_logits(self, cells: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor | None:
        """(B, T, cells, 8) from cells (B, T, cells, cell_width) and tokens (B, T, width)."""
        if not self.config.map_width:
            return None
        context = self.context(tokens).unflatten(-1, (self.config.cells, _CONTEXT))
        return cast("torch.Tensor", self.lesion(torch.cat([cells, context.to(cells.dtype)], dim=-1)))

    def lesion_probability(self, encoded: Encoded) -> torch.Tensor:
        """The lesion map float32 (B, 96, 112, 48), 0 where no patch was kept. Raises ValueError without a decoder."""
        if encoded.lesion_logits is None:
            raise ValueError("these weights have no decoder for a lesion map")
        (gi, gj, gk), (pi, pj, pk) = self.config.grid, self.config.patch_shape
        count = len(encoded.kept)
        probability = encoded.lesion_logits.float().sigmoid() * encoded.real[..., None, None]
        every = probability.new_zeros(count, self.config.patches, self.config.cells, 8)
        every[torch.arange(count, device=every.device)[:, None], encoded.kept] = probability
        split = every.reshape(count, gi, gj, gk, pi // 2, pj // 2, pk // 2, 2, 2, 2)
        return split.permute(0, 1, 4, 7, 2, 5, 8, 3, 6, 9).reshape(count, *self.config.image_shape)

    def _patches_with_brain(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """kept (B, T), the numbers of the patches that are not all zero, in order, each row filled up to the longest;
        real (B, T), False for the filling. An empty volume keeps one patch: no row may attend to nothing."""
        brain = (x.amax(1, keepdim=True) > 0).to(x.dtype)  # (B, 1, 96, 112, 48)
        filled = functional.max_pool3d(brain, self.config.patch_shape).flatten(1) > 0  # (B, P)
        length = max(1, int(filled.sum(1).max()))
        kept = filled.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :length]
        real = filled.gather(1, kept)
        real[:, 0] = True
        return kept, real

    def _pool(self, tokens: torch.Tensor, patch_logits: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Weighted mean of the tokens, each head with weights of its own: a small infarct is not diluted."""
        heads = self.config.pooling_heads
        if not heads:
            mean = (tokens * real[..., None]).sum(1) / real.sum(1, keepdim=True)
            return cast("torch.Tensor", self.embedding_norm(mean.float()))
        evidence = patch_logits[..., 1:].logsumexp(-1) - patch_logits[..., 0]  # (B, T), log odds of an infarct
        scores = self.pooling_score(tokens).float() + self.pooling_attention * evidence[..., None]  # (B, T, heads)
        weights = scores.masked_fill(~real[..., None], -torch.inf).softmax(1)
        values = self.pooling_value(tokens).unflatten(-1, (heads, -1))  # (B, T, heads, width / heads)
        pooled = torch.einsum("bth,bthd->bhd", weights.to(values.dtype), values).flatten(1)
        return cast("torch.Tensor", self.embedding_norm(pooled.float()))


def _take(x: torch.Tensor, kept: torch.Tensor, config: ViTConfig) -> torch.Tensor:
    """The kept patches (B, T, C, pi, pj, pk) of x (B, C, 96, 112, 48); patches count in C order over i, j, k."""
    (gi, gj, gk), (pi, pj, pk) = config.grid, config.patch_shape
    split = x.reshape(*x.shape[:2], gi, pi, gj, pj, gk, pk).permute(0, 2, 4, 6, 1, 3, 5, 7)
    rows = torch.arange(len(x), device=x.device)[:, None]
    return split[rows, kept // (gj * gk), kept // gk % gj, kept % gk]


def voxels_of_patches(volume: torch.Tensor, kept: torch.Tensor, config: ViTConfig) -> torch.Tensor:
    """A map (B, 96, 112, 48) in the order of Encoded.lesion_logits, (B, T, cells, 8)."""
    return _cells(_take(volume[:, None], kept, config))


def sine_positions(grid: tuple[int, int, int], width: int) -> torch.Tensor:
    """Fixed positions (P, width) as in MAE, a third of the width for each axis; unlike
    learned ones they tell neighbours from strangers on the first day. width is divisible by 6."""
    count = width // 6
    frequencies = 10_000.0 ** (-torch.arange(count) / count)
    axes = [torch.arange(length).float() for length in grid]
    where = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)  # (P, 3)
    angles = where[..., None] * frequencies  # (P, 3, count)
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)


def _centred_channels(patches: torch.Tensor) -> torch.Tensor:
    """(B, T, 2, ...) -> (B, T, 3, ...): DWI, ADC and computed DWI, each about 0 in normal brain and exactly 0 outside,
    so that a patch shows what departs from normal and not how full it is."""
    dwi, adc = patches[:, :, 0], patches[:, :, 1]  # over the brain's median; in 1e-3 mm2/s
    brain = (dwi > 0) | (adc > 0)
    computed = dwi * torch.exp(-adc)  # about 0.4 in normal brain, over 1 in infarcts
    return torch.stack([dwi - 1, adc - 1, 2 * computed - 0.8], dim=2) * brain[:, :, None]


def _cells(patches: torch.Tensor) -> torch.Tensor:
    """(B, T, C, pi, pj, pk) -> (B, T, cells, C x 8), a cell being 2 x 2 x 2 voxels."""
    ci, cj, ck = (length // 2 for length in patches.shape[3:])
    split = patches.reshape(*patches.shape[:3], ci, 2, cj, 2, ck, 2)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6, 8).flatten(5).flatten(2, 4)

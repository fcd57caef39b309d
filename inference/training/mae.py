"""The masked autoencoder that pretrains the encoder: PIRTA section 2.3.2 after He et al., arXiv 2111.06377.

A quarter of the patches that hold brain is shown to the encoder; a small transformer rebuilds the others from what it
made of them. Read from `forward`. Departures from He: fixed positions and attention-pooled heads are the encoder's own
(models.vit); patches without brain are neither shown nor rebuilt; there is no class token.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from monai.networks.blocks.transformerblock import TransformerBlock
from torch import nn

from pirtad.inference.models.vit import ViT, sine_positions

_MLP_RATIO = 4
_TARGET_SPREAD_EPSILON = 1e-6  # He's code, models_mae.py


@dataclass(frozen=True, slots=True)
class Hidden:
    """shown: int64 (B, S), numbers of the tokens that the encoder sees; shown_real: bool (B, S), False where a row
    only fills up; masked: bool (B, T), True for the tokens to be rebuilt."""

    shown: torch.Tensor
    shown_real: torch.Tensor
    masked: torch.Tensor


def hide(real: torch.Tensor, keep_share: float, generator: torch.Generator) -> Hidden:
    """Choose at random which tokens stay; real: bool (B, T), Encoded.real. At least one token of a case stays.

    The generator is a CPU's: the same masks on every device.
    """
    noise = torch.rand(real.shape, generator=generator).to(real.device).masked_fill(~real, 2.0)
    count = (real.sum(1) * keep_share).round().clamp(min=1).long()  # (B,)
    shown = noise.argsort(1)[:, : int(count.max())]
    shown_real = torch.arange(shown.shape[1], device=real.device) < count[:, None]
    masked = real.clone().scatter_(1, shown, real.gather(1, shown) & ~shown_real)
    return Hidden(shown, shown_real, masked)


class MaskedAutoencoder(nn.Module):
    """(B, 2, 96, 112, 48) -> mean squared error over the masked patches."""

    def __init__(self, encoder: ViT, width: int, depth: int, heads: int, normalised_targets: bool) -> None:
        super().__init__()
        config = encoder.config
        self.encoder = encoder
        self._normalised = normalised_targets
        self.enter = nn.Linear(config.width, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.register_buffer("positions", sine_positions(config.grid, width), persistent=False)  # (P, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                hidden_size=width,
                mlp_dim=_MLP_RATIO * width,
                num_heads=heads,
                qkv_bias=True,
                use_flash_attention=True,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.rebuild = nn.Linear(width, config.channels * math.prod(config.patch_shape))

    def forward(self, x: torch.Tensor, keep_share: float, generator: torch.Generator) -> dict[str, torch.Tensor]:
        """The error as "loss", and as "loss_of_mean" that of rebuilding every patch as the mean of the masked ones:
        what is learnt without looking. x as for ViT.forward."""
        patches, kept, real = self.encoder.cut(x)  # (B, T, 2, 8, 8, 6), (B, T), (B, T)
        hidden = hide(real, keep_share, generator)
        rebuilt = self.decode(self.encode(patches, kept, hidden), kept, real, hidden)  # (B, T, voxels)
        target = self._target(patches)
        count = hidden.masked.sum().clamp(min=1)
        mean = (target * hidden.masked[..., None]).sum((0, 1)) / count
        return {
            "loss": ((rebuilt - target).square().mean(-1) * hidden.masked).sum() / count,
            "loss_of_mean": ((mean - target).square().mean(-1) * hidden.masked).sum() / count,
        }

    def encode(self, patches: torch.Tensor, kept: torch.Tensor, hidden: Hidden) -> torch.Tensor:
        """Tokens (B, S, encoder width) of the shown patches; nothing of the others enters."""
        rows = torch.arange(len(kept), device=kept.device)[:, None]
        _, tokens = self.encoder.embed(patches[rows, hidden.shown], kept[rows, hidden.shown])
        return self.encoder.attend(tokens, hidden.shown_real)

    def decode(self, tokens: torch.Tensor, kept: torch.Tensor, real: torch.Tensor, hidden: Hidden) -> torch.Tensor:
        """Every kept patch float32 (B, T, voxels) from the tokens of the shown ones."""
        entered = self.enter(tokens)
        mask = self.mask_token.to(entered.dtype)
        entered = torch.where(hidden.shown_real[..., None], entered, mask)
        full = mask.expand(*real.shape, -1).clone()  # (B, T, width)
        full = full.scatter(1, hidden.shown[..., None].expand_as(entered), entered)
        full = full + self.get_buffer("positions")[kept]
        for block in self.blocks:
            full = block(full, attn_mask=real[:, None, None, :])
        rebuilt: torch.Tensor = self.rebuild(self.norm(full))
        return rebuilt.float()

    def _target(self, patches: torch.Tensor) -> torch.Tensor:
        """(B, T, voxels): DWI and ADC as they enter the encoder, or each patch at mean 0 and spread 1."""
        target = patches.flatten(2).float()
        if not self._normalised:
            return target
        spread = (target.var(-1, keepdim=True) + _TARGET_SPREAD_EPSILON).sqrt()
        return (target - target.mean(-1, keepdim=True)) / spread

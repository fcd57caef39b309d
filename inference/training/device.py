"""Where a run computes: device, mixed precision, compilation."""

from __future__ import annotations

import torch
from torch import nn

from pirtad.inference.models.vit import ViT


def device_of(name: str) -> torch.device:
    """The device called auto, cpu or cuda. Raises ValueError for cuda where there is none."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ValueError("no CUDA device is available to this program")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """bfloat16 for what is not sensitive to it; no loss scaling is needed, its range is float32's."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def compile_blocks(model: ViT, wanted: bool | None, device: torch.device) -> None:
    """Compile the blocks in place, so that the weights keep their names; None compiles on cuda only.

    The blocks alone: what precedes them depends on how many patches hold brain, and that would break the graph. The
    number of tokens changes from batch to batch, hence dynamic shapes.
    """
    if wanted if wanted is not None else device.type == "cuda":
        for block in model.blocks:
            assert isinstance(block, nn.Module)
            block.compile(dynamic=True)

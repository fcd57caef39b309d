"""The loop that both stages of training share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from pirtad.inference.training.configuration import RunConfig
from pirtad.inference.training.device import autocast
from pirtad.inference.training.progress import Progress
from pirtad.inference.training.run_directory import resume, save_checkpoint

B = TypeVar("B")
_CLIP_NORM = 1.0


def fit(
    config: RunConfig,
    device: torch.device,
    modules: Mapping[str, nn.Module],
    batches: Callable[[range], Iterator[B]],
    losses: Callable[[B, int], Mapping[str, torch.Tensor]],
    watch: Callable[[], Mapping[str, float]],
) -> None:
    """Train the modules (on `device` already) for what is left of config.total_steps, from the checkpoint if any.

    `losses` gives for a batch and its step what is written as metrics, "loss" being what is minimised; `watch` gives
    metrics of held-out cases at every checkpoint. Raises ValueError when the loss stops being a number.
    """
    optimiser = torch.optim.AdamW(
        _groups(list(modules.values()), config.weight_decay),
        lr=config.peak_learning_rate,
        betas=config.betas,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, config))
    state: dict[str, Any] = {**modules, "optimiser": optimiser, "schedule": schedule}
    first, total = resume(config.run, state), config.total_steps
    parameters = [value for module in modules.values() for value in module.parameters()]
    with Progress(config.run, total, first, config.tensorboard) as progress:
        for step, batch in enumerate(batches(range(first, total)), start=first):
            for module in modules.values():
                module.train()
            with autocast(device, config.bfloat16):
                parts = losses(batch, step)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(parts["loss"])
            nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
            optimiser.step()
            schedule.step()
            done = step + 1
            progress.advance(done)
            save = done % config.checkpoint_every_steps == 0 or done == total
            if save or done % config.report_every_steps == 0:
                record: dict[str, float] = {"step": done}
                record |= {name: round(float(value.detach()), 5) for name, value in parts.items()}
                if not math.isfinite(record["loss"]):
                    raise ValueError(f"the loss is not a number after step {done}: lower the learning rate")
                if save:
                    record |= watch()
                    save_checkpoint(config.run, state, done)
                progress.report(record)


def _groups(modules: Sequence[nn.Module], weight_decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and positions do not (as in ViT and MAE)."""
    values = [value for module in modules for value in module.parameters()]
    return [
        {"params": [value for value in values if value.ndim == 2], "weight_decay": weight_decay},
        {"params": [value for value in values if value.ndim != 2], "weight_decay": 0.0},
    ]


def _rate(step: int, config: RunConfig) -> float:
    """Share of the peak rate: a linear rise, then half a cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    share = (step - config.warmup_steps) / max(1, config.total_steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))

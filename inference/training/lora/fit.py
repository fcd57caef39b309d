"""The loop of a tuning: batches, gradients, checkpoints, and going on where it stopped.

What a step draws follows from seed and step alone, so on the same machine a run that was stopped ends with the same
weights, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pirtad.inference.training.lora.configuration import TuneConfig
from pirtad.inference.training.lora.tokens import Tokens, answer_loss, collate
from pirtad.inference.training.progress import METRICS_FILE, Progress
from pirtad.inference.training.run_directory import resume, save_checkpoint

_CLIP_NORM = 1.0


def fit(
    config: TuneConfig,
    model: Any,  # noqa: ANN401 - peft has no types
    examples: Sequence[Tokens],
    watch: Callable[[], dict[str, float]],
) -> dict[str, float]:
    """Train what is left of the run; returns the last held-out scores.

    `watch` is asked before the first step, after each epoch and at the end. Raises ValueError when the loss is not a
    number any more.
    """
    update = _Update(model)
    parameters = list(update.weights.values())
    optimiser = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
    an_epoch = math.ceil(len(examples) / config.batch_size)
    total = config.steps or config.epochs * an_epoch
    state = {"update": update, "optimiser": optimiser}
    first = resume(config.run, state)
    if not first:
        (config.run / METRICS_FILE).unlink(missing_ok=True)
    scores: dict[str, float] = {}
    with Progress(config.run, total, first, config.tensorboard) as progress:
        if not first:
            progress.report({"step": 0, **watch()})
        for step in range(first, total):
            # Dropout follows from seed and step, so a run that goes on draws as if it had never stopped.
            torch.manual_seed(int(np.random.SeedSequence((config.seed, step)).generate_state(1)[0]))
            chosen = [examples[one] for one in order_of(len(examples), config, step)]
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * _rate(step, total, config.warmup_steps)
            model.train()
            loss = _backward(model, chosen, config.micro_batch_size)
            norm = torch.nn.utils.clip_grad_norm_(parameters, _CLIP_NORM)
            done = step + 1
            if not math.isfinite(loss):
                raise ValueError(f"the loss is not a number at step {done}: lower the learning rate")
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            progress.advance(done)
            record = {"step": done, "loss": round(loss, 5), "gradient_norm": round(float(norm), 5)}
            watched = done % an_epoch == 0 or done == total
            if watched:
                scores = watch()
                record |= scores
            if watched or done % config.report_every_steps == 0:
                progress.report(record)
            if done % config.checkpoint_every_steps == 0 or done == total:
                save_checkpoint(config.run, state, done)
    return scores or watch()


def order_of(count: int, config: TuneConfig, step: int) -> list[int]:
    """Which of `count` examples a step takes: each once an epoch, in another order each epoch."""
    epoch, place = divmod(step, math.ceil(count / config.batch_size))
    order = np.random.default_rng((config.seed, epoch)).permutation(count)
    start = place * config.batch_size
    return [int(one) for one in order[start : start + config.batch_size]]


def _backward(model: Any, chosen: Sequence[Tokens], micro_batch_size: int) -> float:  # noqa: ANN401
    """Mean loss over the answers' tokens of the whole batch; its gradients are added up part by part."""
    answers, total = sum(one.answer for one in chosen), 0.0
    for start in range(0, len(chosen), micro_batch_size):
        batch = collate(chosen[start : start + micro_batch_size]).to(model.device)
        loss = answer_loss(model, batch) / answers
        torch.autograd.backward(loss)
        total += float(loss.detach())
    return total


def _rate(step: int, total: int, warmup_steps: int) -> float:
    """Share of the peak rate: a linear rise, then half a cosine to zero."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, total - warmup_steps)))


class _Update:
    """The trained weights of a model, by name, for a checkpoint."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - peft has no types
        self.weights = {name: value for name, value in model.named_parameters() if value.requires_grad}

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: value.detach() for name, value in self.weights.items()}

    def load_state_dict(self, saved: Mapping[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in self.weights.items():
                value.copy_(saved[name])

"""Examples as tokens: which of them the loss is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pirtad.inference.training.lora.examples import Example

# nn.functional.cross_entropy's own sign for a target that counts nothing.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Tokens:
    """ids: prompt, answer and the end of the turn. prompt: how many of them are the prompt's."""

    ids: tuple[int, ...]
    prompt: int

    @property
    def answer(self) -> int:
        """How many the loss is about."""
        return len(self.ids) - self.prompt


def tokens_of(example: Example, tokenizer: Any) -> Tokens:  # noqa: ANN401 - transformers has no types
    """The prompt as inference.report.constrained tokenises it, then the answer by itself, as a model goes on."""
    prompt = tokenizer.apply_chat_template(
        list(example.messages), tokenize=True, add_generation_prompt=True, return_dict=False
    )
    answer = tokenizer(example.answer, add_special_tokens=False)["input_ids"]
    return Tokens((*prompt, *answer, tokenizer.eos_token_id), len(prompt))


@dataclass(frozen=True, slots=True)
class Batch:
    """(B, L) int64 each. attention: 1 a token, 0 padding behind. labels: the ids of the answers, else IGNORED."""

    ids: torch.Tensor
    attention: torch.Tensor
    labels: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        """The same elsewhere."""
        return Batch(self.ids.to(device), self.attention.to(device), self.labels.to(device))


def collate(examples: Sequence[Tokens]) -> Batch:
    """At least one example, padded to the longest."""
    longest = max(len(one.ids) for one in examples)
    ids = torch.zeros(len(examples), longest, dtype=torch.long)
    attention, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, one in enumerate(examples):
        whole = torch.tensor(one.ids)
        ids[row, : len(whole)] = whole
        attention[row, : len(whole)] = 1
        labels[row, one.prompt : len(whole)] = whole[one.prompt :]
    return Batch(ids, attention, labels)


def answer_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Sum, not mean, of the cross-entropy of the answers' tokens, so that parts of a batch add up to the whole."""
    logits = model(input_ids=batch.ids, attention_mask=batch.attention).logits  # (B, L, vocabulary)
    predicted, wanted = logits[:, :-1], batch.labels[:, 1:]  # a token is predicted by what precedes it
    kept = wanted != IGNORED
    return nn.functional.cross_entropy(predicted[kept].float(), wanted[kept], reduction="sum")

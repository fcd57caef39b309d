"""What a model in training is worth on held-out examples: asked and judged as the product does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pirtad.inference.errors import LanguageModelUnavailable
from pirtad.inference.report.constrained import ConstrainedDecoder
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE
from pirtad.inference.report.fact_check import unsupported
from pirtad.inference.report.schema import INVALID_ANSWER, Draft, possible_answers
from pirtad.inference.training.lora.examples import Example
from pirtad.inference.training.lora.tokens import answer_loss, collate, tokens_of

_TIMEOUT_S = 600.0


class _OnDevice:
    """A model elsewhere for a decoder on the CPU."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers has no types
        self._model, self.config = model, model.config

    def __call__(self, input_ids: torch.Tensor, **more: Any) -> Any:  # noqa: ANN401 - transformers has no types
        output = self._model(input_ids=input_ids.to(self._model.device), **more)
        output.logits = output.logits.float().cpu()
        return output


class HeldOut:
    """Examples to ask a model again and again while it is tuned."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers and peft have no types
        tokenizer: Any,  # noqa: ANN401
        examples: Sequence[Example],
        micro_batch_size: int,
    ) -> None:
        """examples: at least one."""
        self._model, self._examples, self._micro_batch_size = model, examples, micro_batch_size
        self._tokens = [tokens_of(one, tokenizer) for one in examples]
        self._decoder = ConstrainedDecoder(_OnDevice(model), tokenizer)

    @property
    def longest(self) -> int:
        """Tokens of the longest example."""
        return max(len(one.ids) for one in self._tokens)

    def scores(self) -> dict[str, float]:
        """Of the model as it is now:

        held_out_loss: mean over the answers' tokens. pass_rate: share whose first answer, greedy and held to
        `possible_answers`, has nothing that `fact_check.unsupported` finds, "acute" not allowed, as nothing was
        measured. as_taught: share whose finding is the target's. true_territory: share whose finding has the truth's
        territory; the fact check leaves no room for more than the vote has.
        """
        self._model.eval()
        passed = taught = territory = 0
        for one in self._examples:
            draft = _answer(self._decoder, one)
            if draft is not None:
                passed += not unsupported(draft, one.registry, one.evidence, acute=False)
                taught += draft.findings == one.target.findings
                territory += FINDING_OF_SENTENCE[draft.findings].territory is one.truth.territory
        count = len(self._examples)
        return {
            "held_out_loss": round(self._loss(), 5),
            "pass_rate": round(passed / count, 4),
            "as_taught": round(taught / count, 4),
            "true_territory": round(territory / count, 4),
        }

    def _loss(self) -> float:
        total = 0.0
        with torch.inference_mode():
            for start in range(0, len(self._tokens), self._micro_batch_size):
                batch = collate(self._tokens[start : start + self._micro_batch_size]).to(self._model.device)
                total += float(answer_loss(self._model, batch))
        return total / sum(one.answer for one in self._tokens)


def _answer(decoder: ConstrainedDecoder, example: Example) -> Draft | None:
    """None for an answer that can't be used."""
    allowed = possible_answers(example.registry)
    try:
        return allowed.parse(
            decoder.complete(example.messages, allowed.json_schema(), allowed.max_tokens, _TIMEOUT_S).text
        )
    except LanguageModelUnavailable as error:
        if error.code != INVALID_ANSWER:
            raise
        return None

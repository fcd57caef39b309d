"""Greedy decoding held to a JSON schema: the grammar (llguidance) masks every token that can't lead to an instance.

Where the grammar leaves one continuation only, its tokens are appended without asking the model ("fast-forward"):
the model is called at real choices alone, and reads the forced text together with its next choice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.report.language_model import JsonSchema, Message
from pirtad.inference.report.schema import invalid_answer


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer and what it took."""

    text: str
    prompt_tokens: int
    tokens: int
    model_calls: int


class ConstrainedDecoder:
    """A causal language model with its tokeniser, on the CPU in float32. Deterministic; not for concurrent calls."""

    def __init__(self, model: Any, tokenizer: Any) -> None:  # noqa: ANN401 - transformers has no types
        """model, tokenizer: from transformers."""
        self._model = model
        self._tokenizer = tokenizer
        self._grammar_tokenizer = from_tokenizer(tokenizer)

    @classmethod
    def load(cls, directory: Path) -> ConstrainedDecoder:
        """From a directory written by `save_pretrained`; the network is never asked."""
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        return cls(model.eval(), tokenizer)

    def complete(
        self,
        messages: Sequence[Message],
        json_schema: JsonSchema,
        max_tokens: int,
        timeout_s: float,
        *,
        fast_forward: bool = True,
    ) -> Completion:
        """An instance of the schema, or LanguageModelUnavailable when it does not fit `max_tokens`, the model's
        context or the time; ModelMismatch for a schema outside what the grammar compiler takes.

        fast_forward: False asks the model for every token, to measure what the shortcut saves.
        """
        deadline_s = time.monotonic() + timeout_s
        matcher = self._matcher(json_schema)
        prompt = self._tokenizer.apply_chat_template(
            list(messages), tokenize=True, add_generation_prompt=True, return_dict=False
        )
        limit = min(max_tokens, self._model.config.max_position_embeddings - len(prompt))
        answer: list[int] = []
        unread = list(prompt)
        cache = DynamicCache()
        calls = 0
        while True:
            if fast_forward:
                forced = self._forced(matcher)
                answer += forced
                unread += forced
            if len(answer) > limit:
                raise invalid_answer(f"does not fit {limit} tokens")
            if matcher.is_stopped():
                break
            if time.monotonic() > deadline_s:
                raise LanguageModelUnavailable(
                    "llm_timeout", f"the local language model did not finish within {timeout_s:g} s"
                )
            token = self._next(unread, cache, matcher)
            calls += 1
            if token == self._tokenizer.eos_token_id:
                break
            _consume(matcher, [token])
            answer.append(token)
            unread = [token]
        text = self._grammar_tokenizer.decode_bytes(answer).decode("utf-8", errors="replace")
        return Completion(text, len(prompt), len(answer), calls)

    def _matcher(self, json_schema: JsonSchema) -> LLMatcher:
        # Without whitespace between the parts, nearly all of the text is forced.
        grammar = LLMatcher.grammar_from_json_schema(json.dumps(json_schema), overrides={"whitespace_flexible": False})
        matcher = LLMatcher(self._grammar_tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ModelMismatch("llm_schema_unsupported", "the grammar compiler does not take the report's schema")
        return matcher

    def _forced(self, matcher: LLMatcher) -> list[int]:
        """Tokens of the text the grammar leaves no choice about, consumed."""
        tokens: list[int] = []
        while forced := matcher.compute_ff_tokens():
            taken = forced[: matcher.validate_tokens(forced)]
            if not taken:
                # A registry may hold text such as "<|im_end|>". llguidance 1.9.1 forces (and masks for) the control
                # token of that name, which its own grammar refuses. Greedy tokens never are control tokens.
                text = matcher.compute_ff_bytes().decode("utf-8", errors="ignore")
                taken = self._grammar_tokenizer.greedy_tokenize(text)
            _consume(matcher, taken)
            tokens += taken
        return tokens

    def _next(self, unread: list[int], cache: DynamicCache, matcher: LLMatcher) -> int:
        """The allowed token with the greatest logit after reading `unread` (1, n) on top of `cache`."""
        with torch.inference_mode():
            output = self._model(
                input_ids=torch.tensor([unread]), past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            logits = output.logits[0, -1]  # (vocabulary,)
            allowed = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)
            return int(logits.masked_fill(allowed[: logits.shape[0]] == 0, float("-inf")).argmax())


def _consume(matcher: LLMatcher, tokens: Sequence[int]) -> None:
    if not tokens or not matcher.consume_tokens(list(tokens)):
        # The matcher's own message quotes the text, which is about a patient.
        raise invalid_answer("left the grammar it was held to")

"""Greedy decoding held to a JSON schema: the grammar (llguidance) masks every token that can't lead to an instance.

Where the grammar leaves one continuation only, its tokens are appended without asking the model ("fast-forward"):
the model is called at real choices alone, and reads the forced text together with its next choice.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from llguidance import LLMatcher
from llguidance.hf import from_tokenizer
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.report.language_model import JsonSchema, Message
from pirtad.inference.report.schema import invalid_answer

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
# As PEFT writes them; every other tensor (a bias, a magnitude, a whole layer) is more than a low-rank update.
_UPDATE = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)\.weight")
# Settings of PEFT 0.21 that are empty in a plain adapter: other factors for single layers, other ways of computing.
_MORE_THAN_AN_UPDATE = (
    *("rank_pattern", "alpha_pattern", "layer_replication", "modules_to_save", "target_parameters", "fan_in_fan_out"),
    *("trainable_token_indices", "alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config"),
    *("velora_config", "use_dora", "use_qalora", "use_bdlora", "lora_bias"),
)


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
    def load(cls, directory: Path, adapter_dir: Path | None = None) -> ConstrainedDecoder:
        """From a directory written by `save_pretrained`; the network is never asked.

        adapter_dir: a LoRA adapter as PEFT saves it, merged into the weights. Raises ModelMismatch for one of a kind
        that is not a plain low-rank update, or of another model.
        """
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
        if adapter_dir is not None:
            _merge(model, adapter_dir)
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


def _merge(model: nn.Module, adapter_dir: Path) -> None:
    """Replace each weight W by W + alpha / r * B A (Hu et al., arXiv 2106.09685, section 4.1). Without PEFT, which is
    needed for training alone."""
    try:
        config = json.loads((adapter_dir / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(adapter_dir / ADAPTER_WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise _not_mergeable(f"can't be read ({type(error).__name__})") from error
    changed = [name for name in _MORE_THAN_AN_UPDATE if config.get(name)]
    # A start from the base's singular vectors, for one, changes the base's own weights.
    if config.get("peft_type") != "LORA" or config.get("init_lora_weights", True) not in (True, False, "gaussian"):
        changed.append("peft_type or init_lora_weights")
    if changed:
        raise _not_mergeable(f"has settings that are not of a plain low-rank update: {', '.join(changed)}")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if (named := _UPDATE.fullmatch(name)) is None:
            raise _not_mergeable("holds more than low-rank updates")
        parts.setdefault(named[1], {})[named[2]] = value.float()
    layers = dict(model.named_modules())
    for name, pair in parts.items():
        layer = layers.get(name)
        if not isinstance(layer, nn.Linear) or pair.keys() != {"A", "B"}:
            raise _not_mergeable("is of a model with other layers")
        down, up = pair["A"], pair["B"]  # (r, in), (out, r)
        if (up.shape[0], down.shape[1]) != layer.weight.shape or up.shape[1] != down.shape[0]:
            raise _not_mergeable("is of a model with layers of other shapes")
        rank = down.shape[0]
        scale = float(config["lora_alpha"]) / (math.sqrt(rank) if config.get("use_rslora") else rank)
        layer.weight = nn.Parameter(layer.weight.detach() + (up @ down) * scale, requires_grad=False)
    if not parts:
        raise _not_mergeable("is empty")


def _not_mergeable(what: str) -> ModelMismatch:
    return ModelMismatch(
        "llm_adapter", f"the language model's adapter {what}", "train it again with `pirtad train lora`"
    )


def _consume(matcher: LLMatcher, tokens: Sequence[int]) -> None:
    if not tokens or not matcher.consume_tokens(list(tokens)):
        # The matcher's own message quotes the text, which is about a patient.
        raise invalid_answer("left the grammar it was held to")

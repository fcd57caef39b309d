"""A language model for tests and dry runs: no weights, no network."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pirtad.inference.report.language_model import JsonSchema, Message


@dataclass(frozen=True, slots=True)
class Request:
    """What `complete` was called with."""

    messages: tuple[Message, ...] = field(repr=False)
    json_schema: JsonSchema = field(repr=False)
    max_tokens: int
    timeout_s: float


class FakeLanguageModel:
    """Answers from a script, and after it the first instance that the schema allows. Keeps every request."""

    name = "fake"
    digest = "0" * 64

    def __init__(self, answers: Iterable[str | Exception] = ()) -> None:
        """answers: one for each call, in order; an exception is raised instead of answered."""
        self._answers = deque(answers)
        self.requests: list[Request] = []

    def complete(self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, timeout_s: float) -> str:
        """See `LanguageModel.complete`."""
        self.requests.append(Request(tuple(messages), json_schema, max_tokens, timeout_s))
        if not self._answers:
            return json.dumps(first_instance(json_schema), ensure_ascii=False)
        answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer


def first_instance(schema: JsonSchema) -> Any:  # noqa: ANN401 - JSON has no narrower type
    """The first instance of a schema made of objects, `const` and `enum`. Raises ValueError for anything else."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    if schema.get("type") == "object":
        return {name: first_instance(part) for name, part in schema["properties"].items()}
    raise ValueError("a schema with neither const, enum nor properties")

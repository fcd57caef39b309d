"""What the report needs of a language model, whoever runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypedDict


class Message(TypedDict):
    """One chat message."""

    role: Literal["system", "user"]
    content: str


JsonSchema = Mapping[str, Any]


class LanguageModel(Protocol):
    """A chat model that can be held to a JSON schema. Implementations are safe to call from several threads."""

    @property
    def name(self) -> str:
        """The name for the report's provenance."""
        ...

    @property
    def digest(self) -> str:
        """sha256 hex of the weights, or 'not provided' where only the operator of an endpoint could know it."""
        ...

    def complete(self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, timeout_s: float) -> str:
        """The model's answer, meant to be JSON that conforms to `json_schema`; the caller checks it all the same.

        max_tokens: most tokens of the answer. timeout_s: longest wait for the answer (loading a model not counted).

        Raises LanguageModelUnavailable when there is no whole answer this time, ModelMismatch when the installation
        must be mended first.
        """
        ...

"""A language model behind an OpenAI-compatible endpoint: vLLM, llama.cpp's server and others.

The endpoint sees the registry's text: it must be one that may. The environment's proxies are not used and redirects
are not followed, so that text goes to the named address and nowhere else.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import weakref
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, cast
from urllib.parse import urlsplit

from openai import APIConnectionError, APIStatusError, APITimeoutError, DefaultHttpxClient, OpenAI
from openai.types.chat import ChatCompletionMessageParam

from pirtad.inference.errors import InferenceError, LanguageModelUnavailable, ModelMismatch
from pirtad.inference.report.language_model import JsonSchema, Message
from pirtad.inference.report.report import NOT_PROVIDED
from pirtad.inference.report.schema import invalid_answer

DEFAULT_CONCURRENT_REQUESTS = 8
_LEAST_WAIT_S = 0.1
# What vLLM (vllm/v1/engine/__init__.py, FINISH_REASON_STRINGS) calls a request that it gave up.
_GIVEN_UP = frozenset({"abort", "error"})
# Slow, in conflict, too early, too many: the same request may pass later (RFC 9110 section 15.5, RFC 8470, RFC 6585).
_PASSING_STATUSES = frozenset({408, 409, 425, 429})


class SchemaDialect(StrEnum):
    """How an endpoint wants the schema in `response_format`."""

    JSON_SCHEMA = "json_schema"
    """OpenAI's form, which vLLM takes: {"type": "json_schema", "json_schema": {"schema": ...}}."""
    JSON_OBJECT = "json_object"
    """llama.cpp's server: {"type": "json_object", "schema": ...}."""


class OpenAIModel:
    """A `LanguageModel` over HTTP. One attempt a call: the queue decides about another.

    Threads share one limit of requests under way, so that a server's queue can't make every answer late.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: str = "",
        schema_dialect: SchemaDialect = SchemaDialect.JSON_SCHEMA,
        digest: str = NOT_PROVIDED,
        max_concurrent_requests: int = DEFAULT_CONCURRENT_REQUESTS,
    ) -> None:
        """base_url: e.g. http://127.0.0.1:8000/v1. model: a model or LoRA adapter that the endpoint serves.

        digest: sha256 hex of the weights, where the operator knows it; an endpoint can't be asked.
        max_concurrent_requests: of this object; more callers than that wait for their turn. Several adapters served by
        one endpoint are told apart by `model` alone.
        """
        # Older clients log whole requests at DEBUG, and these are about patients.
        logging.getLogger("openai").setLevel(logging.INFO)
        self._model = model
        self._schema_dialect = schema_dialect
        self._digest = digest
        self._address = _without_credentials(base_url)
        self._turns = threading.BoundedSemaphore(max_concurrent_requests)
        self._client = OpenAI(
            base_url=base_url,
            # Without a key the client would look for one in the environment.
            api_key=api_key or "none",
            max_retries=0,
            http_client=DefaultHttpxClient(trust_env=False, follow_redirects=False),
        )
        # A client that was handed in does not close itself; its connections end with this object.
        weakref.finalize(self, self._client.close)

    def __repr__(self) -> str:
        return f"OpenAIModel({self._address!r}, {self._model!r})"

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        return self._model

    @property
    def digest(self) -> str:
        """What the operator gave, or 'not provided'."""
        return self._digest

    def complete(self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, timeout_s: float) -> str:
        """See `LanguageModel.complete`. `timeout_s` bounds the wait for a turn together with the connection and each
        silence of the endpoint."""
        deadline_s = time.monotonic() + timeout_s
        if not self._turns.acquire(timeout=timeout_s):
            raise self._late(timeout_s, "was busy with this process's other requests for")
        try:
            # A turn that came at the last moment still has time to connect.
            left_s = max(deadline_s - time.monotonic(), _LEAST_WAIT_S)
            return self._ask(messages, json_schema, max_tokens, left_s, timeout_s)
        finally:
            self._turns.release()

    def _ask(
        self, messages: Sequence[Message], json_schema: JsonSchema, max_tokens: int, left_s: float, timeout_s: float
    ) -> str:
        try:
            response = self._client.chat.completions.with_raw_response.create(
                model=self._model,
                messages=cast("list[ChatCompletionMessageParam]", list(messages)),
                temperature=0,
                max_tokens=max_tokens,
                timeout=left_s,
                response_format=cast("Any", self._response_format(json_schema)),
            )
        # `from None`: the client's errors quote the endpoint's text, which may quote the prompt.
        except APITimeoutError:
            raise self._late(timeout_s, "did not answer within") from None
        except APIConnectionError:
            raise LanguageModelUnavailable(
                "llm_unreachable",
                f"{self._address} can't be reached, or closed the connection before it answered",
                "start the endpoint or correct language_model.base_url",
            ) from None
        except APIStatusError as error:
            raise self._refused(error.status_code) from None
        return _answer_in(response.http_response.content)

    def _late(self, timeout_s: float, what: str) -> LanguageModelUnavailable:
        return LanguageModelUnavailable(
            "llm_timeout",
            f"{self._address} {what} {timeout_s:g} s",
            "look at the endpoint's load, or raise language_model.timeout_s",
        )

    def _response_format(self, json_schema: JsonSchema) -> dict[str, Any]:
        if self._schema_dialect is SchemaDialect.JSON_OBJECT:
            return {"type": "json_object", "schema": dict(json_schema)}
        return {
            "type": "json_schema",
            "json_schema": {"name": "report", "strict": True, "schema": dict(json_schema)},
        }

    def _refused(self, status: int) -> InferenceError:
        if status >= 500 or status in _PASSING_STATUSES:
            return LanguageModelUnavailable(
                "llm_server_error",
                f"{self._address} answered with HTTP status {status}",
                "look at the endpoint's log; a llama.cpp server wants language_model.schema_dialect = json_object",
            )
        return ModelMismatch(
            "llm_request_refused",
            f"{self._address} refused the request for model {self._model} with HTTP status {status}",
            "check language_model: model (404), api_key (401, 403), schema_dialect and the context length (400)",
        )


def _answer_in(body: bytes) -> str:
    """The text of the first choice. Raises LanguageModelUnavailable when there is none or it was cut off."""
    try:
        choice = json.loads(body)["choices"][0]
        reason, content = choice["finish_reason"], choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        raise invalid_answer("is not a chat completion") from None
    if reason in _GIVEN_UP:
        # Nothing was wrong with the question: another attempt, where an invalid answer would end in the template.
        raise LanguageModelUnavailable(
            "llm_server_error", "the language model's server gave the request up", "look at the endpoint's log"
        )
    if reason != "stop":
        # A truncated answer comes with status 200; "length" says so.
        raise invalid_answer("was cut off" if reason == "length" else "did not end by itself")
    if not isinstance(content, str):
        raise invalid_answer("has no text")
    return content


def _without_credentials(url: str) -> str:
    """The URL without user and password, for texts that reach logs."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()

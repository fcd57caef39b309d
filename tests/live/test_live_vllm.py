"""A real vLLM server: the bundled model as the product converts it, and a LoRA adapter that the product's tuning made.

`make vllm` sets the server up and runs this. The tests share one server, and the last one ends it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest
from support import live, vllm_server
from support.vllm_cases import questions
from support.vllm_server import VllmServer

from pirtad.daemon.cli import model_checks
from pirtad.inference.errors import InferenceError, LanguageModelUnavailable, ModelMismatch
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.local_model import ADAPTER_MANIFEST, LocalModel, system_sha256
from pirtad.inference.report.openai_model import OpenAIModel
from pirtad.inference.report.schema import INVALID_ANSWER, AllowedAnswers, Draft, possible_answers, supported_answers
from pirtad.inference.training.lora.base import bundled
from pirtad.inference.training.lora.configuration import TuneConfig, recipe_sha256
from pirtad.inference.training.lora.examples import Example
from pirtad.inference.training.lora.tune import Corpus, tune
from pirtad.worker.engine import language_model
from pirtad.worker.settings import Settings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not vllm_server.PROGRAM.exists(), reason="no vLLM on this machine: `make vllm` sets it up"),
]

BASE, ADAPTER = "smollm2", "pirta-lora"
CACHE = live.ROOT / ".cache" / "vllm-adapter"
# For eight requests at a time on one busy core.
TIMEOUT_S = 900.0
TAUGHT = 2


@dataclass(frozen=True)
class Question:
    """A prompt and what may be answered."""

    example: Example
    allowed: AllowedAnswers

    def put_to(self, model: LanguageModel, timeout_s: float = TIMEOUT_S) -> str:
        return model.complete(self.example.messages, self.allowed.json_schema(), self.allowed.max_tokens, timeout_s)

    def draft_in(self, answer: str) -> Draft:
        """Fails for an answer that is not of the schema, by jsonschema's judgement and the product's."""
        jsonschema.validate(json.loads(answer), self.allowed.json_schema())
        return self.allowed.parse(answer)


@pytest.fixture(scope="module")
def asked() -> list[Question]:
    """As the first time, with the whole vocabulary; two as the second time, with what the evidence supports alone."""
    made = [Question(one, possible_answers(one.registry)) for one in questions()]
    for number in (1, 6):
        one = made[number].example
        made[number] = Question(one, supported_answers(one.registry, one.evidence, acute=True))
    return made


@pytest.fixture(scope="module")
def adapter_dir() -> Path:
    """Three steps of the product's own tuning on two of the questions: enough to say something else than the base.
    Made once a checkout; the run's directory is named by all that decides its result."""
    base, taught = bundled(live.MODEL_CACHE), questions()[:TAUGHT]
    recipe = TuneConfig(
        cache=CACHE, run=CACHE, out=CACHE, weights=CACHE, case_base=CACHE, models=live.MODEL_CACHE,
        steps=3, batch_size=2, micro_batch_size=1, warmup_steps=1, learning_rate=3e-3, rank=8, alpha=16,
        device="cpu", checkpoint_every_steps=100, name=ADAPTER, threads=1,
    )  # fmt: skip
    text = "".join(one.answer for one in taught)
    decisive = {"base": base.sha256, "system": system_sha256(), "answers": hashlib.sha256(text.encode()).hexdigest()}
    run = CACHE / recipe_sha256(recipe, decisive)[:12]
    config = dataclasses.replace(recipe, run=run, out=run / "adapter")
    if not (config.out / ADAPTER_MANIFEST).exists():  # which is written last
        origin = {"encoder_sha256": "e" * 64, "case_base_sha256": "c" * 64}
        # Each of the two often, so that an epoch, after which it is watched, is the whole run.
        tune(config, base, Corpus(taught * recipe.batch_size * 3, taught[:1], origin))
    return config.out


@pytest.fixture(scope="module")
def server(adapter_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    """vLLM with base and adapter."""
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    model_dir = bundled(live.MODEL_CACHE).directory
    with VllmServer(model_dir, BASE, log, {ADAPTER: adapter_dir}).running() as started:
        yield started


Chosen = Callable[[str], Settings]


@pytest.fixture
def chosen(server: VllmServer, tmp_path: Path) -> Chosen:
    """Settings that name a model of the server."""

    def make(model: str) -> Settings:
        there = {"backend": "openai", "base_url": server.base_url, "model": model}
        return Settings.model_validate({"storage": {"data_dir": tmp_path}, "language_model": there})

    return make


@pytest.fixture(scope="module")
def served_by_base(server: VllmServer, asked: list[Question]) -> list[str]:
    """The base model's answers, all asked at the same time."""
    return answers_of(OpenAIModel(server.base_url, BASE), asked)


def answers_of(model: LanguageModel, asked: Sequence[Question]) -> list[str]:
    with ThreadPoolExecutor(len(asked)) as callers:
        return list(callers.map(lambda one: one.put_to(model), asked))


def compared(title: str, asked: Sequence[Question], local: Sequence[str], served: Sequence[str]) -> str:
    """Each answer of both paths is checked; in words how many are the same."""
    drafts = [(one.draft_in(a), one.draft_in(b)) for one, a, b in zip(asked, local, served, strict=True)]
    same_draft = sum(a == b for a, b in drafts)
    same_bytes = sum(a == b for a, b in zip(local, served, strict=True))
    return (
        f"\n{title}: {len(drafts)} prompts, both paths valid in each; "
        f"the same draft in {same_draft}, the same bytes in {same_bytes}"
    )


def code_of(kind: type[InferenceError], question: Question, model: LanguageModel, timeout_s: float = TIMEOUT_S) -> str:
    with pytest.raises(kind) as caught:
        question.put_to(model, timeout_s)
    return caught.value.code


def test_doctor_knows_base_and_adapter(server: VllmServer, chosen: Chosen) -> None:
    assert server.served() == {BASE, ADAPTER}
    assert model_checks.language_model(chosen(BASE)).ok
    assert model_checks.language_model(chosen(ADAPTER)).ok
    other = model_checks.language_model(chosen("other"))
    assert not other.ok
    assert ADAPTER in other.detail


def test_both_paths_give_valid_answers_to_the_same_prompts(
    asked: list[Question], served_by_base: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = LocalModel(live.MODEL_CACHE)
    told = compared("base", asked, [one.put_to(model) for one in asked], served_by_base)
    with capsys.disabled():
        print(told)


def test_the_adapter_is_chosen_by_its_name(
    asked: list[Question],
    served_by_base: list[str],
    chosen: Chosen,
    adapter_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    numbers = (0, 4, 7)
    some = [asked[number] for number in numbers]
    model = LocalModel(live.MODEL_CACHE, adapter_dir=adapter_dir)
    served = answers_of(language_model(chosen(ADAPTER)), some)
    told = compared("adapter", some, [one.put_to(model) for one in some], served)
    differ = sum(answer != served_by_base[number] for number, answer in zip(numbers, served, strict=True))
    with capsys.disabled():
        print(f"{told}; other than the base's in {differ}")
    # What it was taught, and its base does not say
    assert served[0] == some[0].example.answer
    assert served_by_base[0] != some[0].example.answer


def test_an_answer_that_does_not_fit_is_unusable(asked: list[Question], chosen: Chosen) -> None:
    one, model = asked[0], language_model(chosen(BASE))
    with pytest.raises(LanguageModelUnavailable, match="was cut off") as caught:
        model.complete(one.example.messages, one.allowed.json_schema(), 5, TIMEOUT_S)
    assert caught.value.code == INVALID_ANSWER


def test_what_the_operator_has_to_mend(asked: list[Question], chosen: Chosen) -> None:
    # A model that is not served, and a context that is too short for prompt and answer
    assert code_of(ModelMismatch, asked[0], language_model(chosen("other"))) == "llm_request_refused"
    one, model = asked[0], language_model(chosen(BASE))
    with pytest.raises(ModelMismatch) as caught:
        model.complete(one.example.messages, one.allowed.json_schema(), 100_000, TIMEOUT_S)
    assert caught.value.code == "llm_request_refused"


def test_a_request_given_up_in_time_leaves_the_server_in_order(
    asked: list[Question], chosen: Chosen, server: VllmServer
) -> None:
    model = language_model(chosen(BASE))
    assert code_of(LanguageModelUnavailable, asked[0], model, timeout_s=0.5) == "llm_timeout"
    live.wait_for(lambda: not server.running_requests(), 60, "vLLM to drop the request")
    assert model_checks.language_model(chosen(BASE)).ok


def test_a_server_that_stops_in_mid_request_is_worth_another_attempt(
    asked: list[Question], chosen: Chosen, server: VllmServer
) -> None:
    model = language_model(chosen(BASE))
    with ThreadPoolExecutor(1) as caller:
        # Given a request under way
        pending = caller.submit(asked[0].put_to, model)
        live.wait_for(server.running_requests, 60, "the request to run", every_s=0.02)
        # When the server is told to stop
        server.stop()
        # Then the queue is told to try again, which it is not for an invalid answer
        with pytest.raises(LanguageModelUnavailable) as caught:
            pending.result(60)
    assert caught.value.code in {"llm_unreachable", "llm_server_error"}
    assert code_of(LanguageModelUnavailable, asked[0], model) == "llm_unreachable"
    assert not model_checks.language_model(chosen(BASE)).ok

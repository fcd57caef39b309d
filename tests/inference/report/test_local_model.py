"""The real bundled model. The first run on a checkout converts it (about 20 s to a minute)."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.findings import Territory
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, weigh
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.gguf_cache import bundled_gguf, file_sha256
from pirtad.inference.report.local_model import LocalModel
from pirtad.inference.report.prompt import chat_messages
from pirtad.inference.report.report import Registry
from pirtad.inference.report.schema import AllowedAnswers, supported_answers
from pirtad.inference.report.wording import reading

SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")


@pytest.fixture(scope="module")
def local(model_cache):
    """Loaded with every connection forbidden."""

    def refuse(*_):
        raise AssertionError("the local model must not use the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        model = LocalModel(model_cache)
        model.load()
        yield model


@pytest.fixture
def asked(registry, table_3):
    """Messages and allowed answers of table 3's case."""
    return chat_messages(registry, table_3), supported_answers(registry, weigh(table_3), acute=True)


def test_a_whole_report_of_the_real_model(local, registry, table_3, found):
    report = Generator(local, SOURCES).generate(registry, found(table_3))
    assert report.territory is Territory.ANTERIOR
    assert report.findings.startswith(tuple(reading(FINDING_OF_SENTENCE[case.finding]) for case in table_3))
    assert report.provenance.language_model == "SmolLM2-135M-Instruct.Q4_1"
    assert report.provenance.language_model_digest == file_sha256(bundled_gguf())


def test_text_the_tokeniser_finds_hard_comes_back_character_for_character(local, table_3, found):
    # Given quotes, backslashes, the model's own control tokens, and scripts of several bytes a character
    odd = Registry(75, "Female", 'said "no" \\ <|im_end|> 의식 변화 🧠', 0.0, "Диабет, 高血圧, {}[]")
    report = Generator(local, SOURCES).generate(odd, found(table_3))
    assert report.clinical_presentation == ('A 75-year-old Female patient with said "no" \\ <|im_end|> 의식 변화 🧠.')
    assert report.past_medical_history == "Диабет, 高血圧, {}[]"


@pytest.mark.slow
def test_the_longest_registry_fits_the_models_context(local, table_3, found):
    long = Registry(75, "Female", "의식변화" * 200, 0.0, "고혈압" * 400)
    report = Generator(local, SOURCES).generate(long, found(table_3))
    assert report.past_medical_history.startswith("고혈압고혈압")


def test_fast_forward_saves_model_calls_and_both_ways_conform(local, asked):
    # Given a schema with one choice (a short one: a call for every token is slow)
    statements = ("diffusion restriction", "no diffusion restriction")
    schema = AllowedAnswers({"nihss": ("32.0",), "findings": statements}).json_schema()
    decoder, messages = local.load(), asked[0]
    # When it is answered with and without the shortcut
    quick = decoder.complete(messages, schema, 99, 60)
    slow = decoder.complete(messages, schema, 99, 60, fast_forward=False)
    # Then both conform, and the shortcut asks the model at the choice only
    for completion in (quick, slow):
        answer = json.loads(completion.text)
        assert answer["nihss"] == "32.0"
        assert answer["findings"] in statements
    assert slow.model_calls >= slow.tokens > 10
    assert quick.model_calls <= 2


def test_the_same_question_gets_the_same_answer(local, asked):
    messages, allowed = asked
    assert len({local.complete(messages, allowed.json_schema(), allowed.max_tokens, 60) for _ in range(2)}) == 1


def test_a_schema_the_grammar_does_not_take_is_a_defect_not_a_retry(local, asked):
    with pytest.raises(ModelMismatch) as caught:
        local.complete(asked[0], {"type": "nonsense"}, 99, 60)
    assert caught.value.code == "llm_schema_unsupported"


def test_too_few_tokens_are_an_error_not_a_cut_report(local, asked):
    messages, allowed = asked
    with pytest.raises(LanguageModelUnavailable) as caught:
        local.complete(messages, allowed.json_schema(), 20, 60)
    assert caught.value.code == "llm_invalid_answer"


def test_time_spent_is_an_error(local, asked):
    messages, allowed = asked
    with pytest.raises(LanguageModelUnavailable) as caught:
        local.complete(messages, allowed.json_schema(), allowed.max_tokens, 0)
    assert caught.value.code == "llm_timeout"


def test_threads_take_turns_and_get_the_same_answer(local, asked):
    messages, allowed = asked
    alone = local.complete(messages, allowed.json_schema(), allowed.max_tokens, 60)
    answers = []
    threads = [
        threading.Thread(
            target=lambda: answers.append(local.complete(messages, allowed.json_schema(), allowed.max_tokens, 60))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 3
    assert json.loads(alone)["nihss"] == "32.0"

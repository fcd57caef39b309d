"""The contract with an OpenAI-compatible endpoint, against a real HTTP server on this machine."""

from __future__ import annotations

import gc
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server

import pytest

from pirtad.inference.errors import LanguageModelUnavailable, ModelMismatch
from pirtad.inference.findings import Territory
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.fake_model import first_instance
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.openai_model import OpenAIModel, SchemaDialect
from pirtad.inference.report.report import Basis
from pirtad.inference.report.schema import supported_answers
from pirtad.worker.engine import language_model
from pirtad.worker.settings import Settings

SOURCES = Sources("vit-b", "e" * 64, "pre-1", "c" * 64, "0.1.0")
SCHEMA = {"type": "object", "properties": {"a": {"const": "b"}}, "required": ["a"], "additionalProperties": False}
MESSAGES = ({"role": "system", "content": "S"}, {"role": "user", "content": "75-year-old secret"})


def completion(content, finish_reason="stop"):
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


class Endpoint:
    """Records requests; answers `status` with `body`, or with what `reply` makes of the request."""

    def __init__(self):
        self.requests: list[dict] = []
        self.headers: list[dict] = []
        self.paths: list[str] = []
        self.status = 200
        self.body = completion('{"a":"b"}')
        self.location = ""
        self.reply: Callable[[dict], str] | None = None
        self.hold: threading.Event | None = None
        self.on_request: Callable[[], None] = lambda: None
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(request)
                endpoint.headers.append({name.lower(): text for name, text in self.headers.items()})
                endpoint.paths.append(self.path)
                endpoint.on_request()
                if endpoint.hold is not None:
                    endpoint.hold.wait(10)
                    return
                body = (endpoint.reply(request) if endpoint.reply else endpoint.body).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                if endpoint.location:
                    self.send_header("Location", endpoint.location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    thread = threading.Thread(target=endpoint.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield endpoint
    if endpoint.hold is not None:
        endpoint.hold.set()
    endpoint.server.shutdown()
    endpoint.server.server_close()
    thread.join()


def ask(endpoint, timeout_s=10.0, **options):
    return OpenAIModel(endpoint.url, "smollm2-pirta", **options).complete(MESSAGES, SCHEMA, 64, timeout_s)


def test_the_request_asks_for_the_schema_greedily_and_once(endpoint):
    assert ask(endpoint, api_key="k3y") == '{"a":"b"}'
    assert endpoint.paths == ["/v1/chat/completions"]
    assert endpoint.requests == [
        {
            "model": "smollm2-pirta",
            "messages": list(MESSAGES),
            "temperature": 0,
            "max_tokens": 64,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "report", "strict": True, "schema": SCHEMA},
            },
        }
    ]
    assert endpoint.headers[0]["authorization"] == "Bearer k3y"


def test_llama_cpps_dialect(endpoint):
    ask(endpoint, schema_dialect=SchemaDialect.JSON_OBJECT)
    assert endpoint.requests[0]["response_format"] == {"type": "json_object", "schema": SCHEMA}


def test_key_and_proxy_of_the_environment_are_not_used(endpoint, monkeypatch):
    # Given an environment that would send the patient's text elsewhere
    monkeypatch.setenv("OPENAI_API_KEY", "someone-elses")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    # Then the endpoint is asked directly and without that key
    ask(endpoint)
    assert "someone-elses" not in json.dumps(endpoint.headers)


def test_a_report_over_http(endpoint, registry, table_3, found):
    # Given a server that honours the schema
    endpoint.reply = lambda request: completion(
        json.dumps(first_instance(request["response_format"]["json_schema"]["schema"]))
    )
    report = Generator(OpenAIModel(endpoint.url, "m", digest="d" * 64), SOURCES).generate(registry, found(table_3))
    assert report.territory is Territory.ANTERIOR
    assert (report.provenance.language_model, report.provenance.language_model_digest) == ("m", "d" * 64)


def test_a_server_that_ignores_the_schema_states_nothing(endpoint, registry, table_3, found):
    # Given a server that takes the field and does not honour it, as vLLM does with unknown ones
    endpoint.body = completion('{"findings": "Large left MCA infarction."}')
    report = Generator(OpenAIModel(endpoint.url, "m"), SOURCES).generate(registry, found(table_3))
    assert report.basis is Basis.TEMPLATE
    assert "left" not in report.text()


def test_a_whole_answer_marked_as_cut_is_not_trusted(endpoint, registry, table_3, found):
    schema = supported_answers(registry, weigh(table_3), acute=True).json_schema()
    endpoint.body = completion(json.dumps(first_instance(schema)), finish_reason="length")
    report = Generator(OpenAIModel(endpoint.url, "m"), SOURCES).generate(registry, found(table_3))
    assert report.basis is Basis.TEMPLATE


@pytest.mark.parametrize(
    "body",
    [
        completion('{"a":', "length"),
        completion('{"a":"b"}', "content_filter"),
        completion('{"a":"b"}', None),
        completion('{"a":"b"}', "repetition"),
        completion(None),
        "not JSON",
        "",
        "null",
        "{}",
        '{"choices": []}',
        '{"choices": [{}]}',
        '{"error": {"message": "75-year-old secret"}}',
    ],
)
def test_an_unusable_body_is_worth_another_attempt(endpoint, body):
    endpoint.body = body
    with pytest.raises(LanguageModelUnavailable) as caught:
        ask(endpoint)
    assert caught.value.code == "llm_invalid_answer"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_request_that_the_server_gave_up_does_not_end_in_the_template(endpoint, registry, table_3, found, reason):
    # Given a server that is told to stop, and says so with status 200 and half an answer
    endpoint.body = completion('{"clinical', finish_reason=reason)
    # Then the study waits for another attempt, and no second answer is asked for
    with pytest.raises(LanguageModelUnavailable) as caught:
        Generator(OpenAIModel(endpoint.url, "m"), SOURCES).generate(registry, found(table_3))
    assert caught.value.code == "llm_server_error"
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (500, LanguageModelUnavailable, "llm_server_error"),
        (503, LanguageModelUnavailable, "llm_server_error"),
        (429, LanguageModelUnavailable, "llm_server_error"),
        (408, LanguageModelUnavailable, "llm_server_error"),
        (400, ModelMismatch, "llm_request_refused"),
        (401, ModelMismatch, "llm_request_refused"),
        (404, ModelMismatch, "llm_request_refused"),
        (422, ModelMismatch, "llm_request_refused"),
    ],
)
def test_a_status_says_whether_to_try_again(endpoint, status, error, code):
    # Given a server that refuses, quoting the prompt
    endpoint.status, endpoint.body = status, '{"error": {"message": "75-year-old secret"}}'
    with pytest.raises(error) as caught:
        ask(endpoint, api_key="k3y")
    # Then the error says where and what to do, and tells nothing of the patient; one attempt was made
    assert caught.value.code == code
    assert endpoint.url in caught.value.reason
    assert str(status) in caught.value.reason
    assert caught.value.hint
    assert caught.value.__suppress_context__
    assert "secret" not in caught.value.reason + caught.value.hint
    assert len(endpoint.requests) == 1


def test_a_redirect_is_not_followed(endpoint):
    endpoint.status, endpoint.location = 307, f"{endpoint.url}/elsewhere"
    with pytest.raises(ModelMismatch):
        ask(endpoint)
    assert endpoint.paths == ["/v1/chat/completions"]


def test_a_silent_server_is_given_up_in_time(endpoint):
    endpoint.hold = threading.Event()
    with pytest.raises(LanguageModelUnavailable) as caught:
        ask(endpoint, timeout_s=0.2)
    assert caught.value.code == "llm_timeout"
    assert len(endpoint.requests) == 1


def test_no_more_requests_at_a_time_than_allowed(endpoint):
    # Given a server that answers two requests only once both are there, and notes how many it has at a time
    both, guard, under_way, most = threading.Barrier(2, timeout=10), threading.Lock(), [0], [0]

    def reply(_request):
        with guard:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        both.wait()
        with guard:
            under_way[0] -= 1
        return completion('{"a":"b"}')

    endpoint.reply = reply
    wanted = {"backend": "openai", "base_url": endpoint.url, "model": "m", "max_concurrent_requests": 2}
    model = language_model(Settings.model_validate({"language_model": wanted}))
    # When six callers ask one client
    with ThreadPoolExecutor(6) as callers:
        answers = list(callers.map(lambda _: model.complete(MESSAGES, SCHEMA, 64, 10.0), range(6)))
    # Then each gets its answer, two at a time
    assert answers == ['{"a":"b"}'] * 6
    assert most == [2]


def test_waiting_for_a_turn_counts_as_waiting(endpoint):
    # Given a client whose one turn is taken
    endpoint.hold, received = threading.Event(), threading.Event()
    model = OpenAIModel(endpoint.url, "m", max_concurrent_requests=1)
    endpoint.on_request = received.set
    with ThreadPoolExecutor(1) as callers:
        first = callers.submit(model.complete, MESSAGES, SCHEMA, 64, 10.0)
        assert received.wait(10)
        # Then another caller gives up in its time, without asking
        with pytest.raises(LanguageModelUnavailable, match="other requests") as caught:
            model.complete(MESSAGES, SCHEMA, 64, 0.1)
        endpoint.hold.set()
        # and the turn comes back, however the first request ended
        with pytest.raises(LanguageModelUnavailable):
            first.result(10)
    assert caught.value.code == "llm_timeout"
    assert len(endpoint.requests) == 1
    endpoint.hold = None
    assert model.complete(MESSAGES, SCHEMA, 64, 10.0) == '{"a":"b"}'


def test_connections_end_with_the_model(endpoint):
    model = OpenAIModel(endpoint.url, "m")
    model.complete(MESSAGES, SCHEMA, 64, 10.0)
    client = model._client
    assert not client.is_closed()
    del model
    gc.collect()
    assert client.is_closed()


def test_nobody_there_names_the_address_without_its_password():
    # Given a port where nobody listens
    with closing(create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    model = OpenAIModel(f"http://user:pa55@127.0.0.1:{port}/v1", "m", api_key="k3y")
    with pytest.raises(LanguageModelUnavailable) as caught:
        model.complete(MESSAGES, SCHEMA, 64, 5)
    assert caught.value.code == "llm_unreachable"
    assert f"http://127.0.0.1:{port}/v1" in caught.value.reason
    for text in (caught.value.reason, repr(model)):
        assert "pa55" not in text
        assert "k3y" not in text


def test_the_client_logs_no_prompt_even_at_debug(endpoint, caplog):
    with caplog.at_level(logging.DEBUG):
        ask(endpoint)
    assert "secret" not in caplog.text

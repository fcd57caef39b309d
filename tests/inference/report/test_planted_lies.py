"""Whatever a language model, a registry or a case base says, a report states what is known and nothing else."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from support.lies import INJECTION, LIES, NORMAL, PATIENTS, POSTERIOR_LACUNE, SOURCES, Lie, Patient, objections

from pirtad.inference.errors import ModelMismatch
from pirtad.inference.findings import Finding, InfarctType, SignalClass, Territory
from pirtad.inference.models.digest import sha256_of
from pirtad.inference.models.manifest import EncoderManifest
from pirtad.inference.models.vit import ViTConfig
from pirtad.inference.preprocess.network_input import PREPROCESSING_VERSION
from pirtad.inference.report.fake_model import FakeLanguageModel
from pirtad.inference.report.generate import Generator
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.openai_model import OpenAIModel
from pirtad.inference.report.report import Basis, Registry, Report, SimilarCase
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase

ENCODER = EncoderManifest("untrained", "0" * 64, PREPROCESSING_VERSION, ViTConfig(), "test", "2026-01-01")
MEASURED = PATIENTS["measured"]
HONEST = json.dumps(MEASURED.told)
FORMS = {
    "extra key": json.dumps({**MEASURED.told, "treatment": "thrombolysis"}),
    "missing key": json.dumps({k: v for k, v in MEASURED.told.items() if k != "nihss"}),
    "repeated key": HONEST[:-1] + ', "findings": "Haemorrhage."}',
    "repeated key, the lie first": '{"findings": "Haemorrhage.", ' + HONEST[1:],
    "repeated key by its escape": HONEST[:-1] + ', "\\u0066indings": "Haemorrhage."}',
    "nested": json.dumps({"report": MEASURED.told}),
    "an object for a sentence": json.dumps({**MEASURED.told, "findings": {"text": MEASURED.told["findings"]}}),
    "a list of sentences": json.dumps({**MEASURED.told, "findings": [MEASURED.told["findings"], "Haemorrhage."]}),
    "a number": json.dumps({**MEASURED.told, "nihss": 41.5}),
    "a number of ten thousand digits": HONEST.replace('"not provided"', "4" * 10_000),
    "not a number": HONEST.replace('"not provided"', "NaN"),
    "null": json.dumps({**MEASURED.told, "nihss": None}),
    "truncated": HONEST[:-20],
    "a megabyte": json.dumps({**MEASURED.told, "findings": "Haemorrhage. " * 80_000}),
    "a megabyte of brackets": "[" * 1_000_000,
    "a megabyte of space, then a lie": HONEST + " " * 1_000_000 + "Haemorrhage.",
    "trailing text": HONEST + "\nAddendum: thrombolysis.",
    "two objects": HONEST + HONEST,
    "leading text": "Here is the report: " + HONEST,
    "fenced": f"```json\n{HONEST}\n```",
    "a byte order mark": "\ufeff" + HONEST,
    "lone surrogate": json.dumps({**MEASURED.told, "findings": "\ud800"}),
    "an array": json.dumps(list(MEASURED.told.values())),
    "a string": json.dumps(HONEST),
    "nothing": "",
}


def completion(content: object, finish_reason: str = "stop") -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}
    return json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


class Endpoint:
    """Answers each request with the next of `bodies`, status 200, and keeps what it was asked."""

    def __init__(self) -> None:
        self.bodies: deque[str] = deque()
        self.asked: list[dict] = []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                endpoint.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                body = endpoint.bodies.popleft().encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def model(self) -> OpenAIModel:
        return OpenAIModel(f"http://127.0.0.1:{self.server.server_port}/v1", "lying-model")


@pytest.fixture(scope="module")
def server() -> Iterator[Endpoint]:
    served = Endpoint()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.server.shutdown()
    served.server.server_close()
    thread.join()


@pytest.fixture
def endpoint(server: Endpoint) -> Endpoint:
    server.bodies.clear()
    server.asked.clear()
    return server


def drafted(model: LanguageModel, patient: Patient, registry: Registry | None = None) -> Report:
    return Generator(model, SOURCES).generate(registry or patient.registry, patient.analysis())


def told(lie: Lie) -> str:
    return json.dumps({**PATIENTS[lie.patient].told, **lie.told})


def holds_nothing_of(report: Report, marks: tuple[str, ...]) -> bool:
    texts = (report.text(), report.to_json().replace(json.dumps(report.text()), ""))
    plain = [text.casefold().replace("not assessed: haemorrhage", "") for text in texts]
    return not any(mark.casefold() in text for mark in marks for text in plain)


@pytest.mark.parametrize("patient", PATIENTS.values(), ids=PATIENTS)
def test_the_truth_passes_at_the_first_question(patient: Patient) -> None:
    # Without this the tests below would hold for a generator that refuses everything
    model = FakeLanguageModel([json.dumps(patient.told)])
    report = drafted(model, patient)
    assert (report.basis, len(model.requests)) == (Basis.ANSWER, 1)
    assert objections(report, patient) == []


def test_the_oracle_objects() -> None:
    # Given reports with one thing wrong in each
    honest = drafted(FakeLanguageModel([HONEST]), MEASURED)
    wrong = {
        "side": replace(honest, impression=honest.impression.replace("right", "left")),
        "number": replace(honest, findings=f"{honest.findings} 3"),
        "word": replace(honest, impression=f"{honest.impression} No hemorrhage."),
        "score": replace(honest, nihss="14.0"),
        "measure": replace(honest, measured=()),
    }
    # Then it finds each
    assert [name for name, report in wrong.items() if not objections(report, MEASURED)] == []


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_told_twice_leaves_the_template(lie: Lie) -> None:
    # Given a model that lies in both answers
    patient = PATIENTS[lie.patient]
    model = FakeLanguageModel([told(lie)] * 2)
    report = drafted(model, patient)
    # Then the report is the vote's own sentence, says so, and holds nothing of the lie
    assert (report.basis, len(model.requests)) == (Basis.TEMPLATE, 2)
    assert "Written from the template, filled from the vote of the similar cases." in report.text()
    assert (report.findings, report.impression) == (patient.findings[0], patient.impressions[0])
    assert objections(report, patient) == []
    assert holds_nothing_of(report, lie.marks)


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_told_once_over_http_costs_a_question(endpoint: Endpoint, lie: Lie) -> None:
    # Given an endpoint that ignores the schema of its first answer
    patient = PATIENTS[lie.patient]
    endpoint.bodies.extend([completion(told(lie)), completion(json.dumps(patient.told))])
    report = drafted(endpoint.model(), patient)
    # Then the second answer stands, and the second question offered nothing of the lie
    assert report.basis is Basis.SECOND_ANSWER
    assert objections(report, patient) == []
    assert holds_nothing_of(report, lie.marks)
    offered = endpoint.asked[1]["response_format"]["json_schema"]["schema"]["properties"]
    for section, text in lie.told.items():
        assert text not in offered[section].get("enum", [offered[section].get("const")])


@pytest.mark.parametrize("answer", FORMS.values(), ids=FORMS)
def test_an_answer_of_another_form_is_no_answer(answer: str) -> None:
    report = drafted(FakeLanguageModel([answer] * 2), MEASURED)
    assert report.basis is Basis.TEMPLATE
    assert objections(report, MEASURED) == []
    assert holds_nothing_of(report, ("haemorrhag", "thrombo", "41.5", "addendum", "treatment", "here is the"))


BODIES = {
    "cut off": completion(HONEST, "length"),
    "filtered": completion(HONEST, "content_filter"),
    "a tool's": completion(HONEST, "tool_calls"),
    "no reason to end": json.dumps({"choices": [{"message": {"content": HONEST}}]}),
    "null": completion(None),
    "parts": completion([{"type": "text", "text": HONEST}]),
    "no choice": json.dumps({"choices": []}),
    "the report itself": HONEST,
    "an error with status 200": json.dumps({"error": {"message": "No hemorrhage."}}),
    "no JSON": "<html>No hemorrhage.</html>",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_completion_that_did_not_end_is_no_answer(endpoint: Endpoint, body: str) -> None:
    # Even though what it holds would be supported
    endpoint.bodies.extend([body] * 2)
    report = drafted(endpoint.model(), MEASURED)
    assert report.basis is Basis.TEMPLATE
    assert objections(report, MEASURED) == []


@pytest.mark.parametrize("answer", [FORMS["a megabyte"], FORMS["repeated key"]], ids=["a megabyte", "repeated key"])
def test_a_form_over_http_is_no_answer_either(endpoint: Endpoint, answer: str) -> None:
    endpoint.bodies.extend([completion(answer)] * 2)
    assert drafted(endpoint.model(), MEASURED).basis is Basis.TEMPLATE


# In the evidence


@pytest.mark.parametrize(
    "finding",
    [
        *(text for lie in LIES.values() if lie.patient == "measured" for text in [lie.told.get("findings")] if text),
        f"{MEASURED.similar[0].finding}\n{POSTERIOR_LACUNE}",
        MEASURED.similar[0].finding.lower(),
        f" {MEASURED.similar[0].finding}",
        "",
    ],
)
@pytest.mark.parametrize("rank", [0, 4], ids=["the most similar", "the least similar"])
def test_a_lie_in_the_case_base_is_refused(finding: str, rank: int) -> None:
    # Given a retrieved case whose sentence is not one of its territory, wherever it ranks
    similar = list(MEASURED.similar)
    similar[rank] = replace(similar[rank], territory=Territory.DEEP_GRAY_MATTER, finding=finding)
    model = FakeLanguageModel()
    # Then no report leaves, the model never sees it, and the error does not repeat it
    with pytest.raises(ModelMismatch) as caught:
        Generator(model, SOURCES).generate(MEASURED.registry, replace(MEASURED.analysis(), similar=tuple(similar)))
    assert caught.value.code == "case_base_finding"
    assert model.requests == []
    assert not finding.strip() or finding not in str(caught.value)


def test_a_retrieved_reports_text_goes_nowhere() -> None:
    # Given cases whose free text would command the model
    vectors = np.eye(4, dtype=np.float32)
    finding = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
    cases = [Case(f"sim-{n}", finding, f"{INJECTION} Left PICA occlusion.", "Haemorrhage registry.") for n in range(4)]
    query = (0.9 * vectors[0] + np.sqrt(0.19) * vectors[1]).astype(np.float32)
    similar = CaseBase.build(cases, vectors, ENCODER).search(query, 4)
    # When a report is drafted from them
    model = FakeLanguageModel()
    patient = replace(PATIENTS["not measured"], similar=similar)
    report = drafted(model, patient)
    # Then prompt and report hold the structured sentence alone
    assert {case.finding for case in report.similar} == {POSTERIOR_LACUNE}
    seen = report.text() + report.to_json() + repr([request.messages for request in model.requests])
    assert not any(word in seen for word in ("Ignore", "im_end", "PICA", "Haemorrhage registry", "41.5"))


LINES = {
    "a sentence for a territory": ('"territory": "posterior"', '"territory": "left posterior, haemorrhage"'),
    "a sentence for a type": ('"infarct_type": "small lacune"', '"infarct_type": "haemorrhage of 32 mm"'),
    "a sentence for a signal": ('"signal_class": "strong"', '"signal_class": "strong left"'),
    "a sentence for an id": ('"case_id": "sim-1"', '"case_id": "sim-1 left M1 occlusion"'),
    "a type without a lesion": ('"territory": "posterior"', '"territory": "normal"'),
}


@pytest.mark.parametrize(("written", "lie"), LINES.values(), ids=LINES)
def test_a_forged_case_base_does_not_load(tmp_path, written: str, lie: str) -> None:
    # Given a case base altered by someone who knows how to make its digests fit
    finding = Finding(Territory.POSTERIOR, SignalClass.STRONG, InfarctType.SMALL_LACUNE)
    cases = [Case(f"sim-{n}", finding, "A report.", "test") for n in range(4)]
    CaseBase.build(cases, np.eye(4, dtype=np.float32), ENCODER).save(tmp_path / "cases")
    lines, manifest = tmp_path / "cases" / "cases.jsonl", tmp_path / "cases" / "manifest.json"
    text = lines.read_text(encoding="utf-8")
    assert written in text
    lines.write_text(text.replace(written, lie, 1), encoding="utf-8")
    signed = json.loads(manifest.read_text(encoding="utf-8")) | {"cases_sha256": sha256_of(lines)}
    manifest.write_text(json.dumps(signed), encoding="utf-8")
    with pytest.raises(ModelMismatch) as caught:
        CaseBase.load(tmp_path / "cases", ENCODER)
    assert caught.value.code == "case_base_content"
    assert lie not in str(caught.value)


# In the registry


def test_an_injection_in_the_registry_stays_the_registrys_word() -> None:
    # Given a request's text that commands the model, and a model that obeys
    registry = replace(MEASURED.registry, presentation=INJECTION, history=f"{INJECTION}\n### Findings: normal")
    obeying = json.dumps({**MEASURED.told, "findings": "No hemorrhage", "nihss": "41.5", "impression": NORMAL})
    model = FakeLanguageModel([obeying, obeying])
    report = drafted(model, MEASURED, registry)
    # Then it is quoted where the registry is, and nowhere else
    assert report.basis is Basis.TEMPLATE
    assert INJECTION in report.clinical_presentation
    quoted = replace(report, clinical_presentation=MEASURED.presentation, past_medical_history=MEASURED.history)
    assert objections(quoted, MEASURED) == []
    assert holds_nothing_of(quoted, ("ignore", "hemorrhag", "41.5", "<|im"))


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<|im_start|>system",
        "</s>",
        "<s>",
        "<end_of_turn>",
        "<|eot_id|>",
        "<｜end▁of▁sentence｜>",
        "<<SYS>>",
        "[/INST]",
    ],
)
def test_no_control_token_of_a_model_reaches_the_prompt(token: str) -> None:
    model = FakeLanguageModel()
    drafted(model, MEASURED, replace(MEASURED.registry, presentation=f"a{token}b", history=token, sex=token))
    for request in model.requests:
        assert token not in repr(request.messages)
        assert "im_end" not in token or "im_end" in repr(request.messages)


@pytest.mark.parametrize("number", ["<3 h", "< 3 h", "BP <90/60", "onset <=4.5 h", "a < b", "3<"])
def test_comparisons_in_the_registry_stay_as_they_are(number: str) -> None:
    model = FakeLanguageModel()
    drafted(model, MEASURED, replace(MEASURED.registry, presentation=number))
    assert number in model.requests[0].messages[1]["content"]


@pytest.mark.parametrize(
    "invisible",
    [
        "\N{RIGHT-TO-LEFT OVERRIDE}",
        "\N{ZERO WIDTH SPACE}",
        "\N{LEFT-TO-RIGHT ISOLATE}",
        "\ufeff",
        "\U000e0041",
        "\ue000",
    ],
)
def test_invisible_characters_of_the_registry_reach_nobody(invisible: str) -> None:
    # Given text that would be read in another order than it is written, or not be seen at all
    registry = replace(MEASURED.registry, presentation=f"no {invisible}weakness", history=f"D{invisible}M")
    model = FakeLanguageModel()
    report = drafted(model, MEASURED, registry)
    assert report.clinical_presentation == "A 75-year-old Female patient with no weakness."
    assert report.past_medical_history == "DM"
    assert invisible not in "".join(str(message["content"]) for message in model.requests[0].messages)


def test_a_case_of_no_finite_similarity_supports_nothing() -> None:
    case = SimilarCase("sim-1", float("nan"), Territory.NORMAL, NORMAL)
    with pytest.raises(ModelMismatch):
        Generator(FakeLanguageModel(), SOURCES).generate(
            MEASURED.registry, replace(MEASURED.analysis(), similar=(case,))
        )

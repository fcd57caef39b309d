"""Registry facts through the API."""

from __future__ import annotations

import json
import logging

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from support.filled_ledger import fill, uid_of
from support.web import NOW

from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import registry_facts, views
from pirtad.worker.ledger.database import Database
from pirtad.worker.registry.facts import MAX_BODY_BYTES

COMING = "1.2.840.99.77"
FACTS = {"age_years": 75, "sex": "Female", "nihss": 12, "presentation": "Aphasia", "history": "Lupus"}
JSON = {"content-type": "application/json"}


def put(web: TestClient, body: object, study_uid: str = COMING) -> Response:
    return web.put(f"/api/studies/{study_uid}/registry", json=body)


def test_facts_for_a_study_to_come_are_kept_with_giver_and_time(web: TestClient, ledger: Database) -> None:
    answer = put(web, {**FACTS, "patient_id": "PID-1", "given_by": "HIS gateway"})

    assert answer.status_code == 200
    assert answer.json() == {
        "study_uid": COMING,
        "given_at": NOW,
        "given_by": "HIS gateway",
        "kept": ["age_years", "history", "nihss", "patient_id", "presentation", "sex"],
        "told": "kept; the study has not come yet",
    }
    giving = registry_facts.newest(ledger, COMING)
    assert giving is not None
    assert giving.facts == {**FACTS, "patient_id": "PID-1"}
    shown = web.get(f"/api/studies/{COMING}/registry")
    assert shown.json()["facts"] == giving.facts
    assert shown.headers["cache-control"] == "no-store"


def test_the_giver_is_the_address_where_none_is_named_and_the_newest_facts_replace_the_others(
    web: TestClient, ledger: Database
) -> None:
    put(web, FACTS)
    assert put(web, {"nihss": 4}).json()["given_by"] == "testclient"
    giving = registry_facts.newest(ledger, COMING)
    assert giving is not None
    assert (giving.facts, giving.via) == ({"nihss": 4}, "api")


@pytest.mark.parametrize("state", [StudyState.RECEIVING, StudyState.QUEUED, StudyState.WAITING, StudyState.CANCELLED])
def test_a_study_on_its_way_takes_them(web: TestClient, ledger: Database, state: StudyState) -> None:
    fill(ledger, NOW)
    assert put(web, FACTS, uid_of(state)).status_code == 200
    assert registry_facts.newest(ledger, uid_of(state)) is not None


def test_a_reported_study_does_not_and_says_what_can_be_done(web: TestClient, ledger: Database) -> None:
    fill(ledger, NOW)
    reported = uid_of(StudyState.REPORTED)
    before = views.study(ledger, reported)
    answer = put(web, FACTS, reported)
    assert answer.status_code == 409
    assert "radiologist" in answer.json()["detail"]
    assert "pirtad retract" in answer.json()["detail"]
    assert registry_facts.newest(ledger, reported) is None
    assert views.study(ledger, reported) == before


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'{"nihss": 43}', 422),
        (b'{"nihss": 4, "nihss": 40}', 422),
        (b'{"nihss": NaN}', 422),
        (b'{"history": "Lupus\\u0000"}', 422),
        (b'{"history": "\\ud800"}', 422),
        (b'{"given_by": "a\\nb\\u0007", "nihss": 4}', 422),
        (b'{"given_by": "HIS"}', 422),
        (b'{"Lupus": 4}', 422),
        (b"{}", 422),
        (b"[4]", 422),
        (b"\xff\xfe", 422),
        (b"", 422),
        (b"[" * 10_000, 422),
        (b'{"history": "' + b"x" * MAX_BODY_BYTES + b'"}', 413),
    ],
)
def test_a_bad_request_is_refused_without_quoting_it(
    web: TestClient, ledger: Database, content: bytes, status: int
) -> None:
    answer = web.put(f"/api/studies/{COMING}/registry", content=content, headers=JSON)
    assert answer.status_code == status
    assert "Lupus" not in answer.text
    assert registry_facts.newest(ledger, COMING) is None


def test_what_is_no_json_or_no_uid_is_refused(web: TestClient) -> None:
    form = web.put(f"/api/studies/{COMING}/registry", content=b'{"nihss": 4}', headers={"content-type": "text/plain"})
    assert form.status_code == 415
    assert put(web, FACTS, "patient-7").status_code == 422
    assert web.get("/api/studies/1.2.3/registry").status_code == 404


def test_they_can_be_taken_back(web: TestClient, ledger: Database) -> None:
    put(web, FACTS)
    assert web.delete(f"/api/studies/{COMING}/registry").status_code == 200
    assert registry_facts.newest(ledger, COMING) is None


def test_a_page_of_another_origin_can_not_give_facts(web: TestClient, ledger: Database) -> None:
    # A browser asks first whether it may, and is not told so
    path = f"/api/studies/{COMING}/registry"
    asked = web.options(path, headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "PUT"})
    assert asked.status_code == 405
    assert "access-control-allow-origin" not in asked.headers
    # and a name that was made to point here is not ours
    assert web.put(path, json=FACTS, headers={"Host": "evil.example"}).status_code == 400
    assert registry_facts.newest(ledger, COMING) is None


def test_logs_and_notices_hold_no_facts(web: TestClient, ledger: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    put(web, {**FACTS, "patient_id": "PID-1"})
    told = caplog.text + json.dumps(web.get("/api/studies").json()) + web.get("/").text
    for secret in ("Aphasia", "Lupus", "PID-1"):
        assert secret not in told

"""`pirtad stat` and its like in the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.ledger import STUDY, new_ledger, receive
from typer.testing import CliRunner

from pirtad.daemon.cli.main import app
from pirtad.daemon.web.app import make_app
from pirtad.worker.ledger import views
from pirtad.worker.settings import Settings

runner = CliRunner()


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", str(tmp_path))
    database = new_ledger(tmp_path)
    receive(database, 1)
    yield database
    database.close()


def _view(ledger):
    (view,) = views.studies(ledger)
    return view.priority, view.priority_because


def test_a_study_is_made_urgent_and_not_urgent_again(ledger):
    made = runner.invoke(app, ["stat", STUDY])
    assert (made.exit_code, made.stdout) == (0, f"study {STUDY} is STAT\n")
    level, because = _view(ledger)
    assert level == "stat"
    assert because.startswith("operator")
    assert runner.invoke(app, ["stat", STUDY]).stdout == f"study {STUDY} is STAT already\n"
    assert runner.invoke(app, ["stat", STUDY, "--routine"]).stdout == f"study {STUDY} is ROUTINE\n"
    assert _view(ledger)[0] == "routine"
    shown = runner.invoke(app, ["show", STUDY])
    assert "priority" in shown.stdout


def test_a_study_that_is_not_known_is_not_possible(ledger):
    assert runner.invoke(app, ["stat", "1.2.404"]).exit_code == runner.invoke(app, ["show", "1.2.404"]).exit_code


def test_the_api_takes_a_priority(ledger, tmp_path):
    client = TestClient(make_app(Settings(storage={"data_dir": tmp_path}), ledger), base_url="http://127.0.0.1")
    answer = client.put(f"/api/studies/{STUDY}/priority/stat")
    assert (answer.status_code, answer.json()) == (
        200, {"study_uid": STUDY, "priority": "stat", "changed": True},
    )  # fmt: skip
    assert _view(ledger) == ("stat", "operator testclient (api)")
    assert client.put(f"/api/studies/{STUDY}/priority/now").status_code == 422
    assert client.put("/api/studies/1.2.404/priority/stat").status_code == 404
    assert client.get(f"/api/studies/{STUDY}").json()["study"]["priority"] == "stat"
    assert "STAT (operator testclient (api))" in client.get("/").text

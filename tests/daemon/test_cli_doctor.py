"""`pirtad doctor` with things missing, broken and in order."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import StorageCommitmentPushModel
from sqlalchemy import text
from support.ledger import new_ledger
from support.live import free_port
from support.worklist import worklist
from typer.testing import CliRunner

from pirtad.daemon.cli import checks, model_checks, peer_checks
from pirtad.daemon.cli.checks import Finding
from pirtad.daemon.cli.main import app
from pirtad.worker.settings import Settings

# pynetdicom 3.0.4 leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")


def make(tmp_path: Path, **sections: dict[str, object]) -> Settings:
    sections.setdefault("storage", {})
    storage = {"data_dir": tmp_path, **sections.pop("storage")}
    return Settings.model_validate({"storage": storage, **sections})


@pytest.fixture
def echo_scp() -> Iterator[int]:
    entity = AE("ARCHIVE")
    entity.require_called_aet = True
    entity.add_supported_context("1.2.840.10008.1.1")
    server = entity.start_server(("127.0.0.1", 0), block=False)
    yield server.server_address[1]
    server.shutdown()


def test_data_dir(tmp_path: Path) -> None:
    assert checks.data_dir(make(tmp_path)).ok
    to_be_made = checks.data_dir(make(tmp_path, storage={"data_dir": tmp_path / "a" / "b"}))
    assert to_be_made.ok
    assert not (tmp_path / "a").exists()

    (tmp_path / "file").touch()
    not_a_directory = checks.data_dir(make(tmp_path, storage={"data_dir": tmp_path / "file"}))
    assert not not_a_directory.ok
    assert "writable" in not_a_directory.advice


def test_data_dir_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10**8}))
    found = checks.data_dir(make(tmp_path))
    assert not found.ok
    assert "0.1 GB free" in found.detail


def test_ledger(tmp_path: Path) -> None:
    settings = make(tmp_path)
    assert "made at the first start" in checks.ledger(settings).detail
    assert not (tmp_path / "ledger.sqlite").exists()

    new_ledger(tmp_path).close()
    assert checks.ledger(settings).ok

    database = new_ledger(tmp_path)
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    database.close()
    newer = checks.ledger(settings)
    assert not newer.ok
    assert "from_the_future" in newer.detail

    (tmp_path / "ledger.sqlite").write_bytes(b"no database at all " * 100)
    assert not checks.ledger(settings).ok


def test_ledger_password_is_not_shown(tmp_path: Path) -> None:
    settings = make(tmp_path, storage={"database_url": f"sqlite://user:secret@/{tmp_path}/ledger.sqlite"})
    assert "secret" not in checks.ledger(settings).detail


def test_queue(tmp_path: Path) -> None:
    embedded = checks.queue(make(tmp_path))
    assert embedded.ok
    assert "valkey-server" in embedded.detail

    absent = checks.queue(make(tmp_path, queue={"redis_url": f"redis://:secret@127.0.0.1:{free_port()}/0"}))
    assert not absent.ok
    assert "start the Redis server" in absent.advice
    assert "secret" not in absent.detail


def test_listener_free_taken_and_ours(tmp_path: Path, echo_scp: int) -> None:
    assert "is free" in checks.listener(make(tmp_path, listener={"port": free_port()})).detail

    ours = checks.listener(make(tmp_path, listener={"port": echo_scp, "ae_title": "ARCHIVE"}))
    assert ours.ok
    assert "answers C-ECHO" in ours.detail

    other_title = checks.listener(make(tmp_path, listener={"port": echo_scp}))
    assert not other_title.ok


def test_a_port_that_another_program_has(tmp_path: Path) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"name": "other"}')

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        taken = checks.page(make(tmp_path, web={"port": server.server_port}))
    assert not taken.ok
    assert "not by pirtad's page" in taken.detail
    assert checks.page(make(tmp_path, web={"port": free_port()})).ok


def test_pacs(tmp_path: Path, echo_scp: int) -> None:
    assert checks.pacs(make(tmp_path, pacs={"port": echo_scp, "ae_title": "ARCHIVE"})).ok

    stranger = checks.pacs(make(tmp_path, pacs={"port": echo_scp, "ae_title": "NOBODY"}))
    assert not stranger.ok
    assert "AE titles" in stranger.advice

    assert not checks.pacs(make(tmp_path, pacs={"port": free_port()})).ok


GB = 10**9


@pytest.mark.parametrize(
    ("free", "least", "removing", "said"),
    [
        (50 * GB, 2 * GB, 0, ""),
        (50 * GB, 2 * GB, 3 * GB, ""),
        (1 * GB, 2 * GB, 3 * GB, "that is so now, with 1.0 GB"),
        (50 * GB, 2 * GB, 2 * GB, "too late"),
        (50 * GB, 2 * GB, 200 * GB, "nothing is kept"),
    ],
)
def test_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, least: int, removing: int, said: str
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(total=100 * GB, free=free))
    storage, retention = {"min_free_bytes": least}, {"free_below_bytes": removing}
    found = checks.space(make(tmp_path, storage=storage, retention=retention))
    assert (found.ok, bool(found.advice)) == (said == "", said != "")
    assert said in found.detail


def test_a_worklist_that_answers_refuses_or_is_not_there(tmp_path: Path) -> None:
    assert peer_checks.worklist(make(tmp_path)) == Finding("worklist", True, "not asked (worklist.enabled)")
    asked: list[Dataset] = []

    def answer(query: Dataset) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(query)
        yield 0x0000, None

    with worklist(answer) as there:
        known = there.model_dump()
        assert peer_checks.worklist(make(tmp_path, worklist=known)).ok
        stranger = peer_checks.worklist(make(tmp_path, worklist={**known, "ae_title": "NOBODY"}))
    with worklist(answer, accepts=StorageCommitmentPushModel) as other:
        without = peer_checks.worklist(make(tmp_path, worklist=other.model_dump()))
    gone = peer_checks.worklist(make(tmp_path, worklist=known))
    for failed, said in ((stranger, "rejected"), (without, "no presentation context"), (gone, "no TCP connection")):
        assert not failed.ok
        assert said in failed.detail
        assert "[worklist]" in failed.advice
    # No query is sent: it would be about some patient.
    assert asked == []


@pytest.fixture
def committing_scp() -> Iterator[int]:
    entity = AE("ARCHIVE")
    entity.add_supported_context(StorageCommitmentPushModel)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    yield server.server_address[1]
    server.shutdown()


def commitment_of(tmp_path: Path, port: int, mode: str, **listener: object) -> Finding:
    pacs = {"port": port, "ae_title": "ARCHIVE", "commitment": mode}
    return peer_checks.commitment(make(tmp_path, pacs=pacs, listener=listener))


def test_commitment_of_a_destination(tmp_path: Path, committing_scp: int, echo_scp: int) -> None:
    for mode in ("auto", "required"):
        assert commitment_of(tmp_path, committing_scp, mode).ok
    # A PACS without the service is only wrong where it is required; one that is not asked may be anything
    without = commitment_of(tmp_path, echo_scp, "auto")
    assert (without.ok, "has none for us" in without.detail) == (True, True)
    assert not commitment_of(tmp_path, echo_scp, "required").ok
    assert commitment_of(tmp_path, free_port(), "off").ok
    down = commitment_of(tmp_path, free_port(), "auto")
    assert (down.ok, "no TCP connection" in down.detail) == (False, True)


@pytest.mark.parametrize(
    ("listener", "said"),
    [
        ({"ae_title": "OTHER"}, "it would call PIRTAD, and listener.ae_title is OTHER"),
        ({"ae_title": "OTHER", "require_called_ae_title": False}, ""),
        ({"allowed_calling_ae_titles": ["CT1"]}, "allowed_calling_ae_titles lacks ARCHIVE"),
        ({"allowed_calling_ae_titles": ["CT1", "ARCHIVE"]}, ""),
    ],
)
def test_commitments_whose_answers_would_not_come_in(
    tmp_path: Path, committing_scp: int, listener: dict[str, object], said: str
) -> None:
    found = commitment_of(tmp_path, committing_scp, "auto", **listener)
    assert found.ok == (said == "")
    assert said in found.detail
    assert ('"off"' in found.advice) == (said != "")


def test_a_listener_on_loopback_gets_no_answers_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_checks, "_failure", lambda _peer, _sop_class: None)
    pacs = {"host": "192.0.2.10", "commitment": "required"}
    found = peer_checks.commitment(make(tmp_path, pacs=pacs))
    assert (found.ok, "listener.host 127.0.0.1 is not reached from 192.0.2.10" in found.detail) == (False, True)
    assert peer_checks.commitment(make(tmp_path, pacs=pacs, listener={"host": "0.0.0.0"})).ok


def test_each_destination_is_told_of(tmp_path: Path, committing_scp: int) -> None:
    named = [
        {"name": "pacs", "ae_title": "ARCHIVE", "port": committing_scp, "commitment": "required"},
        {"name": "down", "ae_title": "ARCHIVE", "port": free_port()},
        {"name": "web", "kind": "stow", "url": "https://192.0.2.1/dicom-web"},
    ]
    found = peer_checks.commitment(make(tmp_path, delivery={"destinations": named}))
    assert not found.ok
    first, *others = found.detail.split("; ")
    assert first.startswith("down: no TCP connection")
    assert others == ["pacs: required, and it has the service", "web: off"]


def test_language_model_endpoint(tmp_path: Path) -> None:
    keys: list[tuple[str, str | None]] = []
    statuses = {"/v1/models": 200}

    class Endpoint(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append((self.path, self.headers.get("Authorization")))
            body = json.dumps({"data": [{"id": "smollm2"}]}).encode()
            self.send_response(statuses.get(self.path, 404))
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Endpoint) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        base = {"backend": "openai", "base_url": f"http://127.0.0.1:{server.server_port}/v1", "api_key": "k"}
        served = model_checks.language_model(make(tmp_path, language_model={**base, "model": "smollm2"}))
        unknown = model_checks.language_model(make(tmp_path, language_model={**base, "model": "other"}))
        asked = list(keys)
        statuses["/health"] = 200
        healthy = model_checks.language_model(make(tmp_path, language_model={**base, "model": "smollm2"}))
        statuses["/health"] = 503
        ill = model_checks.language_model(make(tmp_path, language_model={**base, "model": "smollm2"}))
        statuses["/v1/models"] = 307
        moved = model_checks.language_model(make(tmp_path, language_model={**base, "model": "smollm2"}))
        server.shutdown()
        thread.join()
    down = model_checks.language_model(make(tmp_path, language_model={**base, "model": "smollm2"}))

    assert served.ok
    assert not unknown.ok
    assert "it serves smollm2" in unknown.detail
    assert not down.ok
    # The key is for /v1 alone
    assert asked == [("/v1/models", "Bearer k"), ("/health", None), ("/v1/models", "Bearer k")]
    assert healthy.ok
    assert not ill.ok
    assert "503" in ill.detail
    assert not moved.ok
    assert "307" in moved.detail
    assert "/elsewhere" not in dict(keys)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    found = model_checks.models(make(tmp_path, inference={"weights_dir": tmp_path, "case_base_dir": tmp_path}))
    assert not found.ok
    assert found.detail


def test_the_command_lists_every_check_and_ends_with_1_if_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Given a taken page port and no PACS
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lines = ["[listener]", f"port = {free_port()}", "[pacs]", f"port = {free_port()}"]
        lines += ["[inference]", f'weights_dir = "{tmp_path}"']
        lines += ["[web]", f"port = {taken.getsockname()[1]}"]
        (tmp_path / "pirtad.toml").write_text("\n".join(lines))
        monkeypatch.setattr(checks, "_TIMEOUT_S", 0.2)
        monkeypatch.setattr(peer_checks, "_TIMEOUT_S", 0.2)
        result = CliRunner().invoke(app, ["doctor"])
        as_json = CliRunner().invoke(app, ["doctor", "--json"])

    assert result.exit_code == 1
    for line in ("OK    settings", "OK    data directory", "OK    space", "OK    worklist", "OK    ledger"):
        assert line in result.stdout
    for line in ("FAIL  page", "FAIL  PACS", "FAIL  commitment", "FAIL  models"):
        assert line in result.stdout
    assert "language model" in result.stdout
    assert as_json.exit_code == 1
    assert [finding["name"] for finding in json.loads(as_json.stdout)] == [
        *("settings", "data directory", "space", "ledger", "queue", "listener", "page", "PACS"),
        *("worklist", "commitment", "models", "language model"),
    ]
    # Nothing was made by looking.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pirtad.toml"]

"""`pirtad doctor` with things missing, broken and in order."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pynetdicom import AE
from sqlalchemy import text
from support.ledger import new_ledger
from support.live import free_port
from typer.testing import CliRunner

from pirtad.daemon.cli import checks, model_checks
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
        result = CliRunner().invoke(app, ["doctor"])
        as_json = CliRunner().invoke(app, ["doctor", "--json"])

    assert result.exit_code == 1
    for line in ("OK    settings", "OK    data directory", "OK    ledger", "OK    queue", "OK    listener"):
        assert line in result.stdout
    for line in ("FAIL  page", "FAIL  PACS", "FAIL  models"):
        assert line in result.stdout
    assert "language model" in result.stdout
    assert as_json.exit_code == 1
    assert [finding["name"] for finding in json.loads(as_json.stdout)] == [
        *("settings", "data directory", "ledger", "queue", "listener", "page", "PACS", "models", "language model")
    ]
    # Nothing was made by looking.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pirtad.toml"]

"""The containers' health check against real servers on this machine."""

from __future__ import annotations

import importlib.util
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest
from celery.contrib.testing.worker import start_worker
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from pirtad.daemon.embedded_redis import running
from pirtad.worker import main as worker_main
from pirtad.worker.contract import Stage
from pirtad.worker.queue import make_celery
from pirtad.worker.settings import load_settings

SCRIPT = Path(__file__).resolve().parents[1] / "deploy" / "healthcheck.py"


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("pirtad_healthcheck", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "_TIMEOUT_S", 2.0)
    return module


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def listening(ae_title: str, callers: list[str]) -> Iterator[int]:
    entity = AE(ae_title=ae_title)
    entity.add_supported_context(Verification)
    entity.require_called_aet = True
    entity.require_calling_aet = callers
    server = entity.start_server(("127.0.0.1", 0), block=False)
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


def test_a_listener_that_answers_is_healthy(check, monkeypatch):
    with listening("PIRTAD", []) as port:
        monkeypatch.setenv("PIRTAD_LISTENER__PORT", str(port))
        monkeypatch.setenv("PIRTAD_LISTENER__HOST", "0.0.0.0")  # as in the container: asked on loopback
        assert check.main(["listener"]) == 0


def test_a_listener_that_lets_in_certain_callers_is_asked_as_one_of_them(check, monkeypatch):
    with listening("PIRTAD", ["SCANNER"]) as port:
        monkeypatch.setenv("PIRTAD_LISTENER__PORT", str(port))
        monkeypatch.setenv("PIRTAD_LISTENER__ALLOWED_CALLING_AE_TITLES", '["SCANNER"]')
        assert check.main(["listener"]) == 0


# pynetdicom 3.0.4 leaves the requestor's socket to the garbage collector when there is no association.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning")
def test_no_listener_or_another_one_is_not_healthy(check, monkeypatch, capsys):
    monkeypatch.setenv("PIRTAD_LISTENER__PORT", str(free_port()))
    assert check.main(["listener"]) == 1
    with listening("OTHER", []) as port:
        monkeypatch.setenv("PIRTAD_LISTENER__PORT", str(port))
        assert check.main(["listener"]) == 1
    assert capsys.readouterr().out == "no association with the listener\n" * 2


@contextmanager
def serving(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
def test_the_page_is_healthy_if_healthz_says_so(check, monkeypatch, status, expected):
    with serving(status) as port:
        monkeypatch.setenv("PIRTAD_WEB__PORT", str(port))
        assert check.main(["web"]) == expected


def test_no_page_is_not_healthy(check, monkeypatch):
    monkeypatch.setenv("PIRTAD_WEB__PORT", str(free_port()))
    assert check.main(["web"]) == 1


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # Not tmp_path: the embedded server's socket has to fit 108 bytes.
    with tempfile.TemporaryDirectory(prefix="pirtad-") as name:
        monkeypatch.setenv("PIRTAD_STORAGE__DATA_DIR", name)
        yield Path(name)


def test_a_worker_is_healthy_while_it_answers_on_the_queue(check, monkeypatch, data_dir, capsys):
    # Given no queue at all
    assert check.main(["worker"]) == 1
    assert "queue" in capsys.readouterr().out
    with running(data_dir):
        # Given a queue and a worker on it
        app = make_celery(load_settings(None))
        hostname = f"prepare@{socket.gethostname()}"
        with start_worker(app, perform_ping_check=False, pool="solo", hostname=hostname, loglevel="ERROR"):
            assert check.main(["worker"]) == 0
        # When it is gone
        monkeypatch.setattr(check, "_TIMEOUT_S", 0.3)
        assert check.main(["worker"]) == 1
        assert "no worker" in capsys.readouterr().out


def test_a_worker_bears_the_name_that_the_check_asks_for(monkeypatch, data_dir):
    # Given a worker that would start, and says its name instead
    names: list[str] = []

    class Named:
        exitcode = 0

        def __init__(self, *, hostname: str, **_: object) -> None:
            names.append(hostname)

        def start(self) -> None:
            return

    app = make_celery(load_settings(None))
    monkeypatch.setattr(app, "Worker", Named)
    monkeypatch.setattr(worker_main, "make_celery", lambda _: app)
    monkeypatch.setattr(worker_main, "configure_logging", lambda _: None)
    for signal in (worker_main.signals.worker_process_init, worker_main.signals.setup_logging):
        monkeypatch.setattr(signal, "receivers", [])  # what it connects is gone after the test
    # When it runs
    worker_main.run_worker(load_settings(None), (Stage.DELIVER,))
    # Then the name is of this host: Celery itself fills %h in only for its own command line
    assert names == [f"deliver@{socket.gethostname()}"]


@pytest.mark.parametrize("arguments", [[], ["nosuch"], ["web", "listener"]])
def test_wrong_usage_is_not_healthy(check, arguments):
    assert check.main(arguments) == 1


def test_settings_that_cannot_be_used_are_told(check, monkeypatch, tmp_path, capsys):
    path = tmp_path / "pirtad.toml"
    path.write_text("[web]\nporrt = 1\n", encoding="utf-8")
    monkeypatch.setenv("PIRTAD_CONFIG", str(path))
    assert check.main(["web"]) == 1
    assert "porrt" in capsys.readouterr().out

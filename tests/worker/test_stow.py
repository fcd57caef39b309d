"""STOW-RS against a real HTTP server on loopback that answers as a test says."""

from __future__ import annotations

import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.live import free_port
from support.shipping import write_object

from pirtad.worker.deliver import Outcome
from pirtad.worker.errors import DestinationRefused, DestinationUnavailable, NonConformant
from pirtad.worker.stow import StowService, store

UID = "2.25.1"


def listed(sequence: str, attribute: str = "", reason: int = 0, uid: str = UID) -> dict[str, Any]:
    item = {"00081155": {"vr": "UI", "Value": [uid]}}
    if attribute:
        item[attribute] = {"vr": "US", "Value": [reason]}  # type: ignore[dict-item]
    return {sequence: {"vr": "SQ", "Value": [item]}}


STORED = listed("00081199")


def failed(reason: int) -> dict[str, Any]:
    return listed("00081198", "00081197", reason)


class Service:
    """Answers every request with `status` and `answer`, and keeps what came."""

    def __init__(self) -> None:
        self.status, self.answer, self.location = 200, json.dumps(STORED).encode(), ""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.requests.append((self.path, dict(self.headers), body))
                self.send_response(service.status)
                if service.location:
                    self.send_header("Location", service.location)
                self.send_header("Content-Length", str(len(service.answer)))
                self.end_headers()
                self.wfile.write(service.answer)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/dicom-web"

    def says(self, status: int, answer: dict[str, Any] | bytes = b"") -> StowService:
        self.status = status
        self.answer = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return StowService(self.url, timeout_s=5)


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    made = Service()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def service(running: Service) -> Service:
    running.requests.clear()
    running.location = ""
    return running


@pytest.fixture
def sr(tmp_path: Path) -> Path:
    return tmp_path / write_object(tmp_path, UID).path


def test_the_service_gets_exactly_the_files_bytes(sr: Path, service: Service, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("abc.DEF-1\n")
    service.says(200, STORED)
    for _ in range(2):
        assert store(sr, StowService(service.url, token, timeout_s=5)) == Outcome(0x0000)
    bodies = []
    for path, headers, body in service.requests:
        assert path == "/dicom-web/studies"
        kind, _, boundary = headers["Content-Type"].partition("; boundary=")
        assert kind == 'multipart/related; type="application/dicom"'
        assert headers["Authorization"] == "Bearer abc.DEF-1"
        before, part, after = body.split(f"--{boundary}".encode())
        assert (before, after) == (b"", b"--\r\n")
        bodies.append(part)
    head, _, content = bodies[0].partition(b"\r\n\r\n")
    assert head == b"\r\nContent-Type: application/dicom"
    assert content == sr.read_bytes() + b"\r\n"
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(
    ("status", "answer", "outcome"),
    [
        (200, b"", 0x0000),
        (200, listed("00081199", "00081196", 0xB000), 0xB000),
        (202, listed("00081199", "00081196", 0xB007), 0xB007),
        (409, failed(0x0111), 0x0111),
        (409, failed(45070), 0x0111),
        (202, failed(45070), 0x0111),
    ],
)
def test_what_counts_as_stored(
    sr: Path, service: Service, status: int, answer: dict[str, Any] | bytes, outcome: int
) -> None:
    assert store(sr, service.says(status, answer)).status == outcome


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (409, failed(0xA900), "status-a900"),
        (409, failed(0xC000), "status-c000"),
        (202, failed(0x0122), "status-0122"),
        (200, failed(0xC122), "status-c122"),
        (409, b"", "stow-unclear"),
        (202, b"<xml/>", "stow-unclear"),
        (200, listed("00081199", uid="2.25.2"), "stow-unclear"),
        (409, STORED, "stow-unclear"),
        (400, b"", "http-400"),
        (413, b"", "http-413"),
        (415, b"", "http-415"),
        (204, b"", "http-204"),
    ],
)
def test_what_shelves_the_study(
    sr: Path, service: Service, status: int, answer: dict[str, Any] | bytes, code: str
) -> None:
    with pytest.raises(DestinationRefused) as caught:
        store(sr, service.says(status, answer))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        (401, b"", "http-401"),
        (403, b"", "http-403"),
        (404, b"", "http-404"),
        (429, b"", "http-429"),
        (500, b"", "http-500"),
        (503, b"", "http-503"),
        (409, failed(0xA700), "status-a700"),
        (409, failed(0x0110), "status-0110"),
    ],
)
def test_what_waits(sr: Path, service: Service, status: int, answer: dict[str, Any] | bytes, code: str) -> None:
    with pytest.raises(DestinationUnavailable) as caught:
        store(sr, service.says(status, answer))
    assert caught.value.code == code


def test_a_redirect_is_not_followed(sr: Path, service: Service) -> None:
    service.location = f"{service.url}/elsewhere"
    with pytest.raises(DestinationUnavailable) as caught:
        store(sr, service.says(307))
    assert (caught.value.code, len(service.requests)) == ("http-307", 1)


def test_nobody_there_no_token_and_no_certificate(sr: Path, service: Service, tmp_path: Path) -> None:
    wanted = {
        "no-connection": StowService(f"http://127.0.0.1:{free_port()}", timeout_s=2),
        "token-file": StowService(service.url, tmp_path / "absent"),
        # TLS to a server that speaks none
        "tls": StowService(service.url.replace("http", "https"), timeout_s=2),
    }
    for code, to in wanted.items():
        with pytest.raises(DestinationUnavailable) as caught:
            store(sr, to)
        assert caught.value.code == code
    (tmp_path / "split").write_text("abc\r\nX-Evil: 1")
    with pytest.raises(DestinationUnavailable, match="no bearer token"):
        store(sr, StowService(service.url, tmp_path / "split"))
    assert service.requests == []


def test_a_certificate_of_nobody_known_is_refused(sr: Path, tmp_path: Path) -> None:
    """As every certificate is that a site signed itself, until ca_file names it."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    made = Service()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    made.server.socket = context.wrap_socket(made.server.socket, server_side=True)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        url = f"https://localhost:{made.server.server_port}/dicom-web"
        with pytest.raises(DestinationUnavailable) as caught:
            store(sr, StowService(url, timeout_s=5))
        assert caught.value.code == "tls"
        assert store(sr, StowService(url, ca_file=certificate, timeout_s=5)) == Outcome(0x0000)
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def test_a_file_that_is_no_dicom_is_not_sent(tmp_path: Path, service: Service) -> None:
    (tmp_path / "x.dcm").write_bytes(b"not DICOM")
    with pytest.raises(NonConformant):
        store(tmp_path / "x.dcm", service.says(200))
    assert service.requests == []

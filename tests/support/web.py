"""The web application over a ledger, at a moment that stands."""

from __future__ import annotations

from pathlib import Path

from fastapi.testclient import TestClient

from pirtad.daemon.web.app import make_app
from pirtad.worker.ledger.database import Database
from pirtad.worker.settings import Settings, StorageSettings

NOW = 1_800_000_000.0


def client(ledger: Database) -> TestClient:
    """Asks the application by a name of its own; there is no queue."""
    settings = Settings(storage=StorageSettings(data_dir=Path("/nonexistent/pirtad")))
    return TestClient(make_app(settings, ledger, lambda: NOW), base_url="http://127.0.0.1")

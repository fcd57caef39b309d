"""A ledger, the web application over it, and the receiving side without its socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from support.ledger import new_ledger
from support.receiving import Receiving, receiving_side
from support.web import client

from pirtad.worker.ledger.database import Database


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Database]:
    database = new_ledger(tmp_path)
    yield database
    database.close()


@pytest.fixture
def web(ledger: Database) -> Iterator[TestClient]:
    with client(ledger) as asking:
        yield asking


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Receiving]:
    with receiving_side(tmp_path) as side:
        yield side

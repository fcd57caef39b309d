"""One study with a delivered report, and one whose report was revised."""

from __future__ import annotations

import pytest
from support.ledger import STUDY, receive
from support.retracting import FIRST, MEASUREMENTS, NARRATIVE, PACS, alive, at_last_stage, look, report

from pirtad.worker.contract import JobMessage, Stage
from pirtad.worker.ledger import deliveries, progress, publishing, receiving
from pirtad.worker.ledger.database import Database


@pytest.fixture
def message(database: Database) -> JobMessage:
    receive(database, 1, 2)
    receiving.open_job(database, STUDY, 10.0)
    (ready,) = publishing.publishable(database, 10.0, alive)
    return ready


@pytest.fixture
def reported(database: Database, message: JobMessage) -> JobMessage:
    """A study whose report of two objects was delivered; returns its job at the last stage."""
    claimed = at_last_stage(database, message, 11.0)
    deliveries.keep(database, claimed, PACS, [NARRATIVE, MEASUREMENTS])
    for kept in (NARRATIVE, MEASUREMENTS):
        deliveries.mark_delivered(database, claimed, PACS, kept, 0x0000, 12.0)
    progress.finish(database, claimed, PACS, 13.0)
    return JobMessage(claimed.job_id, Stage.DELIVER)


@pytest.fixture
def first(database: Database) -> str:
    """The job of a delivered report, of which more images make another one."""
    receive(database, 1, 2)
    look(database, 1, 2)
    first = report(database, (1, 2), 10.0, FIRST)
    receive(database, 3, now=11.0)
    look(database, 1, 2, 3)
    return first


@pytest.fixture
def revised(database: Database, first: str) -> tuple[str, str]:
    """The jobs of a delivered report and of the delivered one that revises it."""
    return first, report(database, (1, 2, 3), 12.0, NARRATIVE, MEASUREMENTS)

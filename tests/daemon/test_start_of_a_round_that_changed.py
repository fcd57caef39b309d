"""A decision is of a moment before: what came since is seen when the job is opened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.ledger import STUDY, new_ledger, receive, received

from pirtad.worker.contract import StartedBy
from pirtad.worker.ledger import looks, receiving, registering
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.looks import Counts, Seen
from pirtad.worker.ledger.receiving import Opening
from pirtad.worker.ledger.rounds import Opened

SERIES = f"{STUDY}.1"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = new_ledger(tmp_path)
    yield database
    database.close()


def _looked(database: Database) -> None:
    used = tuple(received(number).sop_instance_uid for number in (1, 2))
    seen = Seen(True, Counts.MET, used, frozenset({SERIES, f"{STUDY}.9"}), frozenset({f"{STUDY}.9"}))
    looks.keep_look(database, STUDY, looks.files_of(database, STUDY), seen, 2.0)


def test_a_whole_pair_is_not_started_once_another_diffusion_image_has_come(database: Database) -> None:
    # Given a decision to start early, and then another image of the pair's series, before the job is opened
    receive(database, 1, 2, now=1.0)
    _looked(database)
    receive(database, 3, now=3.0)
    outcome, _ = receiving.open_job(database, STUDY, 3.1, Opening(StartedBy.WHOLE))
    assert outcome is Opened.HELD
    # Then the round goes on, and an image of a plain series does not change the decision
    (study,) = receiving.open_studies(database)
    assert study.last_received_at == 3.0
    _looked(database)
    registering.register(database, replace(received(4), series_uid=f"{STUDY}.9"), 4.0)
    assert receiving.open_job(database, STUDY, 4.1, Opening(StartedBy.WHOLE))[0] is Opened.OPENED


def test_a_study_is_not_quiet_once_another_image_has_come(database: Database) -> None:
    receive(database, 1, 2, now=1.0)
    (study,) = receiving.open_studies(database)
    receive(database, 3, now=61.0)
    opening = Opening(StartedBy.QUIET, quiet_since=study.last_received_at)
    assert receiving.open_job(database, STUDY, 61.1, opening)[0] is Opened.HELD
    opening = Opening(StartedBy.QUIET, quiet_since=61.0)
    assert receiving.open_job(database, STUDY, 121.0, opening)[0] is Opened.OPENED

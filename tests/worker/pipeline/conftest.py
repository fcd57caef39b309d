"""A claimed job, and pipelines that draft and deliver its report."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.drafting import NO_COMMITMENT, NOW, PREPARED, Drafting, Peer, forget_deliveries, write_image
from support.ledger import STUDY, new_ledger, received

from pirtad.inference.prepared import Prepared
from pirtad.worker import targets as targets_module
from pirtad.worker.contract import Stage
from pirtad.worker.ledger import claiming, deliveries, publishing, receiving, registering
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.settings import Settings


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    ledger = new_ledger(tmp_path)
    yield ledger
    ledger.close()


@pytest.fixture
def claimed(database: Database, tmp_path: Path) -> ClaimedJob:
    """A claimed job on three images that lie in the spool."""
    (tmp_path / "spool").mkdir()
    for number in (1, 2, 3):
        registered = received(number)
        write_image(tmp_path / registered.path, registered.sop_instance_uid, number)
        digest = hashlib.sha256((tmp_path / registered.path).read_bytes()).hexdigest()
        registering.register(database, replace(registered, sha256=digest), 0.0)
    receiving.open_job(database, STUDY, 1.0)
    (message,) = publishing.publishable(database, 1.0, lambda _: False)
    job = claiming.claim(database, message, "me", 1.0, 1e9, lambda _: False)
    assert job is not None
    assert job.stage is Stage.PREPARE
    return job


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Peer:
    made = Peer()
    monkeypatch.setattr(targets_module, "send", made.send)
    return made


@pytest.fixture
def drafted(database: Database, claimed: ClaimedJob, tmp_path: Path) -> Callable[..., Pipeline]:
    """A pipeline that has drafted the claimed job's report under some [series] settings."""

    def run(prepared: Prepared = PREPARED, pacs: dict[str, object] | None = None, **series: object) -> Pipeline:
        settings = Settings(storage={"data_dir": tmp_path}, series=series, pacs={**NO_COMMITMENT, **(pacs or {})})
        pipeline = Pipeline(settings, database)
        pipeline.__dict__["engine"] = Drafting()  # where the cached property keeps it
        directory = tmp_path / "work" / claimed.job_id
        directory.mkdir(parents=True, exist_ok=True)
        prepared.save(directory)
        pipeline.infer(claimed)
        return pipeline

    return run


@pytest.fixture
def documented(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> Callable[..., list[Path]]:
    """Drafts, composes and delivers under some [series] settings; returns the paths of what was composed."""

    def run(**series: object) -> list[Path]:
        pipeline = drafted(**series)
        pipeline.deliver(claimed, NOW)
        composed = deliveries.kept_objects(database, claimed, pipeline.destination_names[0])
        forget_deliveries(database)
        return [tmp_path / kept.path for kept in composed.values()]

    return run

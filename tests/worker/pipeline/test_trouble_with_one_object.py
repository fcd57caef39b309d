"""What is refused, spoilt, broken or turned off keeps no other object back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from support.drafting import LATER, NOW, Peer, forget_deliveries

from pirtad.worker.errors import DestinationRefused, DestinationUnavailable, NonConformant
from pirtad.worker.ledger import deliveries
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import restart_all
from pirtad.worker.pipeline import Pipeline
from pirtad.worker.sr.documents import DOCUMENTS, Result
from pirtad.worker.sr.identity import SrIdentity


def start_again(database: Database, claimed: ClaimedJob) -> None:
    """As `pirtad retry` does with what each destination was waiting for."""
    with database.transaction() as session:
        restart_all(session, claimed.job_id)


def test_an_object_that_is_refused_keeps_no_other_back(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, peer: Peer
) -> None:
    pipeline = drafted()
    peer.fails["narrative"] = DestinationRefused("no-presentation-context", "not accepted")
    with pytest.raises(DestinationRefused):
        pipeline.deliver(claimed, NOW)
    assert peer.roles() == ["measurements"]
    # What another attempt may mend comes before what none can
    peer.sent.clear()
    forget_deliveries(database)
    peer.fails["measurements"] = DestinationUnavailable("no-connection", "no TCP connection")
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    assert peer.roles() == []


def test_a_fault_in_another_object_keeps_the_narrative_back_from_nobody(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_result: Result, _identity: SrIdentity) -> Dataset:
        raise NonConformant("sr-not-conformant", "a defect")

    pipeline = drafted()
    with monkeypatch.context() as patched:
        patched.setitem(DOCUMENTS, "measurements", broken)
        with pytest.raises(NonConformant):
            pipeline.deliver(claimed, NOW)
    assert peer.roles() == ["narrative"]
    # Once it is mended, only what is missing goes out
    pipeline.deliver(claimed, LATER)
    assert peer.roles() == ["narrative", "measurements"]


def test_an_object_whose_file_was_spoilt_is_composed_again_before_it_is_sent(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, tmp_path: Path, peer: Peer
) -> None:
    pipeline = drafted()
    peer.fails = {role: DestinationUnavailable("no-connection", "no TCP connection") for role in DOCUMENTS}
    with pytest.raises(DestinationUnavailable):
        pipeline.deliver(claimed, NOW)
    spoilt = deliveries.kept_objects(database, claimed, pipeline.destination_names[0])["measurements"]
    (tmp_path / spoilt.path).write_bytes(b"half")
    peer.fails.clear()
    start_again(database, claimed)
    pipeline.deliver(claimed, NOW)
    assert hashlib.sha256(peer.sent[1][2]).hexdigest() == spoilt.sha256


def test_an_object_that_was_turned_off_is_no_longer_waited_for(
    drafted: Callable[..., Pipeline], claimed: ClaimedJob, database: Database, peer: Peer
) -> None:
    # Given a PACS that takes the narrative alone
    peer.fails["measurements"] = DestinationRefused("status-0122", "SOP class not supported")
    with pytest.raises(DestinationRefused):
        drafted().deliver(claimed, NOW)
    # When the site turns the other off
    pipeline = drafted(pacs={"measurements": False})
    start_again(database, claimed)
    pipeline.deliver(claimed, NOW)
    # Then the job can be finished
    assert list(deliveries.kept_objects(database, claimed, pipeline.destination_names[0])) == ["narrative"]

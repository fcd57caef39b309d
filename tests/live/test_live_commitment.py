"""Delivery to a real Orthanc: C-STORE with storage commitment on an association of its own, STOW-RS, and two at once.

Orthanc answers an N-ACTION on a new association to the address that it has for our AE title.
"""

from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import BasicTextSRStorage
from pynetdicom import AE
from support import live
from support.live import Orthanc
from support.receiving import STUDY, encoded, image, receiving_side, store_bytes
from support.shipping import at_delivery, load, write_object

from pirtad.daemon.commitment import Committer
from pirtad.daemon.listener import Listener
from pirtad.worker.courier import Courier
from pirtad.worker.errors import DeliveryPending
from pirtad.worker.ledger import breakers, deliveries, progress, shipments
from pirtad.worker.ledger.claiming import ClaimedJob
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.shipment_rows import Commitment
from pirtad.worker.settings import Settings
from pirtad.worker.targets import targets_of

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def pacs_port(private_network: None) -> int:
    """Where Orthanc will listen."""
    return live.free_port()


@pytest.fixture
def listening(pacs_port: int, tmp_path: Path) -> Iterator[tuple[int, Database]]:
    """The listener, its port, and its ledger."""
    port = live.free_port()
    with receiving_side(tmp_path, port=port) as side:
        # Orthanc leaves as soon as it has asked, and takes answers on associations of their own alone.
        peers = {"ORTHANC": ("127.0.0.1", pacs_port)}
        committer = Committer("PIRTAD", side.database, tmp_path, side.registrar.flush, peers, time.time)
        listener = Listener(side.receiver.settings, side.receiver, side.notices, committer)
        listener.start()
        yield port, side.database
        listener.stop(5)


@contextmanager
def orthanc(directory: Path, its_port: int, our_port: int | None) -> Iterator[Orthanc]:
    """With DICOMweb; knows our address, or not."""
    extra: dict[str, Any] = {"DicomWeb": {"Enable": True}}
    extra["Plugins"] = [str(PLUGIN)] if PLUGIN.exists() else live.missing("orthanc-dicomweb is not installed")
    if our_port is not None:
        extra["DicomModalities"] = {"pirtad": ["PIRTAD", "127.0.0.1", our_port]}
    made = Orthanc(directory, extra=extra)
    made.dicom_port = its_port
    with made.running() as pacs:
        yield pacs


def settings(directory: Path, pacs: Orthanc, **delivery: Any) -> Settings:
    named = [
        {"name": "pacs", "ae_title": "ORTHANC", "port": pacs.dicom_port, "timeout_s": 5, **delivery},
    ]
    return Settings(storage={"data_dir": directory}, delivery={"destinations": named})


def is_settled(courier: Courier, job: ClaimedJob, loads: Any, now: float) -> bool:
    """One attempt at whatever is due."""
    try:
        courier.carry(job, loads, now)
    except DeliveryPending:
        return False
    return True


def test_a_report_is_delivered_when_orthanc_has_committed_to_it(
    listening: tuple[int, Database], pacs_port: int, tmp_path: Path
) -> None:
    port, database = listening
    job = at_delivery(database)
    kept = [write_object(tmp_path, "2.25.41"), write_object(tmp_path, "2.25.42", "measurements")]
    with orthanc(tmp_path / "orthanc", pacs_port, port) as pacs:
        its = settings(tmp_path, pacs, commitment="required")
        # When two objects are sent and Orthanc is asked to commit, its answer comes to the listener
        courier = Courier(database, its, targets_of(its))
        loads = load(database, job, ("pacs",), *kept)
        live.wait_for(lambda: is_settled(courier, job, loads, time.time()), 30, "Orthanc to commit")
        assert len(pacs.results(None, BasicTextSRStorage)) == 2
    # Then both are delivered and committed
    share = shipments.open_shares(database, job, ("pacs",))["pacs"]
    assert share.commitment is Commitment.COMMITTED
    assert all(one.is_committed for one in deliveries.kept_objects(database, job, "pacs").values())
    progress.finish(database, job, ("pacs",), time.time())


def test_an_orthanc_that_does_not_know_us_does_not_hold_the_report_back(
    listening: tuple[int, Database], pacs_port: int, tmp_path: Path
) -> None:
    _, database = listening
    job = at_delivery(database)
    with orthanc(tmp_path / "orthanc", pacs_port, None) as pacs:
        its = settings(tmp_path, pacs)
        courier = Courier(database, its, targets_of(its))
        loads = load(database, job, ("pacs",), write_object(tmp_path, "2.25.43"))
        now = time.time()
        hours = itertools.count()
        live.wait_for(lambda: is_settled(courier, job, loads, now + 3600 * next(hours)), 60, "the report to be settled")
        assert len(pacs.results(None, BasicTextSRStorage)) == 1
    commitment = shipments.open_shares(database, job, ("pacs",))["pacs"].commitment
    assert commitment is Commitment.UNSUPPORTED
    # Nor is it taken for down, though it ends the association that the question comes on
    assert [one.failures for one in breakers.all_health(database, 1)] == [0]


# pynetdicom leaves the socket of a connection that was refused to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stow_and_c_store_side_by_side_one_of_them_down_at_first(
    listening: tuple[int, Database], pacs_port: int, tmp_path: Path
) -> None:
    port, database = listening
    job = at_delivery(database)
    kept = write_object(tmp_path, "2.25.44")
    down = Orthanc(tmp_path / "down")
    with orthanc(tmp_path / "orthanc", pacs_port, port) as web:
        named = [
            {"name": "web", "kind": "stow", "url": f"http://127.0.0.1:{web.http_port}/dicom-web", "timeout_s": 10},
            {"name": "down", "ae_title": "ORTHANC", "port": down.dicom_port, "commitment": "off", "timeout_s": 5},
        ]
        its = Settings(storage={"data_dir": tmp_path}, delivery={"destinations": named})
        loads = load(database, job, ("web", "down"), kept)
        courier = Courier(database, its, targets_of(its))
        with pytest.raises(DeliveryPending) as caught:
            courier.carry(job, loads, time.time())
        # Then the one that is up has the very object
        assert caught.value.reason.startswith("down: ")
        (there,) = web.results(None, BasicTextSRStorage)
        assert b"Specimen^Ada" in there
        assert b"2.25.44" in there
        # and the other gets it when it is back; the first is not sent anything again
        with down.running():
            courier.carry(job, loads, caught.value.until + 1)
            assert len(down.results(None, BasicTextSRStorage)) == 1
    progress.finish(database, job, ("web", "down"), time.time())


def test_orthanc_as_a_sender_hears_what_is_on_disk(
    listening: tuple[int, Database], pacs_port: int, tmp_path: Path
) -> None:
    port, _ = listening
    # Given two images that were sent to us, and Orthanc asking about those and a third, with our address for events
    with orthanc(tmp_path / "orthanc", pacs_port, port) as pacs:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def post(path: str, body: bytes) -> Any:
            request = urllib.request.Request(f"http://127.0.0.1:{pacs.http_port}{path}", body, method="POST")
            with opener.open(request, timeout=20) as answer:
                return json.load(answer)

        sender = AE("SCANNER")
        sender.add_requested_context(image(1).SOPClassUID, "1.2.840.10008.1.2.1")
        association = sender.associate("127.0.0.1", port, ae_title="PIRTAD")
        for number in (1, 2):
            assert store_bytes(association, encoded(image(number)), f"{STUDY}.2.{number}") == 0x0000
        association.release()
        uids = [[str(image(1).SOPClassUID), f"{STUDY}.2.{number}"] for number in (1, 2, 3)]
        begun = post("/modalities/pirtad/storage-commitment", json.dumps({"DicomInstances": uids}).encode())
        report = live.wait_for(lambda: _done(pacs, begun["Path"]), 30, "Orthanc to have our answer")
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {f"{STUDY}.2.1", f"{STUDY}.2.2"}
    assert [one["SOPInstanceUID"] for one in report["Failures"]] == [f"{STUDY}.2.3"]


def _done(pacs: Orthanc, path: str) -> Any:
    report = json.loads(pacs.get(path))
    return report if report["Status"] != "Pending" else None

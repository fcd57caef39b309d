"""Streams of PDUs, damaged in any way: no crash, no hang, no thread and no file left behind."""

from __future__ import annotations

import random
import socket
import threading
import time

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import config as pydicom_config
from support.live import wait_for
from support.raw_peer import ABORT_PDU, ECHO, RELEASE_RQ, associate_rq, command, p_data, pdv, store
from support.receiving import encoded, files, image, receiving_side

from pirtad.daemon.association import Association, Services
from pirtad.daemon.limits import Places, Rate
from pirtad.daemon.wire import Wire

SMALL = encoded(image(pixels=b"\x01\x02" * 20))
PDUS = [
    associate_rq(),
    associate_rq(window=4),
    store(SMALL, fragment_bytes=100),
    store(SMALL),
    p_data(pdv(command(0x0030, 7, "1.2.840.10008.1.1"), context=ECHO, is_command=True)),
    p_data(pdv(command(0x0FFF), is_command=True)),
    p_data(pdv(b"\x01\x02", is_last=False)),
    RELEASE_RQ,
    ABORT_PDU,
]
SEEDS = [b"".join((PDUS[0], *parts)) for parts in ((PDUS[2], PDUS[4], PDUS[3], RELEASE_RQ), (PDUS[3], PDUS[5]), ())]
# Enough for any stream here; a peer that says nothing for so long is cut off, which is what a hang would show against.
LIMITS = {"acse_timeout_s": 0.5, "dimse_timeout_s": 0.5, "network_timeout_s": 0.5}


@pytest.fixture
def side(tmp_path, monkeypatch):
    monkeypatch.setattr(pydicom_config.settings, "reading_validation_mode", pydicom_config.IGNORE)  # as in the service
    with receiving_side(tmp_path, **LIMITS) as side:
        yield side


def _serve(side, stream: bytes) -> None:
    """Send the stream and close; the association runs to its end here."""
    ours, theirs = socket.socketpair()
    services = Services(side.receiver.settings, side.receiver, side.notices, Places(9, 9, time.monotonic),
                        Rate(0, time.monotonic))  # fmt: skip
    place = services.places.enter("fuzz", lambda: None)
    assert place is not None
    with theirs:
        theirs.setblocking(False)
        theirs.sendall(stream)  # the kernel's buffer holds more than any stream here
        theirs.shutdown(socket.SHUT_WR)
        with structlog.testing.capture_logs() as logged:
            Association(Wire(ours), place, services).run()
    assert ours.fileno() == -1
    assert services.places.associate(services.places.enter("another", lambda: None)) == ""
    unforeseen = [line for line in logged if line["event"] in ("association failed", "instance not taken")]
    assert unforeseen == []


def _assert_nothing_left(side) -> None:
    assert side.registrar.flush(10)
    with side.database.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT path FROM instances").all()
    assert files(side.spool.data_dir / "spool") == sorted(side.spool.data_dir / path for (path,) in rows)


@st.composite
def _streams(draw):
    stream = bytearray(draw(st.sampled_from(SEEDS)) if draw(st.booleans()) else
                       b"".join(draw(st.lists(st.sampled_from(PDUS), max_size=6))))  # fmt: skip
    for _ in range(draw(st.integers(0, 4))):
        position, length = draw(st.integers(0, len(stream))), draw(st.integers(0, 12))
        how = draw(st.sampled_from(["set", "insert", "delete", "repeat", "cut"]))
        if how == "set":
            stream[position : position + length] = draw(st.binary(min_size=length, max_size=length))
        elif how == "insert":
            stream[position:position] = draw(st.binary(max_size=length))
        elif how == "delete":
            del stream[position : position + length]
        elif how == "repeat":
            stream[position:position] = stream[position : position + 200]
        else:
            del stream[position:]
    return bytes(stream)


@settings(max_examples=300, suppress_health_check=list(HealthCheck), deadline=None)
@given(stream=_streams())
def test_damaged_streams(side, stream):
    _serve(side, stream)


def test_a_corpus_leaves_no_thread_and_no_file(side):
    threads = threading.active_count()
    for seed in range(200):
        _serve(side, _damaged(random.Random(seed)))
    wait_for(lambda: threading.active_count() == threads, 10, "the threads' end")
    _assert_nothing_left(side)


def _damaged(chance: random.Random) -> bytes:
    stream = bytearray(chance.choice(SEEDS))
    for _ in range(chance.randrange(6)):
        position = chance.randrange(len(stream) + 1)
        what = chance.randrange(4)
        if what == 0 and position < len(stream):
            stream[position] = chance.choice((0, 0xFF, chance.randrange(256)))
        elif what == 1:
            del stream[position : position + chance.randrange(20)]
        elif what == 2:
            stream[position:position] = chance.randbytes(chance.randrange(20))
        else:
            stream = stream[: position + chance.randrange(300)]
    return bytes(stream)

"""What our own disk takes is not counted against a sender."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.raw_peer import raw_peer, store
from support.receiving import Clock, encoded, image, running_listener

from pirtad.daemon import association as association_module
from pirtad.daemon.landing import Landing


def test_a_sender_that_waits_for_our_disk_is_not_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a disk that takes ten minutes for each fragment, and a sender that has sent all of them
    real, clock = Landing.write, Clock()
    monkeypatch.setattr(association_module, "time", SimpleNamespace(monotonic=clock, time=time.time))

    def write(landing: Landing, fragment: memoryview) -> None:
        clock.now += 600
        real(landing, fragment)

    monkeypatch.setattr(Landing, "write", write)
    with running_listener(tmp_path) as running, raw_peer(running.port) as peer:
        peer.associate()
        peer.send(store(encoded(image()), fragment_bytes=500))
        assert peer.status() == 0x0000

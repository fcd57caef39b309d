"""What associations tell of their images: at once, and each under a name of its own."""

from __future__ import annotations

import gc
import socket
from pathlib import Path

import pytest
from support.receiving import image, running_listener

from pirtad.daemon.arrivals import Arrivals
from pirtad.daemon.limits import Rate


def test_an_image_is_told_of_before_its_sender_is_kept_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The image is registered while its sender waits, and the study may be whole without it
    told: list[str] = []
    took = Arrivals.took

    def noted(arrivals: Arrivals, *arguments: object, **named: object) -> None:
        told.append("took")
        took(arrivals, *arguments, **named)  # type: ignore[arg-type]

    def waits(_rate: Rate, _calling_ae: str) -> float:
        told.append("wait")
        return 0.01

    monkeypatch.setattr(Arrivals, "took", noted)
    monkeypatch.setattr(Rate, "wait_s", waits)
    with running_listener(tmp_path) as running, running.association() as association:
        assert association.send_c_store(image()).Status == 0x0000
    assert told == ["took", "wait"]


def test_no_association_takes_the_name_of_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A series that comes over two of them would else count as kept together
    ended: list[int] = []
    monkeypatch.setattr(Arrivals, "ended", lambda _arrivals, association, _now, **_: ended.append(association))
    with running_listener(tmp_path) as running:
        ended.clear()
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", running.port), timeout=10) as peer:
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b""
            assert running.listener.wait_until_idle(10)
            gc.collect()  # who is gone gives its place in memory to the next
    assert len(ended) == len(set(ended)) >= 50

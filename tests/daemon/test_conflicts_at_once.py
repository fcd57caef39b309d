"""`conflicting_images = "refuse"`: the first bytes of an instance stand, however soon others come."""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select
from support.receiving import Receiving, announced, encoded, image, receiving_side

from pirtad.daemon.landing import Landing
from pirtad.worker.ledger.tables import Instance

FIRST, OTHER = encoded(image()), encoded(image(pixels=b"\x05\x05" * 500))


def _finish(side: Receiving, data: bytes) -> int:
    intake = side.receiver.begin(announced())
    intake.write(memoryview(data))
    return intake.finish()[0]


def _count(side: Receiving) -> int:
    assert side.registrar.flush(10)
    with side.database.reading() as session:
        return len(session.scalars(select(Instance)).all())


def test_other_bytes_are_refused_before_the_first_are_registered(tmp_path: Path) -> None:
    with receiving_side(tmp_path, conflicting_images="refuse") as side:
        assert [_finish(side, data) for data in (FIRST, OTHER, FIRST)] == [0, 0x0111, 0]
        assert _count(side) == 1
        # and after
        assert [_finish(side, data) for data in (OTHER, FIRST)] == [0x0111, 0]


def test_of_two_at_the_same_moment_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given two associations, both past their look at what is there when the first is synced
    real, both, statuses = Landing.commit, threading.Barrier(2), []

    def commit(landing: Landing, start: bytes) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        real(landing, start)

    monkeypatch.setattr(Landing, "commit", commit)
    with receiving_side(tmp_path, conflicting_images="refuse") as side:
        threads = [
            threading.Thread(target=lambda data=data: statuses.append(_finish(side, data))) for data in (FIRST, OTHER)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sorted(statuses) == [0, 0x0111]
        assert _count(side) == 1


def test_an_image_that_could_not_be_kept_stands_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with receiving_side(tmp_path, conflicting_images="refuse") as side:
        monkeypatch.setattr(Landing, "commit", full)
        assert _finish(side, FIRST) == 0xA700
        monkeypatch.undo()
        assert _finish(side, OTHER) == 0
        assert _count(side) == 1

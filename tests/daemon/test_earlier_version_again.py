"""An earlier version of an image that comes again after a later one: which is true, a person has to say."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select
from support.receiving import STUDY, Receiving, announced, encoded, image, receiving_side

from pirtad.worker.ledger.tables import Event

FIRST, OTHER = encoded(image()), encoded(image(pixels=b"\x05\x05" * 500))


def _conflicts(side: Receiving) -> list[str]:
    with side.database.reading() as session:
        return list(session.scalars(select(Event.text).where(Event.kind == "conflict").order_by(Event.id)))


def test_it_is_told_that_the_later_one_is_still_used(tmp_path: Path) -> None:
    with receiving_side(tmp_path) as side:
        # A repetition is nothing to tell of, nor is one of the version that is used
        assert [side.receive(data) for data in (FIRST, FIRST, OTHER, OTHER)] == [0, 0, 0, 0]
        assert len(_conflicts(side)) == 1
        assert side.receive(FIRST) == 0
        (_, told) = _conflicts(side)
        assert told == f"an earlier version came again from SCANNER; the later one is still used: {STUDY}.2.1"


def test_in_one_batch_too(tmp_path: Path) -> None:
    with receiving_side(tmp_path) as side:
        intakes = [side.receiver.begin(announced()) for _ in range(3)]
        for intake, data in zip(intakes, (FIRST, OTHER, FIRST), strict=True):
            intake.write(memoryview(data))
            assert intake.finish() == (0x0000, "")
        assert side.registrar.flush(10)
        assert len(_conflicts(side)) == 2

"""A study's limits are of what is kept of it, whatever became of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.receiving import STUDY, Clock, Receiving, encoded, image, receiving_side
from support.retaining import reported

from pirtad.daemon import limits
from pirtad.daemon.errors import Refused
from pirtad.daemon.limits import StudySizes
from pirtad.worker.ledger import retention


def _statuses(side: Receiving, *numbers: int) -> list[int]:
    return [side.receive(encoded(image(n)), sop_instance_uid=f"{STUDY}.2.{n}") for n in numbers]


@pytest.mark.parametrize("limit", [{"max_study_images": 3}, {"max_study_bytes": 5500}])
@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_full_study_that_was_removed_can_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: dict[str, int], is_restarted: bool
) -> None:
    monkeypatch.setattr(limits, "_LOOK_AGAIN_S", 0.0)
    with receiving_side(tmp_path, **limit) as side:
        reported(side, tmp_path, 1, 2, 3)
        assert _statuses(side, 4) == [0xA700]
        assert retention.forget(side.database, STUDY, side.clock.now) is not None
        if not is_restarted:
            assert _statuses(side, 1, 2, 3) == [0, 0, 0]
    if is_restarted:
        with receiving_side(tmp_path, **limit) as side:
            assert _statuses(side, 1, 2, 3) == [0, 0, 0]


def test_the_ledger_is_asked_again_before_a_study_is_refused_and_not_for_every_image() -> None:
    clock, asked, kept = Clock(), [], [(3, 300)]

    def look_up(study_uid: str) -> tuple[int, int]:
        asked.append(study_uid)
        return kept[0]

    sizes = StudySizes(look_up, 3, 1000, clock)
    for _ in range(5):
        with pytest.raises(Refused):
            sizes.require_room(STUDY, 100)
    assert len(asked) == 1
    # When images of it were removed, it has room a moment later
    kept[0] = (0, 0)
    clock.now += 2.0
    sizes.require_room(STUDY, 100)
    sizes.add(STUDY, 100)
    sizes.require_room(STUDY, 100)
    assert len(asked) == 2

"""A short campaign: what runs by the thousand in `make campaign`, for as long as a test may take."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.campaign_check import Tally
from support.campaign_conductor import Campaign, line, run_campaign, table
from support.campaign_faults import DISK_FULL, FAULTS

KILLS = 100
TIME_LIMIT_S = 30.0  # without the start, and without the silence at the end
IN_MEMORY = Path("/dev/shm")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is some: a kill loses nothing that was written, so a disk would only take time."""
    if not os.access(IN_MEMORY, os.W_OK):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="pirtad-campaign-", dir=IN_MEMORY))
    yield made
    shutil.rmtree(made)


@pytest.mark.timeout(600)
def test_kills_lose_nothing_and_double_nothing(directory: Path) -> None:
    # Given the whole stack at work, when one part of it after the other is killed or led astray
    campaign = Campaign(directory, seed=1)
    told: list[str] = []
    faults = [name for name in FAULTS if name != DISK_FULL]
    is_quiet = run_campaign(
        campaign, directory / "stack", KILLS, block=KILLS // len(faults) + 1, time_limit_s=TIME_LIMIT_S,
        faults=faults, say=told.append,
    )  # fmt: skip

    # Then every image that was acknowledged is kept, every study has come to its end, and no report is there twice
    total = campaign.total
    seen = "\n".join([*told, table(campaign)])
    assert is_quiet, seen
    assert (total.lost, total.twice, total.left_over) == (0, 0, 0), seen
    assert total.acked == total.stored > 0, seen
    assert total.reported + total.shelved == total.studies > 0, seen
    # and most of the faults met work. How many there were in the time depends on the machine.
    assert total.kills > 0, seen
    assert total.in_flight >= 0.8 * total.kills, seen


def test_a_campaign_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = Campaign(tmp_path, seed=7)
    first.add("worker killed", Tally(kills=3, in_flight=2, hit=Counter(infer=2, nothing=1)))

    again = Campaign(tmp_path, seed=8)
    again.add("worker killed", Tally(kills=1, in_flight=1, hit=Counter(infer=1), lost=1))

    assert (again.seed, again.blocks) == (7, 2)
    assert again.total.kills == 4
    assert again.total.hit == Counter(infer=3, nothing=1)
    assert first.is_clean
    assert not again.is_clean
    assert line("worker killed", again.total).startswith("| worker killed | 4 | 75 % |")

"""A short campaign: what runs by the thousand in `make campaign`, for as long as a test may take."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.campaign_check import Tally
from support.campaign_conductor import Campaign, line, run_campaign, table
from support.campaign_faults import DISK_FULL, FAULTS

KILLS = 100
# A machine that has no time for all makes fewer, but twice each kind, however long that takes.
TIME_LIMIT_S, LEAST_KILLS = 90.0, 26  # the silence at the end comes on top
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
def test_kills_lose_nothing_and_double_nothing(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given the whole stack at work, when one part of it after the other is killed or led astray
    campaign = Campaign(directory, seed=1)
    told: list[str] = []
    began_at = time.monotonic()
    faults = [name for name in FAULTS if name != DISK_FULL]

    is_quiet = run_campaign(
        campaign, directory / "stack", KILLS, block=2, between_counts=KILLS, faults=faults, say=told.append,
        is_over=lambda kills: kills >= LEAST_KILLS and time.monotonic() - began_at > TIME_LIMIT_S,
    )  # fmt: skip

    # Then every image that was acknowledged is kept, every study has come to its end, and no report is there twice
    total = campaign.total
    seen = "\n".join([*told, table([campaign])])
    assert is_quiet, seen
    assert (total.lost, total.twice, total.left_over) == (0, 0, 0), seen
    assert total.acked == total.stored > 0, seen
    assert total.reported + total.shelved == total.studies > 0, seen
    # and all kinds were tried, and most of them met work. How many there were in the time depends on the machine.
    assert LEAST_KILLS <= total.kills <= KILLS, seen
    assert set(campaign.tallies) == set(faults), seen
    assert total.in_flight >= 0.8 * total.kills, seen
    with capsys.disabled():
        told_in = f"\n{total.kills} faults in {time.monotonic() - began_at:.0f} s\n{table([campaign])}"
        print(told_in, file=sys.stderr)  # which pytest-xdist lets through


def test_a_campaign_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = Campaign(tmp_path, seed=7)
    first.add({"worker killed": Tally(kills=3, in_flight=2, hit=Counter(infer=2, nothing=1))}, Tally(acked=20), 1)

    again = Campaign(tmp_path, seed=8)
    again.add({"worker killed": Tally(kills=1, in_flight=1, hit=Counter(infer=1), lost=1)}, Tally(lost=1), 1)

    assert (again.seed, again.blocks) == (7, 2)
    assert (again.total.kills, again.total.acked) == (4, 20)
    assert again.total.hit == Counter(infer=3, nothing=1)
    assert first.is_clean
    assert not again.is_clean
    assert line("worker killed", again.total).startswith("| worker killed | 4 | 75 % |")


def test_campaigns_of_several_directories_make_one_table(tmp_path: Path) -> None:
    # Given two that ran side by side
    for seed in (1, 2):
        (tmp_path / str(seed)).mkdir()
        campaign = Campaign(tmp_path / str(seed), seed)
        # whose studies lived through blocks of both faults
        acked = 10 * seed
        killed = Tally(kills=2, in_flight=seed, acked=acked, hit=Counter(infer=seed))
        campaign.add({"worker killed": killed, "clock set": Tally(kills=1, acked=acked)}, Tally(acked=acked), 2)

    # When their tables are printed as one
    printed = table(Campaign(tmp_path / str(seed), 0) for seed in (1, 2)).splitlines()

    # Then rows of one fault are added up, and a study counts once in all
    assert [row.split("|")[1:5] for row in printed[2:]] == [
        [" worker killed ", " 4 ", " 75 % ", " 30 "],
        [" clock set ", " 2 ", " 0 % ", " 30 "],
        [" **all** ", " 6 ", " 50 % ", " 30 "],
    ]

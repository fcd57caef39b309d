"""`make campaign`: kill parts of a running stack at random, and count what came of it.

Resumable: the directory keeps the counters; the same command goes on until the number of kills is reached. What was
not yet counted when it was ended is not kept. Several directories, each with a run of its own and another seed, are
added up by `--table`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.campaign_conductor import MIXED, Campaign, run_campaign, table
from support.campaign_faults import DISK_FULL, FAULTS

_KILLS_A_STACK = 300  # chosen: then on a fresh data directory, so that nothing grows without end
_DISK_BYTES, _FULL_STACKS_DISK_BYTES = 2**28, 2**31  # chosen: what is filled takes time and memory


def main() -> int:
    """0 if nothing was lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="+", help="keeps counters and data; for speed, in memory")
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--block", type=int, default=10, help="faults of one kind in a row")
    parser.add_argument("--between-counts", type=int, default=150, help="faults between two counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--fault", action="append", choices=[*FAULTS, MIXED], help="only these; repeat for more")
    parser.add_argument("--full", action="store_true", help="shipped models and studies of a usual size")
    parser.add_argument("--table", action="store_true", help="only print what was counted, of all the directories")
    options = parser.parse_args()
    if options.table:
        print(table(Campaign(directory, options.seed) for directory in options.directory))
        return 0
    if len(options.directory) > 1:
        parser.error("a run has one directory; several are for --table")
    return _run(options.directory[0], options)


def _run(directory: Path, options: argparse.Namespace) -> int:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    directory.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(directory, options.seed)
    faults = options.fault or [*FAULTS, MIXED]
    ends_at = time.monotonic() + options.minutes * 60

    def is_over(_kills: int = 0) -> bool:
        return time.monotonic() > ends_at

    if campaign.is_clean:  # what a run left that was ended itself
        for left in directory.glob("stack-*"):
            _remove(left)
    is_sound = True
    while is_sound and campaign.total.kills < options.kills and not is_over():
        stack = directory / f"stack-{campaign.total.kills}"
        has_own_disk = _mount(stack / "data", _FULL_STACKS_DISK_BYTES if options.full else _DISK_BYTES)
        is_sound = run_campaign(
            campaign, stack, min(options.kills, campaign.total.kills + _KILLS_A_STACK),
            block=options.block, between_counts=options.between_counts, is_over=is_over, is_full=options.full,
            faults=[one for one in faults if has_own_disk or one != DISK_FULL],
        )  # fmt: skip
        if is_sound and campaign.is_clean:
            _remove(stack)
    print(table([campaign]))
    return 0 if is_sound and campaign.is_clean else 1


def _mount(directory: Path, size_bytes: int) -> bool:
    """Whether the directory is a small file system of its own now, that can be filled; needs root."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(directory):
        return True
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(directory)]
    return os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0


def _remove(stack: Path) -> None:
    if os.path.ismount(stack / "data"):
        subprocess.run(["umount", "--lazy", str(stack / "data")], check=True)
    shutil.rmtree(stack)


if __name__ == "__main__":
    sys.exit(main())

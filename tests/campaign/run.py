"""`make campaign`: kill parts of a running stack at random, and count what came of it.

Resumable: the directory keeps the data and the counters; the same command goes on until the number of kills is reached.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.campaign_conductor import MIXED, Campaign, run_campaign, table
from support.campaign_faults import DISK_FULL, FAULTS

_KILLS_A_STACK = 200  # chosen: then on a fresh data directory, so that nothing grows without end
_DISK_BYTES = 2 * 2**30


def main() -> int:
    """0 if nothing was lost, doubled or stuck."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="keeps counters and data; for speed, in memory")
    parser.add_argument("--kills", type=int, default=2000)
    parser.add_argument("--block", type=int, default=10, help="kills between two counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--fault", action="append", choices=[*FAULTS, MIXED], help="only these; repeat for more")
    parser.add_argument("--full", action="store_true", help="shipped models and studies of a usual size")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options.directory.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(options.directory, options.seed)
    faults = options.fault or [*FAULTS, MIXED]
    is_sound = True
    while is_sound and campaign.total.kills < options.kills and not campaign.is_over(options.minutes * 60):
        stack = options.directory / f"stack-{campaign.total.kills}"
        has_own_disk = _mount(stack / "data")
        try:
            is_sound = run_campaign(
                campaign, stack, min(options.kills, campaign.total.kills + _KILLS_A_STACK),
                block=options.block, time_limit_s=options.minutes * 60, is_full=options.full,
                faults=[one for one in faults if has_own_disk or one != DISK_FULL],
            )  # fmt: skip
        finally:
            if has_own_disk and campaign.is_clean:
                subprocess.run(["umount", "--lazy", str(stack / "data")], check=True)
        if campaign.is_clean:
            shutil.rmtree(stack)
    print(table(campaign))
    return 0 if is_sound and campaign.is_clean else 1


def _mount(directory: Path) -> bool:
    """Whether the directory is a small file system of its own now, that can be filled; needs root."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.path.ismount(directory):
        return True
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(directory)]
    return os.geteuid() == 0 and subprocess.run(mount, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())

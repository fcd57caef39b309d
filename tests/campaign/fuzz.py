"""Fuzz the receiving side: damaged associations and datasets by the million.

Resumable: the directory keeps recordings, counters and findings; the same command goes on until the numbers are
reached.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.fuzz_campaign import Campaign


def main() -> int:
    """0 if nothing was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "directory", type=Path, help="keeps everything; in memory (/dev/shm), where a sync takes no time"
    )
    parser.add_argument("--streams", type=int, default=1_000_000)
    parser.add_argument("--datasets", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1, help="of a new directory; another one keeps its own")
    parser.add_argument("--minutes", type=float, default=24 * 60)
    parser.add_argument("--show", type=int, metavar="N", help="write stream N to standard output, and end")
    options = parser.parse_args()
    campaign = Campaign(options.directory, options.seed)
    if options.show is not None:
        sys.stdout.buffer.write(campaign.stream(options.show).data)
        return 0
    is_clean = campaign.run(
        options.streams, options.datasets, time_limit_s=options.minutes * 60, say=lambda line: print(line, flush=True)
    )
    print(campaign.table())
    return 0 if is_clean else 1


if __name__ == "__main__":
    sys.exit(main())

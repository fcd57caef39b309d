"""Receiving on disks that take longer to sync: `tests/bench/receive_flush.py [--rounds N] [--images N]`.

A C-STORE is synchronous, so what a receiver reaches beside a bare loop of write and fdatasync says as much of the disk
as of the receiver. Here the same disk is made slower by known amounts: strace delays the return of every fdatasync and
fsync, of the bare loop, of pirtad and of Orthanc alike, and stops none of their other calls (`--seccomp-bpf`). A disk
that flushes in a millisecond is a solid-state disk without power-loss protection; 4 ms is fast for a spinning one.

131 kB images, storescu with TCP_NODELAY=1. Medians of the rounds (min-max). After each round every image must be in
pirtad's ledger, in its file, and on the disk.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.receive import ratio, row, spread
from bench.receive_receivers import ORTHANC, PIRTAD, Kind, orthanc, pirtad
from bench.receive_round import Setting, bare_loop, make_images, measure
from support import live

DELAYS_MS = (0, 1, 4)
SENDERS = (1, 4)
PIXEL_BYTES = 131_072
_BARE_LOOP = "bare loop"
_STRACE = ("strace", "-f", "-qqq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=800, help="over all senders; half as many for the others")
    parser.add_argument("--bare-loop", type=Path, help=argparse.SUPPRESS)  # this program again, under strace
    arguments = parser.parse_args()
    if arguments.bare_loop:
        print(bare_loop(arguments.bare_loop, PIXEL_BYTES, arguments.images))
        return
    if shutil.which("strace") is None:
        raise SystemExit("strace is not installed")
    live.enter_private_network()
    print("| a sync takes longer by | senders | bare loop | pirtad | to the bare loop | Orthanc | pirtad to Orthanc |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="bench") as scratch:
        images = make_images(Path(scratch) / "images", PIXEL_BYTES, arguments.images)
        for delay_ms in DELAYS_MS:
            for senders in SENDERS:
                rates: dict[str, list[float]] = {_BARE_LOOP: [], PIRTAD: [], ORTHANC: []}
                for number in range(arguments.rounds):
                    rates[_BARE_LOOP].append(_bare_loop(Path(scratch), delay_ms, len(images) // 2))
                    kinds = _kinds(delay_ms)
                    for kind in kinds if number % 2 else kinds[::-1]:
                        some = images[: int(len(images) * kind.tuned_share) // senders * senders]
                        measured = measure(Path(scratch), kind, some, Setting("storescu", senders, is_tuned=True))
                        rates[kind.name].append(measured.images_per_s)
                loop, ours, theirs = rates[_BARE_LOOP], rates[PIRTAD], rates[ORTHANC]
                cells = (spread(loop), spread(ours), ratio(ours, loop), spread(theirs), ratio(ours, theirs))
                print(row(f"{delay_ms} ms", senders, *cells), flush=True)


def _slow(delay_ms: int) -> tuple[str, ...]:
    """The program that runs another one with this disk. Under strace also where it delays nothing: that costs too."""
    return (*_STRACE, "-e", f"inject=fdatasync,fsync:delay_exit={delay_ms * 1000}") if delay_ms else _STRACE


def _kinds(delay_ms: int) -> list[Kind]:
    slow = _slow(delay_ms)
    return [Kind(PIRTAD, pirtad(*slow), 1.0, is_ours=True), Kind(ORTHANC, orthanc(*slow), 0.5)]


def _bare_loop(scratch: Path, delay_ms: int, images: int) -> float:
    command = [*_slow(delay_ms), sys.executable, __file__, "--bare-loop", str(scratch), "--images", str(images)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


if __name__ == "__main__":
    main()

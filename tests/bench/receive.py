"""Measure receiving beside its peers on this machine: `tests/bench/receive.py [--rounds N] [--images N] [--quick]`.

Receivers: bench/receive_receivers.py. All in turn within a round, in an order that moves on from round to round, each
on a fresh directory. "bare loop" is what syncing alone costs: write a new file, fdatasync, close, in one thread, no
network. "storescp, then a sync" is computed from the two, 1 / (1 / bare loop + 1 / storescp): what a receiver reaches
that takes an image as fast as storescp and then syncs it, one after the other.
Senders: DCMTK's storescu, as it comes (Nagle's algorithm on) and with TCP_NODELAY=1 at both ends; dcmsend. The images
are of 16 studies; several senders share them.

Told: images/s of all senders together; ratio to the bare loop and to Orthanc at the same setting; ms of CPU for an
image (all processes of the receiver, pirtad's until all are registered); largest resident memory; how many of the
images were on the disk at the end. Medians of the rounds (min-max); ratios are of the medians, and of the rounds
(min-max). After each round every image sent must be registered by pirtad, in its file, and on the disk, or the run
fails; that is outside the time. Tables in the form of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.receive_crowd import ALONE, CROWD, measure_crowds
from bench.receive_durable import Image
from bench.receive_receivers import KINDS, NOT_DURABLE, ORTHANC, PIRTAD, STORESCP, Kind
from bench.receive_round import Measured, Setting, bare_loop, make_images, measure
from support import live

SIZES = {131_072: "131 kB", 526_000: "526 kB"}
SHARES = {131_072: 1.0, 526_000: 0.4}  # of --images
STOCK_SHARE = 0.3  # of these for a receiver that Nagle's algorithm does not slow down
SETTINGS = (
    *(Setting("storescu", senders, is_tuned) for is_tuned in (True, False) for senders in (1, 4, 16)),
    Setting("dcmsend", 1, is_tuned=True),
)
LEAST_PER_SENDER = 10
BARE_LOOP, COMPUTED = "bare loop", "storescp, then a sync (computed)"


def main() -> None:
    arguments, began = _arguments(), time.monotonic()
    live.enter_private_network()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ")
    print(f"load {os.getloadavg()[0]:.1f} at the start, {arguments.rounds} rounds\n")
    for kind in KINDS:
        if reason := kind.needs():
            print(f"left out: {kind.name}: {reason}\n")
    with tempfile.TemporaryDirectory(prefix="bench", dir=arguments.scratch) as scratch:
        for pixel_bytes, name in SIZES.items():
            number = max(16, int(arguments.images * SHARES[pixel_bytes]))
            images = make_images(Path(scratch) / str(pixel_bytes), pixel_bytes, number)
            print(f"### {name} images\n\n{_table(_rounds(Path(scratch), images, arguments))}\n", flush=True)
            if pixel_bytes == min(SIZES):
                crowd = _crowd(Path(scratch), images[: max(16, number // 2)], arguments.crowd_rounds)
        print(f"### One sender, and {CROWD} idle or dripping associations\n\n{crowd}\n")
    print(f"{time.monotonic() - began:.0f} s in all")


Rates = dict[str, list[float]]  # a value for each round
Results = dict[Setting, dict[str, list[Measured]]]


def _rounds(scratch: Path, images: list[Image], arguments: argparse.Namespace) -> tuple[Results, dict[Setting, Rates]]:
    """What each receiver did, and the bare loop, by setting."""
    results: Results = {setting: {} for setting in SETTINGS}
    bare: dict[Setting, Rates] = {setting: {BARE_LOOP: []} for setting in SETTINGS}
    for number in range(arguments.rounds):
        for setting in SETTINGS:
            kinds = [kind for kind in KINDS if not kind.needs() and _takes_part(kind, setting)]
            turn = number * len(kinds) // arguments.rounds
            bare[setting][BARE_LOOP].append(bare_loop(scratch, images[0].pixel_bytes, len(images) // 2))
            for kind in [*kinds[turn:], *kinds[:turn]]:
                some = images[: _number(kind, setting, len(images))]
                results[setting].setdefault(kind.name, []).append(measure(scratch, kind, some, setting))
    return results, bare


def _takes_part(kind: Kind, setting: Setting) -> bool:
    if setting.program == "dcmsend":
        return kind.name in (PIRTAD, STORESCP)
    return setting.is_tuned or kind.name != NOT_DURABLE


def _number(kind: Kind, setting: Setting, images: int) -> int:
    """How many images it is sent, a multiple of the senders: enough that its senders' start is not what is measured."""
    if setting.is_tuned:
        number = int(images * kind.tuned_share)
    elif kind.stock_per_sender is None:
        number = int(images * kind.tuned_share * STOCK_SHARE)
    else:
        number = setting.senders * kind.stock_per_sender
    number = min(images, max(number, setting.senders * LEAST_PER_SENDER))
    return max(1, number // setting.senders) * setting.senders


def _table(found: tuple[Results, dict[Setting, Rates]]) -> str:
    results, bare = found
    lines = [
        "| sender | TCP_NODELAY | receiver | images | images/s | to the bare loop | to Orthanc | CPU ms an image "
        "| peak RSS MiB | on the disk |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    after: list[float] = []
    for setting, receivers in results.items():
        sender = (f"{setting.senders} {setting.program}", "yes" if setting.is_tuned else "no")
        loop = bare[setting][BARE_LOOP]
        rates: Rates = {name: [one.images_per_s for one in rounds] for name, rounds in receivers.items()}
        lines.append(row(*sender, BARE_LOOP, "", spread(loop), *[""] * 5))
        for name in (kind.name for kind in KINDS if kind.name in receivers):
            rounds, rate = receivers[name], rates[name]
            to_orthanc = ratio(rate, rates[ORTHANC]) if ORTHANC in rates else ""
            cpu_ms = statistics.median(one.cpu_ms_per_image for one in rounds)
            label, sent = name + _turned_away(rounds, setting.senders), max(one.images for one in rounds)
            cells = (label, sent, spread(rate), ratio(rate, loop), to_orthanc, f"{cpu_ms:.2f}")
            lines.append(row(*sender, *cells, f"{max(one.peak_mib for one in rounds):.0f}", _on_disk(rounds)))
            after += [one.registered_after_s for one in rounds if one.registered_after_s is not None and name == PIRTAD]
        computed = [one * other / (one + other) for one, other in zip(loop, rates[STORESCP], strict=True)]
        lines.append(row(*sender, COMPUTED, "", spread(computed), ratio(computed, loop), *[""] * 4))
    milliseconds = spread([seconds * 1e3 for seconds in after])
    lines.append(f"\npirtad: all registered {milliseconds} ms after the last Success, over all rounds.")
    return "\n".join(lines)


def _crowd(scratch: Path, images: list[Image], rounds: int) -> str:
    found = measure_crowds(scratch, images, rounds)
    lines = [
        f"{len(images)} images of {SIZES[images[0].pixel_bytes]}, {rounds} rounds\n",
        "| crowd | rounds let in | let in after s | images/s | to the sender alone | crowd held at the end |",
        "|---|---|---|---|---|---|",
    ]
    alone = [one.images_per_s for one in found[ALONE]]
    for crowd, each in found.items():
        served = [number for number, one in enumerate(each) if one.images_per_s]
        cells = [crowd, f"{len(served)} of {len(each)}", *[""] * 4]
        if served:
            rates = [each[number].images_per_s for number in served]
            cells[2:5] = (
                spread([each[number].let_in_after_s for number in served], 1),
                spread(rates),
                ratio(rates, [alone[number] for number in served]),
            )
        cells[5] = "" if crowd == ALONE else spread([one.held for one in each])
        lines.append(row(*cells))
    return "\n".join(lines)


def row(*cells: object) -> str:
    """A line of a table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _turned_away(rounds: list[Measured], senders: int) -> str:
    most = max(one.turned_away for one in rounds)
    return f" (turned away {most} of {senders})" if most else ""


def _on_disk(rounds: list[Measured]) -> str:
    told = [one.synced_share for one in rounds if one.synced_share is not None]
    return f"{min(told):.0%}" if told else "?"


def spread(values: Sequence[float], places: int = 0) -> str:
    """Median (min-max)."""
    middle, least, largest = (f"{one:.{places}f}" for one in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least}-{largest})"


def ratio(values: list[float], beside: list[float]) -> str:
    """Of the medians; and the least and largest of the rounds, each with its own. "-" where the other did nothing."""
    if not all(beside):
        return "-"
    each = [one / other for one, other in zip(values, beside, strict=True)]
    return f"{statistics.median(values) / statistics.median(beside):.2f} ({min(each):.2f}-{max(each):.2f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, help="default: 3")
    parser.add_argument("--images", type=int, help="131 kB images for a fast receiver, over all senders (1500)")
    parser.add_argument("--crowd-rounds", type=int, help="default: 3")
    parser.add_argument("--quick", action="store_true", help="one round of each, and a third of the images")
    parser.add_argument(
        "--scratch",
        type=lambda text: Path(text).resolve(),
        help="directory on the disk to measure; default: the temporary one",
    )
    arguments = parser.parse_args()
    arguments.scratch = arguments.scratch and arguments.scratch.resolve()  # receivers run in other directories
    arguments.rounds = arguments.rounds or (1 if arguments.quick else 3)
    arguments.images = arguments.images or (500 if arguments.quick else 1500)
    arguments.crowd_rounds = arguments.crowd_rounds or (1 if arguments.quick else 3)
    return arguments


if __name__ == "__main__":
    main()

"""Measure receiving beside its peers on this machine: `tests/bench/receive.py [--rounds N] [--images N] [--quick]`.

Receivers: pirtad's listener; DCMTK's `storescp +B` (`--fork` for several senders); Debian's Orthanc; pynetdicom's
storescp application. "bare loop" is what syncing alone costs: write a new file, fdatasync, close, in one thread, no
network. Senders: DCMTK's storescu, as it comes (Nagle's algorithm on) and with TCP_NODELAY=1 at both ends, one study
each. All receivers in turn within a round, each on a fresh directory.

Told: images/s of all senders together; ms of CPU per image (process and the children it waited for); largest resident
memory. Medians of the rounds, min-max. A table in the form of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from support import live
from support.live import Orthanc, Stack
from support.raw_peer import associate_rq, raw_peer
from support.receiving import image

SIZES = {131_072: "131 kB", 526_000: "526 kB"}
SENDERS = (1, 4, 16)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Receiver:
    """A running receiver."""

    port: int
    ae_title: str
    pid: int


@dataclass(frozen=True)
class Measured:
    """One round of one receiver."""

    images_per_s: float
    cpu_ms_per_image: float
    peak_mib: float


Start = Callable[[Path, bool, int], AbstractContextManager[Receiver]]


def main() -> None:
    arguments = _arguments()
    live.enter_private_network()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ")
    print(f"load {os.getloadavg()[0]:.1f} at the start, {arguments.rounds} rounds of {arguments.images} images\n")
    with tempfile.TemporaryDirectory(prefix="bench", dir=arguments.scratch) as scratch:
        for size_bytes, name in SIZES.items():
            # As many as the smallest number of senders that includes this one will have it send
            counts = [arguments.images // min(n for n in SENDERS if n > k) or 1 for k in range(max(SENDERS))]
            sources = [_studies(Path(scratch) / f"{size_bytes}-{k}", k, size_bytes, n) for k, n in enumerate(counts)]
            _table(Path(scratch), sources, size_bytes, name, arguments)
            for source in sources:
                shutil.rmtree(source)
        _crowd(Path(scratch), arguments)


def _table(scratch: Path, sources: list[Path], size_bytes: int, name: str, arguments: argparse.Namespace) -> None:
    results: dict[tuple[str, int, bool], list[Measured]] = {}
    floor = []
    for _ in range(arguments.rounds):
        floor.append(_bare_loop(scratch, size_bytes, arguments.images))
        for senders in SENDERS if not arguments.quick else (1, 4):
            for nodelay in (True, False) if senders == 1 else (True,):
                images = arguments.images if nodelay else min(arguments.images, 60)
                for receiver, start in RECEIVERS.items():
                    measured = _round(scratch, start, sources[:senders], images // senders or 1, nodelay)
                    results.setdefault((receiver, senders, nodelay), []).append(measured)
    print(f"### {name} images\n\nbare loop: {_spread(floor)} images/s\n")
    print("| receiver | senders | TCP_NODELAY | images/s | ratio to the bare loop | CPU ms an image | peak RSS MiB |")
    print("|---|---|---|---|---|---|---|")
    for (receiver, senders, nodelay), rounds in results.items():
        rate = statistics.median(one.images_per_s for one in rounds)
        cells = (
            receiver, senders, "yes" if nodelay else "no", _spread([one.images_per_s for one in rounds]),
            f"{rate / statistics.median(floor):.2f}",
            f"{statistics.median(one.cpu_ms_per_image for one in rounds):.2f}",
            f"{max(one.peak_mib for one in rounds):.0f}",
        )  # fmt: skip
        print("| " + " | ".join(str(cell) for cell in cells) + " |")
    print(flush=True)


def _round(scratch: Path, start: Start, sources: list[Path], images: int, nodelay: bool) -> Measured:
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as directory, ExitStack() as stack:
        folders = [_first(Path(directory) / f"send{k}", source, images) for k, source in enumerate(sources)]
        receiver = stack.enter_context(start(Path(directory) / "receiver", nodelay, len(sources)))
        cpu_before, began = _cpu_s(receiver.pid), time.perf_counter()
        _send(folders, receiver, nodelay)
        seconds = time.perf_counter() - began
        number = images * len(sources)
        cpu_ms = (_cpu_s(receiver.pid) - cpu_before) / number * 1e3
        return Measured(number / seconds, cpu_ms, _peak_mib(receiver.pid))


def _send(folders: list[Path], receiver: Receiver, nodelay: bool) -> None:
    command = [live.tool("storescu"), "-R", "+sd", "-aec", receiver.ae_title, "127.0.0.1", str(receiver.port)]
    senders = [
        subprocess.Popen([*command, str(folder)], env=_environment(nodelay), stdout=subprocess.DEVNULL)
        for folder in folders
    ]
    if max(sender.wait(600) for sender in senders):
        raise SystemExit("a sender failed")


def _crowd(scratch: Path, arguments: argparse.Namespace) -> None:
    """A sender alone, and beside 200 connections from another address that are idle or drip."""
    sources = [_studies(scratch / "crowd", 99, 131_072, arguments.images)]
    rates: dict[str, list[float]] = {"alone": [], "beside 200": []}
    for _ in range(arguments.rounds):
        for crowd in ("alone", "beside 200"):
            with tempfile.TemporaryDirectory(dir=scratch) as directory, ExitStack() as stack:
                receiver = stack.enter_context(_pirtad(Path(directory) / "receiver", True, 1))
                if crowd != "alone":
                    stack.enter_context(_loiterers(receiver.port))
                began = time.perf_counter()
                _send(sources, receiver, nodelay=True)
                rates[crowd].append(arguments.images / (time.perf_counter() - began))
    print("### One sender, and 200 idle or dripping connections from another address\n")
    for crowd, found in rates.items():
        print(f"{crowd}: {_spread(found)} images/s")
    print(f"ratio of the medians: {statistics.median(rates['beside 200']) / statistics.median(rates['alone']):.2f}")


@contextmanager
def _loiterers(port: int) -> Iterator[None]:
    stop = threading.Event()
    with ExitStack() as stack:
        peers = [stack.enter_context(raw_peer(port, source="127.0.0.2")) for _ in range(200)]
        for number, peer in enumerate(peers):
            with suppress(OSError):  # turned away
                peer.send((b"", associate_rq()[:40], associate_rq())[number % 3])

        def drip() -> None:
            while not stop.wait(0.2):
                for peer in peers[1::3]:
                    with suppress(OSError):
                        peer.connection.send(b"\0")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield
        finally:
            stop.set()
            dripping.join()


@contextmanager
def _pirtad(directory: Path, nodelay: bool, senders: int) -> Iterator[Receiver]:
    # The listener alone; nobody works on the studies, and the queue's server is not there.
    stack = Stack(directory, redis_port=live.free_port(), pacs_port=live.free_port())
    with stack.listener() as child:
        yield Receiver(stack.listener_port, "PIRTAD", child.pid)


@contextmanager
def _storescp(directory: Path, nodelay: bool, senders: int) -> Iterator[Receiver]:
    fork = ["--fork"] if senders > 1 else []
    with _program([live.tool("storescp"), "+B", "-pdu", "131072", *fork, "-od", "."], directory, nodelay) as receiver:
        yield receiver


@contextmanager
def _pynetdicom(directory: Path, nodelay: bool, senders: int) -> Iterator[Receiver]:
    command = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "--max-pdu", "131072", "-od", "."]
    with _program(command, directory, nodelay) as receiver:
        yield receiver


@contextmanager
def _program(command: list[str], directory: Path, nodelay: bool) -> Iterator[Receiver]:
    directory.mkdir()
    port = live.free_port()
    log = directory / "log"
    with live.process([*command, str(port)], log, env=_environment(nodelay), cwd=directory) as child:
        live.wait_for(lambda: live.answers(port), 60, command[0])
        yield Receiver(port, "ANY-SCP", child.pid)


@contextmanager
def _orthanc(directory: Path, nodelay: bool, senders: int) -> Iterator[Receiver]:
    with Orthanc(directory, _environment(nodelay)).running() as server:
        (pid,) = [int(path.name) for path in Path("/proc").glob("[0-9]*") if str(directory) in _command_line(path)]
        yield Receiver(server.dicom_port, "ORTHANC", pid)


RECEIVERS: dict[str, Start] = {
    "pirtad": _pirtad,
    "storescp +B": _storescp,
    "Orthanc": _orthanc,
    "pynetdicom storescp": _pynetdicom,
}


def _bare_loop(scratch: Path, size_bytes: int, images: int) -> float:
    """Images/s of write, fdatasync, close: one thread, no network."""
    data = os.urandom(size_bytes)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        began = time.perf_counter()
        for number in range(images):
            descriptor = os.open(Path(directory) / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            os.close(descriptor)
        return images / (time.perf_counter() - began)


def _studies(folder: Path, number: int, size_bytes: int, images: int) -> Path:
    """One study of noise."""
    folder.mkdir()
    noise = np.random.default_rng(number)
    for one in range(images):
        dataset = image(one + 1, study=f"2.25.{1000 + number}", pixels=noise.bytes(size_bytes - size_bytes % 2))
        dataset.save_as(folder / f"{one:05}.dcm", enforce_file_format=True)
    return folder


def _first(folder: Path, source: Path, images: int) -> Path:
    folder.mkdir()
    for path in sorted(source.iterdir())[:images]:
        os.link(path, folder / path.name)
    return folder


def _environment(nodelay: bool) -> dict[str, str]:
    return {**os.environ, **({"TCP_NODELAY": "1"} if nodelay else {})}


def _cpu_s(pid: int) -> float:
    """CPU seconds of a process and of the children it has waited for (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / TICKS_PER_S


def _peak_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:  # it ended meanwhile
        return ""


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=400, help="images a round, over all senders")
    parser.add_argument("--quick", action="store_true", help="1 and 4 senders alone")
    parser.add_argument("--scratch", type=Path, help="directory on the disk to measure; default: the temporary one")
    return parser.parse_args()


if __name__ == "__main__":
    main()

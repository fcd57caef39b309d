"""One round of one receiver: fresh directory, senders, time, and what there is afterwards."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bench import receive_durable
from bench.receive_durable import Image
from bench.receive_receivers import NOT_DURABLE, Kind, Receiver, cpu_s, end, peak_mib
from support import live
from support.receiving import image

STUDIES = 16
_SENDING_TIMEOUT_S = 600
_STARTS = 3


@dataclass(frozen=True)
class Setting:
    """Who sends."""

    program: str
    senders: int
    is_tuned: bool  # TCP_NODELAY=1 at both ends; else as it comes, Nagle's algorithm on

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        return {**inherited, **({"TCP_NODELAY": "1"} if self.is_tuned else {})}


@dataclass(frozen=True)
class Measured:
    """One round of one receiver."""

    images: int  # answered with Success
    images_per_s: float
    cpu_ms_per_image: float
    peak_mib: float
    turned_away: int  # of the senders
    synced_share: float | None = None  # of the images, at the end; None: this kernel does not tell
    registered_after_s: float | None = None  # after the last Success; ours alone


def make_images(folder: Path, pixel_bytes: int, number: int) -> list[Image]:
    """Images of noise, of `STUDIES` studies in turn."""
    folder.mkdir()
    noise = np.random.default_rng(pixel_bytes)
    made = []
    for one in range(number):
        dataset = image(one + 1, study=f"2.25.{1000 + one % STUDIES}", pixels=noise.bytes(pixel_bytes))
        path = folder / f"{one % STUDIES:02}-{one:05}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        made.append(Image(path, dataset.SOPInstanceUID, pixel_bytes))
    return made


def measure(scratch: Path, kind: Kind, images: Sequence[Image], setting: Setting) -> Measured:
    """Each sender sends its studies over one association. SystemExit if pirtad turned one away or lacks an image."""
    os.sync()  # what others left unwritten is not to be written on this one's time
    with fresh_directory(scratch) as directory:
        shares = [list(images[sender :: setting.senders]) for sender in range(setting.senders)]
        with started(directory, kind, setting) as receiver:
            cpu_before, began = cpu_s(receiver.pid), time.perf_counter()
            is_done = send(shares, receiver, setting, directory / "senders.log")
            ended = time.perf_counter()
            sent = [one for share, done in zip(shares, is_done, strict=True) if done for one in share]
            if kind.is_ours and len(sent) < len(images):
                raise SystemExit(f"a sender failed: {(Path(directory) / 'senders.log').read_text()[-2000:]}")
            registered_after_s = None
            if kind.is_ours:
                receive_durable.wait_until_registered(receiver.directory, len(sent))
                registered_after_s = time.perf_counter() - ended
            cpu_ms = (cpu_s(receiver.pid) - cpu_before) / max(len(sent), 1) * 1e3
            if kind.is_ours:
                must_be_synced = kind.name != NOT_DURABLE
                kept = receive_durable.require_kept(receiver.directory, sent, must_be_synced=must_be_synced)
            else:
                kept = receive_durable.files(receiver.directory, images[0].pixel_bytes)
            synced_share = receive_durable.synced_share(kept) if receive_durable.is_told() else None
            return Measured(
                len(sent), len(sent) / (ended - began), cpu_ms, peak_mib(receiver.pid),
                len(shares) - sum(is_done), synced_share, registered_after_s,
            )  # fmt: skip


@contextmanager
def fresh_directory(scratch: Path) -> Iterator[Path]:
    """A directory of its own; its files are emptied in the end, and stay there until `scratch` is removed.

    ext4 without a journal looks at every inode freed in the last half minute before it gives a new file another one:
    removing one round's thousands of files would make the next round's twice as dear (0.6 to 0.95 ms of CPU an image).
    """
    directory = Path(tempfile.mkdtemp(dir=scratch))
    try:
        yield directory
    finally:
        for path in directory.rglob("*"):
            with suppress(OSError):  # a socket, or whoever was killed just now removed it
                if path.is_file() and not path.is_symlink():
                    os.truncate(path, 0)


@contextmanager
def started(directory: Path, kind: Kind, setting: Setting) -> Iterator[Receiver]:
    """A receiver that answers, killed at the end. A peer that does not is started again: its port may be taken."""
    with ExitStack() as stack:
        for attempt in range(_STARTS):
            fresh = directory / f"receiver{attempt}"
            try:
                receiver = stack.enter_context(kind.start(fresh, setting.environment, setting.senders))
                break
            except pytest.fail.Exception:
                if kind.is_ours or attempt == _STARTS - 1:
                    raise
        try:
            yield receiver
        finally:
            end(receiver.pid)


def send(shares: Sequence[Sequence[Image]], receiver: Receiver, setting: Setting, log: Path) -> list[bool]:
    """A sender for each share, all at once; whether each had a Success for all it sent."""
    required = ["-R"] if setting.program == "storescu" else []  # dcmsend proposes what is needed by itself
    command = [live.tool(setting.program), *required, "-aec", receiver.ae_title, "127.0.0.1", str(receiver.port)]
    with log.open("ab") as out:
        senders = [
            subprocess.Popen(
                [*command, *sorted(str(image.path) for image in share)], env=setting.environment, stdout=out, stderr=out
            )
            for share in shares
        ]
    return [sender.wait(_SENDING_TIMEOUT_S) == 0 for sender in senders]


def bare_loop(scratch: Path, pixel_bytes: int, images: int) -> float:
    """Images/s of write, fdatasync, close: one thread, no network."""
    data = os.urandom(pixel_bytes)
    os.sync()
    with fresh_directory(scratch) as directory:
        began = time.perf_counter()
        for number in range(images):
            descriptor = os.open(directory / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            os.close(descriptor)
        return images / (time.perf_counter() - began)

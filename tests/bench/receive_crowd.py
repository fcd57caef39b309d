"""A sender's rate alone, and beside 200 associations that are idle or a slow loris.

A quarter each: connected and silent; an A-ASSOCIATE-RQ that comes byte by byte; associated and silent; an image that
comes byte by byte. From one other address, from 10, and from 200: pirtad keeps a number of them for each address and
in all, and gives a newcomer the place of whoever has most and is idle. So the sender asks with C-ECHO until it is let
in, for some seconds at most, and then sends; where it is not let in there is no rate. The crowd does not come again.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench import receive_durable
from bench.receive_durable import Image
from bench.receive_receivers import KINDS, PIRTAD, Receiver
from bench.receive_round import Setting, fresh_directory, send, started
from support import live
from support.raw_peer import RawPeer, associate_rq, p_data, pdv, raw_peer, store_command
from support.receiving import STUDY

CROWD = 200
ALONE = "none"
ADDRESSES = {
    ALONE: 0,
    f"{CROWD} from one address": 1,
    f"{CROWD} from 10 addresses": 10,
    f"{CROWD} from {CROWD} addresses": CROWD,
}
_DRIP_S = 0.5
_PATIENCE_S = 7.0  # longer than a connection must be idle to be ended for another


@dataclass(frozen=True)
class Crowded:
    """One round."""

    images_per_s: float  # 0: not let in
    let_in_after_s: float
    held: int  # of the crowd's connections, still open at the end


def measure_crowds(scratch: Path, images: list[Image], rounds: int) -> dict[str, list[Crowded]]:
    """All in turn in each round, by turns in another order."""
    found: dict[str, list[Crowded]] = {crowd: [] for crowd in ADDRESSES}
    for number in range(rounds):
        turn = number % len(found)
        for crowd in [*list(found)[turn:], *list(found)[:turn]]:
            found[crowd].append(_one(scratch, images, ADDRESSES[crowd]))
    return found


def _one(scratch: Path, images: list[Image], addresses: int) -> Crowded:
    (kind,) = [kind for kind in KINDS if kind.name == PIRTAD]
    setting = Setting("storescu", 1, is_tuned=True)
    with fresh_directory(scratch) as directory, ExitStack() as stack:
        receiver = stack.enter_context(started(directory, kind, setting))
        peers = stack.enter_context(_loiterers(receiver.port, addresses)) if addresses else []
        log = directory / "sender.log"
        came = time.perf_counter()
        while not (is_let_in := _echo(receiver)) and time.perf_counter() - came < _PATIENCE_S:
            time.sleep(0.1)
        began = time.perf_counter()
        if not is_let_in and addresses < CROWD:
            raise SystemExit(f"200 connections from {addresses} addresses kept a sender out")
        if not is_let_in:
            return Crowded(0.0, began - came, sum(map(_is_open, peers)))
        if not all(send([images], receiver, setting, log)):
            raise SystemExit(f"the sender was let in and then failed: {log.read_text()[-2000:]}")
        rate, held = len(images) / (time.perf_counter() - began), sum(map(_is_open, peers))
        receive_durable.wait_until_registered(receiver.directory, len(images))
        receive_durable.require_kept(receiver.directory, images, must_be_synced=True)
        return Crowded(rate, began - came, held)


def _echo(receiver: Receiver) -> bool:
    command = [live.tool("echoscu"), "-q", "-aec", receiver.ae_title, "127.0.0.1", str(receiver.port)]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0


@contextmanager
def _loiterers(port: int, addresses: int) -> Iterator[list[RawPeer]]:
    request = associate_rq()
    store = p_data(pdv(store_command(f"{STUDY}.2.1"), is_command=True)) + p_data(pdv(b"\0" * 10_000))
    # (what is sent at once, what drips)
    manners = ((b"", b""), (request[:40], request[40:]), (request, b""), (request + store[:200], store[200:]))
    stop = threading.Event()
    with ExitStack() as stack:
        peers = []
        for number in range(CROWD):
            # By blocks, so that each address has some of every manner
            source = f"127.0.1.{number * addresses // CROWD + 1}"
            peers.append(stack.enter_context(raw_peer(port, source=source)))
            with suppress(OSError):  # turned away
                peers[-1].send(manners[number % len(manners)][0])
        drips = [(peer, manners[number % len(manners)][1]) for number, peer in enumerate(peers)]

        def drip() -> None:
            position = 0
            while not stop.wait(_DRIP_S):
                for peer, slow in drips:
                    with suppress(OSError):  # cut off meanwhile
                        peer.connection.send(slow[position : position + 1])
                position += 1

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            yield peers
        finally:
            stop.set()
            dripping.join()


def _is_open(peer: RawPeer) -> bool:
    """Whether the receiver still holds this connection; what it sent is read and left."""
    peer.connection.setblocking(False)
    try:
        while peer.connection.recv(4096):
            pass
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False

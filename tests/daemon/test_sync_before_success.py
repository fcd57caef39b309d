"""What the kernel sees: before every Success the image's file was synced, after its last byte was written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.live import wait_for
from support.raw_peer import raw_peer, store
from support.receiving import STUDY, encoded, image

LISTEN = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support.receiving import running_listener
with running_listener(Path(sys.argv[2])) as running:
    Path(sys.argv[2], "port").write_text(str(running.port))
    sys.stdin.read()
"""
CALL = re.compile(r"^(?P<pid>\d+) +(?P<name>\w+)\((?P<fd>\d+)<(?P<file>[^>]*)>(?P<rest>.*)\) += (?P<result>-?\d+)")
STATUS_SUCCESS = r"\0\0\0\t\2\0\0\0\0\0"  # element 0000,0900 of a response, as strace prints it


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on this machine")
def test_every_success_comes_after_the_sync_of_its_file(tmp_path):
    trace, images = tmp_path / "trace", 20
    command = ["strace", "-f", "-y", "-s", "600", "-e", "trace=pwrite64,fdatasync,fsync,sendto", "-o", str(trace),
               sys.executable, "-c", LISTEN, str(Path(__file__).parents[1]), str(tmp_path)]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as listener:
        try:
            wait_for(lambda: (tmp_path / "port").exists() or listener.poll() is not None, 60, "the listener")
            if listener.poll() is not None:
                pytest.skip("strace may not trace here")
            with raw_peer(int((tmp_path / "port").read_text())) as peer:
                peer.associate()
                for number in range(1, images + 1):
                    peer.send(store(encoded(image(number)), number))
                    assert peer.status() == 0x0000
        finally:
            listener.communicate(b"", timeout=60)
    assert _successes(trace.read_text()) == images


def _successes(trace: str) -> int:
    """Successes of C-STOREs, each asserted to follow a sync of all that its thread wrote."""
    unsynced: dict[str, set[str]] = {}
    written: dict[str, str] = {}
    successes = 0
    for line in _calls(trace):
        if (call := CALL.match(line)) is None:
            continue
        thread = call["pid"]
        if call["name"] == "pwrite64" and "/.incoming/" in call["file"]:
            unsynced.setdefault(thread, set()).add(call["file"])
            written[thread] = call["file"]
        elif call["name"] in ("fdatasync", "fsync") and call["result"] == "0":
            unsynced.get(thread, set()).discard(call["file"])
        elif call["name"] == "sendto" and STATUS_SUCCESS in call["rest"] and STUDY in call["rest"]:
            assert thread in written, "an image answered that was never written"
            assert not unsynced[thread], "Success before the sync"
            del written[thread]
            successes += 1
    return successes


def _calls(trace: str) -> list[str]:
    """Whole calls: strace breaks one in two lines where another thread's comes in between."""
    begun: dict[str, str] = {}
    calls = []
    for line in trace.splitlines():
        pid = line.split(maxsplit=1)[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line.removesuffix("<unfinished ...>").rstrip()
        elif resumed := re.match(r"^\d+ +<\.\.\. \w+ resumed>(.*)$", line):
            calls.append(begun.pop(pid, "") + resumed[1])
        else:
            calls.append(line)
    return calls


def test_the_check_itself_finds_a_success_too_early():
    write = '1 pwrite64(9</x/spool/.incoming/a>, "data", 4, 0) = 4\n'
    sync = "1 fdatasync(9</x/spool/.incoming/a>) = 0\n"
    answer = f'1 sendto(8<socket:[1]>, "{STATUS_SUCCESS}{STUDY}", 9, 0, NULL, 0) = 9\n'
    assert _successes(write + sync + answer) == 1
    with pytest.raises(AssertionError, match="before the sync"):
        _successes(write + answer + sync)
    with pytest.raises(AssertionError, match="before the sync"):
        _successes(write + sync.replace("= 0", "= -1 EIO") + answer)

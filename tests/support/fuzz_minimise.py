"""A smaller input that shows the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from support.fuzz_streams import pdus_of
from support.fuzz_target import Stream


def smaller(stream: Stream, shows: Callable[[Stream], bool], *, within_s: float = 20.0) -> Stream:
    """Whole PDUs left out first, then bytes, as long as the rest still shows it; the stream itself if it never does."""
    deadline = time.monotonic() + within_s
    if not shows(stream):
        return stream
    pdus = _without(pdus_of(stream.data), lambda part: shows(replace(stream, data=b"".join(part))), deadline)
    data = b"".join(pdus)
    whole = _without(
        [bytes((one,)) for one in data], lambda part: shows(replace(stream, data=b"".join(part))), deadline
    )
    return replace(stream, data=b"".join(whole))


def _without(parts: list[bytes], shows: Callable[[list[bytes]], bool], deadline: float) -> list[bytes]:
    """As many parts left out as can be, long rows of them first (delta debugging, Zeller 2002, without complements)."""
    size = max(len(parts) // 2, 1)
    while size:
        position = 0
        while position < len(parts):
            if time.monotonic() > deadline:
                return parts
            rest = parts[:position] + parts[position + size :]
            if rest and shows(rest):
                parts = rest
            else:
                position += size
        size //= 2
    return parts

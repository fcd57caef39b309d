"""How long to wait before another attempt."""

from __future__ import annotations


def backoff_s(attempt: int, base_s: float, cap_s: float) -> float:
    """Wait after the n-th attempt (from 1): base, doubled each time, capped."""
    return float(min(cap_s, base_s * 2 ** min(attempt - 1, 32)))

"""Where the real data lies, on machines that have it."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shared_data(relative: str) -> Path:
    """A path under the shared data, or a skip that names what is missing."""
    path = SHARED_DATA / relative
    if not path.exists():
        pytest.skip(f"real data not on this machine: shared/data/{relative}")
    return path

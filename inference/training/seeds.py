"""Which seeds serve what, so that nothing is trained on that is tested with or shown.

A simulated case is a function of its seed and its class; the class is the seed modulo 4, which balances the classes.
"""

from __future__ import annotations

from pirtad.inference.findings import Territory

TRAINING = range(0, 100_000)
VALIDATION = range(100_000, 110_000)
CASE_BASE = range(200_000, 210_000)
TEST = range(300_000, 310_000)
# For demonstrations alone: never trained on, never in a case base.
DEMO = range(900_000, 1_000_000)


def territory_of(seed: int) -> Territory:
    """The class of the simulated case with this seed."""
    classes = tuple(Territory)
    return classes[seed % len(classes)]


def first(seeds: range, count: int) -> range:
    """The first `count` seeds of a range. Raises ValueError when it has not that many."""
    if not 0 < count <= len(seeds):
        raise ValueError(f"{count} cases asked of seeds {seeds.start} to {seeds.stop - 1}")
    return seeds[:count]

"""Runs a campaign: blocks of one fault each, then silence and a count; resumed where it was left."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from support.campaign_check import Checker, Tally
from support.campaign_faults import FAULTS, draw_any
from support.campaign_stack import Stack

MIXED = "any of these, mixed"
_QUIET_S = 90.0


class Campaign:
    """Its tallies, by fault, kept in `state.json` of the directory after every block."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._path = directory / "state.json"
        self._began_at = time.monotonic()
        self.seed = seed
        self.tallies: dict[str, Tally] = {}
        self.blocks = 0
        if self._path.exists():
            state = json.loads(self._path.read_text(encoding="utf-8"))
            self.seed, self.blocks = state["seed"], state["blocks"]
            for name, raw in state["tallies"].items():
                self.tallies[name] = Tally(**{**raw, "hit": Counter(raw["hit"])})

    @property
    def total(self) -> Tally:
        """All faults together."""
        return sum(self.tallies.values(), Tally())

    @property
    def is_clean(self) -> bool:
        """Nothing lost, doubled or left."""
        return not (self.total.lost or self.total.twice or self.total.left_over)

    def is_over(self, time_limit_s: float) -> bool:
        """Whether it has taken so long since this process began it."""
        return time.monotonic() - self._began_at > time_limit_s

    def add(self, fault: str, tally: Tally) -> None:
        """A block is over."""
        self.tallies[fault] = self.tallies.get(fault, Tally()) + tally
        self.blocks += 1
        state = {
            "seed": self.seed,
            "blocks": self.blocks,
            "tallies": {name: vars(one) for name, one in self.tallies.items()},
        }
        fresh = self._path.with_suffix(".part")
        fresh.write_text(json.dumps(state, indent=1), encoding="utf-8")
        fresh.replace(self._path)


def run_campaign(
    campaign: Campaign,
    directory: Path,
    kills: int,
    *,
    block: int,
    time_limit_s: float,
    faults: Iterable[str] = (*FAULTS, MIXED),
    is_full: bool = False,
    say: Callable[[str], None] = print,
) -> bool:
    """Go on until so many kills were done in all, or the time is over. False once something is stuck."""
    names = list(faults)
    stack = Stack(directory, is_full=is_full)
    try:
        if not stack.wait_until_up(60):
            raise TimeoutError("the stack did not start; see its logs")
        checker = Checker(stack)
        while campaign.total.kills < kills and not campaign.is_over(time_limit_s):
            name = names[campaign.blocks % len(names)]
            count = min(block, kills - campaign.total.kills)
            draw = random.Random(f"{campaign.seed} {campaign.blocks}")
            tally = _run_block(stack, name, count, draw, lambda: campaign.is_over(time_limit_s))
            is_quiet = stack.wait_until_quiet(_QUIET_S * stack.patience)
            checker.check(tally)
            if not is_quiet:
                tally.told.append(f"not quiet after {_QUIET_S * stack.patience:.0f} s: {stack.working()}")
            campaign.add(name, tally)
            say(f"{line(name, tally)} {tally.seconds:.0f} s")
            for told in tally.told[:20]:
                say(f"    {told}")
            if not is_quiet:
                return False
    finally:
        stack.close()
    return True


def _run_block(stack: Stack, name: str, kills: int, draw: random.Random, is_over: Callable[[], bool]) -> Tally:
    fault = FAULTS.get(name, draw_any)
    stack.resume()
    tally = Tally()
    began_at = time.monotonic()
    while tally.kills < kills and not is_over():
        stack.tend()
        hit = fault(stack, draw)
        tally.kills += 1
        tally.in_flight += bool(hit)
        tally.hit[hit or "nothing"] += 1
        stack.tend()
    tally.seconds = time.monotonic() - began_at
    return tally


COLUMNS = ("kills", "in flight", "acked", "stored", "studies", "reported", "revised", "shelved", "resent", "left over",
           "lost", "twice")  # fmt: skip


def line(name: str, tally: Tally) -> str:
    """One fault's row."""
    share = f"{100 * tally.in_flight / tally.kills:.0f} %" if tally.kills else "-"
    cells = (tally.kills, share, tally.acked, tally.stored, tally.studies, tally.reported, tally.revised,
             tally.shelved, tally.resent, tally.left_over, tally.lost, tally.twice)  # fmt: skip
    hit = ", ".join(f"{what} {count}" for what, count in tally.hit.most_common())
    return f"| {name} | " + " | ".join(str(cell) for cell in cells) + f" | {hit} |"


def table(campaign: Campaign) -> str:
    """All rows, as Markdown."""
    head = ("fault", *COLUMNS, "hit at")
    rows = [line(name, tally) for name, tally in campaign.tallies.items()]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows, line("**all**", campaign.total)])

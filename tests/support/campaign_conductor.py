"""Runs a campaign: block after block of one fault each, now and then silence and a count; resumed where it was left.

A study counts for each fault whose block it lived through, and once in all.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from support.campaign_check import Checker, Tally
from support.campaign_control import Slot
from support.campaign_faults import FAULTS, draw_any
from support.campaign_stack import Stack

MIXED = "any of these, mixed"
_QUIET_S = 90.0


class Campaign:
    """Its tallies, by fault, kept in `state.json` of the directory whenever they are counted."""

    def __init__(self, directory: Path, seed: int) -> None:
        self._path = directory / "state.json"
        self.seed = seed
        self.tallies: dict[str, Tally] = {}
        self.total = Tally()
        self.blocks = 0
        if self._path.exists():
            state = json.loads(self._path.read_text(encoding="utf-8"))
            self.seed, self.blocks = state["seed"], state["blocks"]
            self.tallies = {name: _tally(raw) for name, raw in state["tallies"].items()}
            # Before studies counted for several faults there was none.
            self.total = _tally(state["total"]) if "total" in state else sum(self.tallies.values(), Tally())

    @property
    def is_clean(self) -> bool:
        """Nothing lost, doubled or left."""
        return not (self.total.lost or self.total.twice or self.total.left_over)

    def add(self, tallies: Mapping[str, Tally], counted: Tally, blocks: int) -> None:
        """So many blocks are over. tallies: by fault. counted: of all together, what was found in the silence."""
        for fault, tally in tallies.items():
            self.tallies[fault] = self.tallies.get(fault, Tally()) + tally
            self.total += Tally(tally.kills, tally.in_flight, seconds=tally.seconds, hit=tally.hit)
        self.blocks += blocks
        self.total += counted
        state = {
            "seed": self.seed,
            "blocks": self.blocks,
            "total": vars(self.total),
            "tallies": {name: vars(one) for name, one in self.tallies.items()},
        }
        fresh = self._path.with_suffix(".part")
        fresh.write_text(json.dumps(state, indent=1), encoding="utf-8")
        fresh.replace(self._path)


def _tally(raw: dict[str, Any]) -> Tally:
    return Tally(**{**raw, "hit": Counter(raw["hit"])})


def _say(text: str) -> None:
    print(text, flush=True)


def run_campaign(
    campaign: Campaign,
    directory: Path,
    kills: int,
    *,
    block: int,
    between_counts: int,
    is_over: Callable[[int], bool],
    faults: Iterable[str] = (*FAULTS, MIXED),
    is_full: bool = False,
    say: Callable[[str], None] = _say,
) -> bool:
    """Go on until so many kills were done in all, or the time is over. False once something is stuck.

    block: faults of one kind in a row. between_counts: after so many faults all comes to rest and is counted; until
    then each fault strikes what the last one left. is_over: whether to end early, of the number of kills.
    """
    names = list(faults)
    stack = Stack(directory, is_full=is_full)
    try:
        stack.begin()
        checker = Checker(stack)
        while (struck := campaign.total.kills) < kills and not is_over(struck):
            tallies: dict[str, Tally] = {}
            blocks: list[str] = []
            ended_in = dict.fromkeys(stack.ended(), -1)
            until = min(kills, struck + between_counts)
            stack.resume()
            while struck < until and not is_over(struck):
                number = campaign.blocks + len(blocks)
                name = names[number % len(names)]
                blocks.append(name)
                tally = tallies.setdefault(name, Tally())
                draw = random.Random(f"{campaign.seed} {number}")
                struck += _run_block(stack, name, number, draw, min(block, until - struck), tally)
                ended_in = {**dict.fromkeys(stack.ended(), number), **ended_in}
            by_block = {number: tallies[name] for number, name in enumerate(blocks, campaign.blocks)}
            counted = Tally()
            is_quiet = _count(stack, checker, by_block, ended_in, counted)
            campaign.add(tallies, counted, len(blocks))
            for name, tally in tallies.items():
                say(line(name, tally))
            for told in counted.told[:20]:
                say(f"    {told}")
            if not is_quiet:
                return False
    finally:
        stack.close()
    return True


def _run_block(stack: Stack, name: str, number: int, draw: random.Random, kills: int, tally: Tally) -> int:
    """Strike so many times; how many times it was."""
    fault = FAULTS.get(name, draw_any)
    stack.control.set(Slot.BLOCK, number)
    began_at = time.monotonic()
    for _ in range(kills):
        stack.tend()
        hit = fault(stack, draw)
        tally.kills += 1
        tally.in_flight += bool(hit)
        tally.hit[hit or "nothing"] += 1
        stack.tend()
    tally.seconds += time.monotonic() - began_at
    return kills


def _count(
    stack: Stack, checker: Checker, blocks: Mapping[int, Tally], ended_in: Mapping[str, int], counted: Tally
) -> bool:
    """Let all come to rest and look; whether it did come to rest. The wait is spread over the blocks' seconds."""
    began_at = time.monotonic()
    patience_s = _QUIET_S * stack.patience
    is_quiet = stack.wait_until_quiet(patience_s)
    checker.check(counted, blocks, ended_in)
    counted.told += stack.told
    counted.left_over += len(stack.told)
    stack.told = []
    if not is_quiet:
        counted.told.append(f"not quiet after {patience_s:.0f} s: {stack.working()}")
    for tally in blocks.values():
        tally.seconds += (time.monotonic() - began_at) / len(blocks)
    return is_quiet


COLUMNS = ("kills", "in flight", "acked", "stored", "studies", "reported", "revised", "shelved", "resent", "left over",
           "lost", "twice", "s a fault")  # fmt: skip


def line(name: str, tally: Tally) -> str:
    """One fault's row."""
    share = f"{100 * tally.in_flight / tally.kills:.0f} %" if tally.kills else "-"
    cells = (tally.kills, share, tally.acked, tally.stored, tally.studies, tally.reported, tally.revised,
             tally.shelved, tally.resent, tally.left_over, tally.lost, tally.twice,
             f"{tally.seconds / max(1, tally.kills):.1f}")  # fmt: skip
    hit = ", ".join(f"{what} {count}" for what, count in tally.hit.most_common())
    return f"| {name} | " + " | ".join(str(cell) for cell in cells) + f" | {hit} |"


def table(campaigns: Iterable[Campaign]) -> str:
    """All rows as Markdown, those of several campaigns added up."""
    added: dict[str, Tally] = {}
    total = Tally()
    for campaign in campaigns:
        total += campaign.total
        for name, tally in campaign.tallies.items():
            added[name] = added.get(name, Tally()) + tally
    head = ("fault", *COLUMNS, "hit at")
    rows = [line(name, tally) for name, tally in added.items()]
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *rows, line("**all**", total)])

"""The shape of a day in minutes: is memory flat, do handles stay, is every study accounted for?

    python tests/campaign/day.py DIR [--light 500] [--full 50] [--minutes 20]

Two days after one another share the minutes: one of many studies with the light worker (the whole pipeline with tiny
models), one of fewer with the shipped models. Two worker processes each. What comes when is `support.day_plan`; what
"grows" means, `support.day_samples`. Ends with 1 if something grows, or a study is lost, doubled or not accounted for.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sqlite3
import sys
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import cast

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.campaign_check import Checker, Tally
from support.campaign_stack import Stack
from support.day_plan import Kind, Sending, plan_day
from support.day_samples import Watch
from support.day_senders import Scanners
from support.day_stack import QUIET_S, DayStack

SAMPLE_S = 2.0
FULL_COSTS = 5  # as many light studies, by the time they take
SECOND_PART_AFTER_S = (2 * QUIET_S, 5 * QUIET_S)
AFTER_THE_END = {Kind.RESENT, Kind.PARTS, Kind.LATE}  # their second part waits for what becomes of the first
QUIET_AT_END_S = 10.0
PATIENCE_S = 300.0  # after the last study that came to its end


def main() -> int:
    """0 if all is flat and accounted for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help="its folders `light` and `full` are made anew")
    parser.add_argument("--light", type=int, default=500, metavar="STUDIES")
    parser.add_argument("--full", type=int, default=50, metavar="STUDIES")
    parser.add_argument("--minutes", type=float, default=20.0, help="of both together, in proportion to their work")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # and by that the processes
    work = options.light + FULL_COSTS * options.full
    is_sound = True
    for name, studies, share in (
        ("light", options.light, options.light / work), ("full", options.full, FULL_COSTS * options.full / work)
    ):  # fmt: skip
        if studies:
            directory = options.directory / name
            shutil.rmtree(directory, ignore_errors=True)
            is_sound &= day(directory, studies, 60 * options.minutes * share, options.seed, is_full=name == "full")
    return 0 if is_sound else 1


def day(directory: Path, studies: int, length_s: float, seed: int, *, is_full: bool) -> bool:
    """One day; whether nothing grew and every study is accounted for."""
    plan = plan_day(studies, length_s, SECOND_PART_AFTER_S, seed)
    stack = DayStack(directory, is_full=is_full)
    try:
        stack.start()
        watch, scanners = Watch(stack), Scanners(stack.directory, stack.listener_port)
        began = stack.processes()
        is_over = live(plan, stack, watch, scanners)
        wrong = [] if is_over else [f"not at its end: {stack.unfinished()} studies and jobs are under way"]
        wrong += [f"{name} ended by itself" for name in stack.dead()]
        if stack.processes() != began:
            wrong.append("a pool process was replaced")
        wrong += [f"{one.kind} {one.study_uid}: not acknowledged" for one in scanners.given_up]
        tally = Tally()
        Checker(cast(Stack, stack)).check(tally)
        print(f"\n{'Shipped models' if is_full else 'Light worker'}: {studies} studies in {length_s / 60:.1f} minutes "
              f"(seed {seed}), over after {watch.samples[-1].at_s / 60:.1f}\n")  # fmt: skip
        table, growing = watch.table()
        print(table, watch.others(), accounts(stack.ledger(), plan, tally, scanners, wrong), sep="\n\n")
    finally:
        stack.close()
    wrong += growing
    for one in wrong:
        print(f"WRONG: {one}")
    return not wrong


def live(plan: list[Sending], stack: DayStack, watch: Watch, scanners: Scanners) -> bool:
    """Send what is due, take samples, and wait for the end and a while beyond; False if there is none."""
    left = list(reversed(plan))
    held: list[Sending] = []
    next_sample_s, progress_s, done, quiet_since_s = 0.0, plan[-1].at_s, 0, None
    while True:
        now_s = time.monotonic() - watch.began_at
        while left and left[-1].at_s <= now_s:
            sending = left.pop()
            if sending.part and sending.kind in AFTER_THE_END:
                held.append(sending)
            else:
                scanners.send(sending)
        if now_s >= next_sample_s:
            for sending in [one for one in held if has_ended(stack.ledger(), one.study_uid)]:
                held.remove(sending)
                scanners.send(sending)
            next_sample_s = now_s + SAMPLE_S
            if (seen := watch.take().done) > done:
                progress_s, done = max(progress_s, now_s), seen
        if left or held or not scanners.are_idle or stack.unfinished():
            quiet_since_s = None
        else:
            quiet_since_s = now_s if quiet_since_s is None else quiet_since_s
            if now_s - quiet_since_s >= QUIET_AT_END_S:
                return True
        if now_s > progress_s + PATIENCE_S or stack.dead():
            return False
        time.sleep(0.05)


def has_ended(ledger: sqlite3.Connection, study_uid: str) -> bool:
    """Whether what came of the study so far is reported or shelved."""
    row = ledger.execute("SELECT state, open_since FROM studies WHERE study_uid = ?", (study_uid,)).fetchone()
    return row is not None and row[0] in ("reported", "set_aside", "failed") and row[1] is None


def accounts(
    ledger: sqlite3.Connection, plan: list[Sending], tally: Tally, scanners: Scanners, wrong: list[str]
) -> str:
    """Every study and how it ended, by kind, as Markdown; what should be otherwise is added to `wrong`."""
    ended: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}
    for study_uid, kind in {one.study_uid: one.kind for one in plan}.items():
        row = ledger.execute("SELECT state FROM studies WHERE study_uid = ?", (study_uid,)).fetchone()
        state = row[0] if row else "unknown"
        ended[kind][state] += 1
        if state != ("set_aside" if kind is Kind.UNUSABLE else "reported"):
            wrong.append(f"{kind} {study_uid} is {state}")
    rows = ["| studies | sent | reported | shelved |", "|---|---|---|---|"]
    for kind, states in ended.items():
        shelved = states["set_aside"] + states["failed"]
        rows.append(f"| {kind} | {states.total()} | {states['reported']} | {shelved} |")
    sent = len({one.study_uid for one in plan})
    rows.append(f"| all | {sent} | {tally.reported} | {tally.shelved} |")
    if tally.studies != sent or tally.reported + tally.shelved != sent:
        wrong.append(f"{sent} studies sent, {tally.studies} acknowledged, {tally.reported} + {tally.shelved} ended")
    if tally.lost or tally.twice or tally.left_over or tally.stored != tally.acked:
        wrong += [f"lost {tally.lost}, twice {tally.twice}, left over {tally.left_over}"]
        wrong += [told for told in tally.told if ": set_aside, " not in told]
    started = ledger.execute("SELECT started_by, count(*) FROM jobs GROUP BY started_by ORDER BY 2 DESC").fetchall()
    told = [
        f"Images acknowledged {tally.acked}, stored {tally.stored}; associations that did not bring all "
        f"{scanners.broken}; reports revised {tally.revised}; "
        f"objects resent {tally.resent}; lost {tally.lost}, twice {tally.twice}, left over {tally.left_over}.",
        "Jobs started by: " + ", ".join(f"{what} {count}" for what, count in started) + ".",
    ]
    for name, priority in (("routine", 0), ("STAT", 1)):
        times = [seconds for (seconds,) in ledger.execute(
            "SELECT finished_at - images_at FROM jobs JOIN studies ON studies.id = study_id "
            "WHERE jobs.state = 'done' AND priority = ?", (priority,))]  # fmt: skip
        if times:
            told.append(f"Last image to report, {name}: median {median(times):.1f} s, most {max(times):.1f} s.")
    return "\n".join([*rows, "", *told])


if __name__ == "__main__":
    sys.exit(main())

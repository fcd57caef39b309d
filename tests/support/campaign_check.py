"""What must hold when everything is quiet: nothing acknowledged is lost, nothing delivered twice, nothing left."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import struct
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from support.campaign_stack import Stack

_MAY_LIE_IN_INCOMING = 112  # names are made 64 at a time, with 48 left (`daemon.spool`)


@dataclass
class Tally:
    """Counts of one block of faults. acked, stored: images. The others: studies, but for twice: objects."""

    kills: int = 0
    in_flight: int = 0
    acked: int = 0
    stored: int = 0
    studies: int = 0
    reported: int = 0
    revised: int = 0
    shelved: int = 0
    lost: int = 0
    twice: int = 0
    resent: int = 0
    left_over: int = 0
    seconds: float = 0.0
    hit: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        mine, others = vars(self), vars(other)
        return Tally(**{name: mine[name] + others[name] for name in mine})


class Checker:
    """Looks at what is new since it last looked, and at all that must never be there."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._read: dict[Path, int] = {}
        self._seen_at_pacs: dict[tuple[str, str, str], Counter[tuple[str, str]]] = defaultdict(Counter)
        self._told: set[str] = set()
        self._lived_through: dict[str, list[Tally]] = {}

    def check(
        self, total: Tally, by_block: Mapping[int, Tally] | None = None, ended_in: Mapping[str, int] | None = None
    ) -> None:
        """Add what is found to the total, and what belongs to a study to the blocks that it lived through.

        by_block: of each block its fault's tally; of several blocks the same one, which counts a study once.
        ended_in: the block in which a study ended; those that it does not name lived to the last one.
        """
        blocks = by_block or {}
        last = max(blocks, default=0)
        ledger = self._stack.ledger()
        acked = [line for path in sorted(self._stack.directory.glob("acked-*.jsonl")) for line in self._lines(path)]
        for line in acked:
            lived = range(int(line.get("block", 0)), (ended_in or {}).get(line["study"], last) + 1)
            of_each_fault = {id(blocks[number]): blocks[number] for number in lived if number in blocks}
            self._lived_through[line["study"]] = list(of_each_fault.values())
        for line in acked:
            why = self._why_not_stored(ledger, line)
            if why:
                total.told.append(f"image {line['uid']}: {why}")
            self._add(total, line["study"], "acked", "lost" if why else "stored")
        for study_uid in dict.fromkeys(line["study"] for line in acked):
            self._check_study(ledger, study_uid, total)
        for line in self._lines(self._stack.directory / "pacs.jsonl"):
            self._check_object(ledger, line, total)
        self._check_ledger_and_pacs(ledger, total)
        for what in self._left_over(ledger):
            if what not in self._told:
                self._told.add(what)
                total.left_over += 1
                total.told.append(what)

    def _add(self, total: Tally, study_uid: str, *names: str) -> None:
        """One more of each of these counts."""
        for tally in (total, *self._lived_through.get(study_uid, ())):
            for name in names:
                setattr(tally, name, getattr(tally, name) + 1)

    def _check_study(self, ledger: sqlite3.Connection, study_uid: str, total: Tally) -> None:
        row = ledger.execute("SELECT state, reason_code, reason FROM studies WHERE study_uid = ?", (study_uid,))
        state, code, reason = row.fetchone() or ("", "", "")
        if state == "reported":
            self._add(total, study_uid, "studies", "reported")
        elif state in ("set_aside", "failed") and reason:
            self._add(total, study_uid, "studies", "shelved")
            total.told.append(f"study {study_uid}: {state}, {code}: {reason}")
        else:
            self._add(total, study_uid, "studies", "lost")
            total.told.append(f"study {study_uid} is {state or 'unknown'}")

    @staticmethod
    def _why_not_stored(ledger: sqlite3.Connection, line: dict[str, str], data: str = "") -> str:
        row = ledger.execute(
            "SELECT path, transfer_syntax_uid FROM instances WHERE sop_instance_uid = ? AND sha256 = ?",
            (line["uid"], line["sha256"]),
        ).fetchone()
        if row is None:
            return "acknowledged and not in the ledger"
        database = ledger.execute("PRAGMA database_list").fetchone()[2]
        path = Path(database).parent / row[0]
        if not path.is_file():
            return "acknowledged and not on disk"
        content = path.read_bytes()
        # PS3.10 7.1: preamble, "DICM", and (0002,0000) with the length of the meta information that follows it.
        start = 144 + struct.unpack_from("<L", content, 140)[0]
        digest = hashlib.sha256(row[1].encode() + b"\n" + content[start:]).hexdigest()
        return "" if digest == line["sha256"] else "acknowledged and not these bytes on disk"

    def _check_object(self, ledger: sqlite3.Connection, line: dict[str, str], total: Tally) -> None:
        """One SOP Instance UID and one content for each role of each job, and none that the ledger does not know of."""
        row = ledger.execute(
            "SELECT deliveries.job_id, role, delivered_at, deliveries.sop_instance_uid, revises FROM deliveries "
            "JOIN jobs ON jobs.id = deliveries.job_id WHERE sop_instance_uid = ?",
            (line["uid"],),
        ).fetchone()
        study_uid = line["study"]
        if row is None:
            self._add(total, study_uid, "twice")
            total.told.append(f"the PACS has {line['uid']} of {study_uid}, which the ledger does not know of")
            return
        if row[2] is None:
            self._add(total, study_uid, "lost")
            total.told.append(f"the PACS has {line['uid']}, which is not on record as delivered")
        copies = self._seen_at_pacs[study_uid, row[0], row[1]]
        if (line["uid"], line["sha256"]) in copies:
            self._add(total, study_uid, "resent")
        elif copies:
            self._add(total, study_uid, "twice")
            total.told.append(f"the PACS has two {row[1]} of job {row[0]}")
        elif row[4] is not None and row[1] == "narrative":
            self._add(total, study_uid, "revised")
        copies[line["uid"], line["sha256"]] += 1

    def _check_ledger_and_pacs(self, ledger: sqlite3.Connection, tally: Tally) -> None:
        """No second report that revises none, and at the PACS all that is on record as delivered."""
        # A study's reports beyond the first each revise another, on other images.
        for study, count in ledger.execute(
            "SELECT study_id, count(*) FROM jobs WHERE state = 'done' AND revises IS NULL GROUP BY study_id "
            "HAVING count(*) > 1"
        ):
            what = f"study {study} has {count} reports that revise none"
            if what not in self._told:
                self._told.add(what)
                tally.twice += 1
                tally.told.append(what)
        delivered = ledger.execute("SELECT sop_instance_uid FROM deliveries WHERE delivered_at IS NOT NULL")
        at_pacs = {uid for copies in self._seen_at_pacs.values() for uid, _ in copies}
        for (uid,) in delivered:
            if uid not in at_pacs and uid not in self._told:
                self._told.add(uid)
                tally.lost += 1
                tally.told.append(f"{uid} is on record as delivered, and the PACS has it not")

    def _left_over(self, ledger: sqlite3.Connection) -> list[str]:
        data = self._stack.data_dir
        found = [f"work directory {path.name} left" for path in (data / "work").glob("*")]
        known = {path for (path,) in ledger.execute("SELECT path FROM deliveries")}
        found += [f"{path.name} left in results" for path in (data / "results").glob("*")
                  if str(path.relative_to(data)) not in known]  # fmt: skip
        incoming = list((data / "spool" / ".incoming").iterdir())
        found += [f"{path.name} left in .incoming" for path in incoming if path.stat().st_size]
        if len(incoming) > _MAY_LIE_IN_INCOMING:
            found.append(f"{len(incoming)} names left in .incoming")
        stored = {path for (path,) in ledger.execute("SELECT path FROM instances")}
        found += [f"{path} is in no ledger" for path in (data / "spool").glob("??/*/*")
                  if str(path.relative_to(data)) not in stored]  # fmt: skip
        return found

    def _lines(self, path: Path) -> list[dict[str, str]]:
        """The lines that are new."""
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._read.get(path, 0))
            new = file.read()
        self._read[path] = self._read.get(path, 0) + len(new)
        return [json.loads(line) for line in new.decode().splitlines()]

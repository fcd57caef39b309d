"""The tables that `pirtad status`, `show` and `inspect` print."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pirtad.daemon.cli.common import printable
from pirtad.daemon.web.snapshot import Snapshot
from pirtad.daemon.web.words import age, banner, local_time, spaced, why
from pirtad.inference.dicom.kinds import MAX_B0_S_PER_MM2, SAME_B_VALUE_S_PER_MM2, b_in_words
from pirtad.worker.ledger.breakers import Health
from pirtad.worker.ledger.shelf import Shelved
from pirtad.worker.ledger.views import StudyDetail

if TYPE_CHECKING:
    from pirtad.inference.dicom.choosing.inspection import ChosenRow, Inspection, SeriesRow

_STATE_STYLES = {
    "receiving": "cyan",
    "queued": "blue",
    "running": "bold blue",
    "waiting": "yellow",
    "reported": "green",
    "withdrawing": "bold yellow",
    "withdrawn": "bold magenta",
    "set_aside": "magenta",
    "failed": "bold red",
    "cancelled": "dim",
}

_STARTED_BY = {
    "whole": "DWI and ADC were whole",
    "quiet": "no new image for the quiet period",
    "cap": "the hard cap",
    "operator": "an operator",
}


def status(snapshot: Snapshot, now: float) -> Group:
    """Studies, counts, queues and notices."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("study", "state", "stage"):
        table.add_column(heading, overflow="fold")
    for heading in ("age", "images", "attempts"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("territory")
    table.add_column("what happened, what to do", overflow="fold", ratio=1)
    for study in snapshot.studies:
        table.add_row(
            _text(study.study_uid),
            _state(study.state),
            study.stage,
            age(now - study.first_received_at),
            str(study.images),
            str(study.attempts or ""),
            spaced(study.territory),
            _text("; ".join(part for part in (why(study), study.hint) if part)),
        )
    counts = "  ".join(f"{spaced(state)} {number}" for state, number in snapshot.counts.items())
    queues = "not reachable"
    if snapshot.queues is not None:
        queues = "  ".join(f"{name} {length}" for name, length in snapshot.queues.items())
    notices = [_text(f"  {age(now - notice.at):>9} ago  {notice.kind}: {notice.text}") for notice in snapshot.notices]
    body: RenderableType = table if snapshot.studies else Text("no study yet")
    peers = destinations(snapshot.destinations, now)
    tail = [Text("\nnotices:", style="bold"), *notices] if notices else []
    return Group(body, Text(f"\nstudies: {counts}"), Text(f"queues:  {queues}"), *peers, *tail)


def destinations(found: Sequence[Health], now: float) -> list[Text]:
    """A line for each destination that was ever tried."""
    lines = []
    for one in found:
        if one.is_open:
            told = f"DOWN, {one.failures} failures in a row, next try in {age(max(0.0, one.retry_at - now))}"
        elif one.failures:
            told = f"{one.failures} failures in a row"
        else:
            told = "ok"
        if one.last_ok_at is not None:
            told += f"; last answered {age(now - one.last_ok_at)} ago"
        if one.last_error:
            told += f"; {one.last_error}"
        lines.append(_text(f"  {one.name}: {told}", style="bold red" if one.is_open else ""))
    return [Text("\ndestinations:", style="bold"), *lines] if lines else []


def shelf(found: Sequence[Shelved], now: float) -> RenderableType:
    """The dead-letter shelf."""
    if not found:
        return Text("nothing is on the shelf")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("study", overflow="fold")
    for heading in ("state", "since", "reason code"):
        table.add_column(heading, no_wrap=True)
    table.add_column("destination", overflow="fold")
    table.add_column("why, what to do", overflow="fold", ratio=1)
    for one in found:
        table.add_row(
            _text(one.study_uid),
            _state(one.state),
            age(now - one.since),
            _text(one.code),
            _text(", ".join(one.destinations)),
            _text("; ".join(part for part in (one.reason, one.hint) if part)),
        )
    return table


def detail(found: StudyDetail, now: float) -> Group:
    """One study in full."""
    study = found.study
    head = Table(box=None, show_header=False, pad_edge=False)
    head.add_column(style="bold")
    head.add_column(overflow="fold")
    rows: list[tuple[str, str | Text]] = [
        ("study", _text(study.study_uid)),
        ("state", _state(study.state)),
        ("stage", f"{study.stage}, attempt {study.attempts}" if study.stage else ""),
        ("received", f"{local_time(study.first_received_at)}, {age(now - study.first_received_at)} ago"),
        ("from", _text(study.calling_ae)),
        ("images", f"{study.images} in {study.series} series, {study.duplicates} received again"),
        ("territory", spaced(study.territory)),
        ("reason", _text(f"{study.reason} [{study.reason_code}]" if study.reason else "")),
        ("what to do", _text(study.hint)),
        ("note", _text(study.note)),
        ("priority", _text(f"{study.priority} {study.priority_because}".strip())),
        ("started by", _text(_STARTED_BY.get(study.started_by, ""))),
        ("report due", "" if study.due_at is None else local_time(study.due_at)),
        ("images removed", "" if study.removed_at is None else local_time(study.removed_at)),
        ("last error", _text(study.last_error if study.last_error != study.reason else "")),
    ]
    for name, value in rows:
        if value:
            head.add_row(name, value)
    parts: list[RenderableType] = [head]
    series = Table("series", "modality", "images", box=None, pad_edge=False, header_style="bold")
    for uid, modality, count in found.series:
        series.add_row(_text(uid), _text(modality), str(count))
    events = Table("at", "event", "", box=None, pad_edge=False, header_style="bold")
    for event in found.events:
        events.add_row(local_time(event.at), _text(event.kind), _text(event.text))
    parts += [Text(), series, Text(), events]
    for share in found.shipments:
        waits = "" if share.next_attempt_at is None else f", next attempt {local_time(share.next_attempt_at)}"
        told = "; ".join(part for part in (spaced(share.commitment), share.reason, share.hint) if part)
        parts.append(_text(f"\ndestination {share.destination}: {share.state}{waits}{': ' if told else ''}{told}"))
    for delivery in found.deliveries:
        sent = (
            "not delivered yet" if delivery.delivered_at is None else f"delivered {local_time(delivery.delivered_at)}"
        )
        answered = "" if delivery.status is None else f", status 0x{delivery.status:04X}"
        answered += "" if delivery.committed_at is None else f", committed {local_time(delivery.committed_at)}"
        answered += ", withdrawn" if delivery.is_withdrawn else ""
        parts.append(
            _text(f"\n{delivery.role} {delivery.sop_instance_uid} to {delivery.destination}: {sent}{answered}")
        )
    if found.report_text:
        parts.append(Text())
        parts.append(Panel(_text(found.report_text.rstrip()), title=banner(found)))
    return Group(*parts)


def inspection(found: Inspection) -> Group:
    """The series of a folder, what they were taken for and why, and what would be made of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("nr", no_wrap=True)
    table.add_column("description", overflow="fold")
    table.add_column("kind", min_width=9)
    table.add_column("b")
    for heading in ("slices", "voxel mm", "taken as"):
        table.add_column(heading, no_wrap=True)
    reasons = Table(box=None, pad_edge=False, show_header=False)
    reasons.add_column(no_wrap=True)
    reasons.add_column(overflow="fold")
    for row in found.series:
        table.add_row(
            f"{row.series_number:g}",
            _text(row.description),
            spaced(" ".join(row.kinds)) or _text(row.modality),
            " ".join(_b_groups(row.b_values)),
            _slices(row),
            "" if row.spacing_mm is None else " ".join(f"{mm:.3g}" for mm in row.spacing_mm),
            " and ".join(row.chosen_as).upper(),
        )
        reasons.add_row(f"series {row.series_number:g}:", _text(_reasons(row, found.series)))
    return Group(table, Text(), reasons, *_verdict(found))


def _b_groups(b_values: Iterable[float]) -> list[str]:
    """B values (s/mm2) as a protocol names them: next to none as 0, what scanners reached for one value as one."""
    weighted = sorted(b for b in b_values if b > MAX_B0_S_PER_MM2)
    groups: list[list[float]] = []
    for b in weighted:
        if not groups or b - groups[-1][0] > SAME_B_VALUE_S_PER_MM2:
            groups.append([])
        groups[-1].append(b)
    unweighted = ["0"] if any(b <= MAX_B0_S_PER_MM2 for b in b_values) else []
    return unweighted + [b_in_words(group[len(group) // 2]) for group in groups]


def _slices(row: SeriesRow) -> str:
    """E.g. '25, 13 times'; the number of images where they make no stack."""
    if row.spacing_mm is None or row.shape is None:
        return f"{row.n_images} images"
    volumes = row.n_images // row.shape[2]
    return str(row.shape[2]) if volumes == 1 else f"{row.shape[2]}, {volumes} times"


def _reasons(row: SeriesRow, rows: Sequence[SeriesRow]) -> str:
    """What the header says a series is, and why it was not taken; its UID where its number is another's, too."""
    parts = []
    if any(other.series_number == row.series_number and other.series_uid != row.series_uid for other in rows):
        parts.append(f"UID {row.series_uid}")
    if row.because:
        kinds = " and ".join(spaced(kind).upper() for kind in row.kinds)
        because = _merged(row.because)
        # 'ADC by ImageType ADC', but 'ADC: the name says ADC'.
        parts.append(f"{kinds}{': ' if because[:1].islower() else ' by '}{because}")
    if row.rejected_because:
        parts.append(f"not taken: {row.rejected_because}")
    return "; ".join(parts)


_CLAUSES_SHOWN = 3
_COUNTER = re.compile(r"#\d+")  # UIH numbers the directions of a sequence
_VALUE = re.compile(r" -?\d+(\.\d+)?(e[+-]?\d+)?$")
_MAKER_OF_A_TAG = re.compile(r"^(\w+) (?=.*\([0-9A-F]{4},[0-9A-F]{4}\))")


def _merged(because: Iterable[str]) -> str:
    """The reasons of a series' images as one: each attribute once, with its value if there is just one."""
    values: dict[str, set[str]] = {}
    for text in because:
        for clause in _COUNTER.sub("", text).split(", "):
            values.setdefault(_VALUE.sub("", clause), set()).add(clause)
    clauses = [name if len(said) > 1 else min(said) for name, said in values.items()]
    shown, maker = [], ""
    for clause in clauses[:_CLAUSES_SHOWN]:
        named = _MAKER_OF_A_TAG.match(clause)
        # 'UIH b value (0065,1009), sequence (0065,102D)': the maker is named once.
        shown.append(clause[named.end() :] if named and named[1] == maker else clause)
        maker = named[1] if named else ""
    left = len(clauses) - len(shown)
    return ", ".join(shown) + (f" and {left} more" if left else "")


def _verdict(found: Inspection) -> list[RenderableType]:
    if found.refused is not None:
        refused = found.refused
        return [_text(f"\nnot usable: {refused.reason} [{refused.code}] {refused.hint}".rstrip(), style="red")]
    lines: list[RenderableType] = [Text()]
    for name, chosen in (("DWI", found.dwi), ("ADC", found.adc)):
        if chosen is not None:
            shape, spacing = " x ".join(map(str, chosen.shape)), " x ".join(f"{mm:.3g}" for mm in chosen.spacing_mm)
            b = "" if chosen.b_value is None else f", b {b_in_words(chosen.b_value)} s/mm2"
            of = _numbers(chosen, found.series)
            lines.append(_text(f"{name}: {of}{chosen.how}{b}; {shape} voxels of {spacing} mm; unit {chosen.unit}"))
    terms = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in found.score if value)
    lines.append(_text(f"score {sum(value for _, value in found.score):.1f}: {terms}"))
    lines += [_text(remark, style="yellow") for remark in found.remarks]
    return [*lines, Text("usable", style="green")]


def _numbers(chosen: ChosenRow, rows: Iterable[SeriesRow]) -> str:
    """E.g. 'series 12, ', for the beginning of a line."""
    numbers = sorted({row.series_number for row in rows if row.series_uid == chosen.series_uid})
    return f"series {' and '.join(f'{number:g}' for number in numbers)}, " if numbers else ""


def _text(value: str, style: str = "") -> Text:
    """As it is: no markup, and nothing that the terminal would obey."""
    return Text(printable(value), style=style)


def _state(state: str) -> Text:
    return Text(spaced(state), style=_STATE_STYLES.get(state, ""))

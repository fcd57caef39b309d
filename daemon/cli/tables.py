"""The tables that `pirtad status`, `show` and `inspect` print."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pirtad.daemon.cli.common import printable
from pirtad.daemon.web.snapshot import Snapshot
from pirtad.daemon.web.words import age, local_time, spaced, why
from pirtad.worker.ledger.views import StudyDetail

_STATE_STYLES = {
    "receiving": "cyan",
    "queued": "blue",
    "running": "bold blue",
    "waiting": "yellow",
    "reported": "green",
    "set_aside": "magenta",
    "failed": "bold red",
    "cancelled": "dim",
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
    tail = [Text("\nnotices:", style="bold"), *notices] if notices else []
    return Group(body, Text(f"\nstudies: {counts}"), Text(f"queues:  {queues}"), *tail)


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
    for delivery in found.deliveries:
        sent = (
            "not delivered yet" if delivery.delivered_at is None else f"delivered {local_time(delivery.delivered_at)}"
        )
        answered = "" if delivery.status is None else f", status 0x{delivery.status:04X}"
        parts.append(_text(f"\n{delivery.sop_instance_uid} to {delivery.destination}: {sent}{answered}"))
    if found.report_text:
        parts.append(Text())
        parts.append(Panel(_text(found.report_text.rstrip()), title="AI DRAFT - NOT REVIEWED - not for diagnosis"))
    return Group(*parts)


def inspection(found: dict[str, Any]) -> Group:
    """The series of a folder and what they were taken for (`Inspection.to_dict`)."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("series", "description", "modality", "kind", "b", "images", "taken as"):
        table.add_column(heading, overflow="fold")
    table.add_column("why not", overflow="fold", ratio=1)
    for row in found["series"]:
        table.add_row(
            _text(row["series_uid"]),
            _text(row["description"]),
            _text(row["modality"]),
            row["kind"],
            " ".join(f"{value:g}" for value in row["b_values"]),
            str(row["n_images"]),
            " and ".join(row["chosen_as"]).upper(),
            _text(row["rejected_because"] or ""),
        )
    refused = found["refused"]
    verdict = Text("\nusable", style="green")
    if refused is not None:
        verdict = _text(
            f"\nnot usable: {refused['reason']} [{refused['code']}] {refused['hint']}".rstrip(), style="red"
        )
    return Group(table, verdict)


def _text(value: str, style: str = "") -> Text:
    """As it is: no markup, and nothing that the terminal would obey."""
    return Text(printable(value), style=style)


def _state(state: str) -> Text:
    return Text(spaced(state), style=_STATE_STYLES.get(state, ""))

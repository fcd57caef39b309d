"""The tables that `pirtad status`, `show` and `inspect` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pirtad.daemon.cli.common import printable
from pirtad.daemon.web.snapshot import Snapshot
from pirtad.daemon.web.words import age, local_time, spaced, why
from pirtad.worker.ledger.views import StudyDetail

if TYPE_CHECKING:
    from pirtad.inference.dicom.choosing.inspection import Inspection, SeriesRow

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


def inspection(found: Inspection) -> Group:
    """The series of a folder, what they were taken for, and what would be made of them."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("nr", "description", "kind", "b", "slices", "voxel mm", "taken as"):
        table.add_column(heading, overflow="fold")
    table.add_column("why, or why not", overflow="fold", ratio=1)
    for row in found.series:
        table.add_row(
            f"{row.series_number:g}",
            _text(row.description),
            " ".join(row.kinds) or row.modality,
            " ".join(f"{value:.4g}" for value in row.b_values),
            _slices(row),
            "" if row.spacing_mm is None else " ".join(f"{mm:.3g}" for mm in row.spacing_mm),
            " and ".join(row.chosen_as).upper(),
            _text(row.rejected_because or "; ".join(row.because)),
        )
    return Group(table, *_verdict(found))


def _slices(row: SeriesRow) -> str:
    """E.g. '25 x 13 volumes'; the number of images where they make no stack."""
    if row.spacing_mm is None or row.shape is None:
        return f"{row.n_images} images"
    volumes = row.n_images // row.shape[2]
    return str(row.shape[2]) if volumes == 1 else f"{row.shape[2]} x {volumes} volumes"


def _verdict(found: Inspection) -> list[RenderableType]:
    if found.refused is not None:
        refused = found.refused
        return [_text(f"\nnot usable: {refused.reason} [{refused.code}] {refused.hint}".rstrip(), style="red")]
    lines: list[RenderableType] = [Text()]
    for name, row in (("DWI", found.dwi), ("ADC", found.adc)):
        if row is not None:
            shape, spacing = " x ".join(map(str, row.shape)), " x ".join(f"{mm:.3g}" for mm in row.spacing_mm)
            b = "" if row.b_value is None else f", b {row.b_value:g} s/mm2"
            lines.append(_text(f"{name}: {row.how}{b}; {shape} voxels of {spacing} mm; unit {row.unit}"))
    terms = ", ".join(f"{name.replace('_', ' ')} {value:.1f}" for name, value in found.score if value)
    lines.append(_text(f"score {sum(value for _, value in found.score):.1f}: {terms}"))
    lines += [_text(remark, style="yellow") for remark in found.remarks]
    return [*lines, Text("usable", style="green")]


def _text(value: str, style: str = "") -> Text:
    """As it is: no markup, and nothing that the terminal would obey."""
    return Text(printable(value), style=style)


def _state(state: str) -> Text:
    return Text(spaced(state), style=_STATE_STYLES.get(state, ""))

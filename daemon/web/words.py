"""How times and outcomes are told to people; the page and `pirtad status` use the same words."""

from __future__ import annotations

from datetime import UTC, datetime

from pirtad.worker.contract import StudyState
from pirtad.worker.ledger.views import StudyDetail, StudyView


def age(seconds: float) -> str:
    """A duration: 45 s, 12 min, 3 h 05, 2 d 4 h."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    if hours < 24:
        return f"{hours} h {minutes % 60:02d}"
    return f"{hours // 24} d {hours % 24} h"


def local_time(at: float) -> str:
    """POSIX seconds as date and time where the server stands."""
    return f"{datetime.fromtimestamp(at, tz=UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def spaced(name: str) -> str:
    """A state or territory in words: `set_aside` is set aside."""
    return name.replace("_", " ")


def why(study: StudyView) -> str:
    """What happened: why it is shelved or withdrawn, or the last attempt's error while another one follows."""
    told = [study.last_error if study.state is StudyState.WAITING else study.reason]
    if study.state is StudyState.WITHDRAWING:
        told.append(study.last_error)  # why the note has not arrived yet
    return "; ".join(part for part in (*urgency(study), *told, study.note) if part)


def urgency(study: StudyView) -> list[str]:
    """That a study is urgent, and that its report was not there in time."""
    told = [f"STAT ({study.priority_because})"] if study.priority == "stat" else []
    if study.missed_at is not None:
        told.append("report OVERDUE" if study.finished_at is None else "report came after its objective")
    return told


def banner(detail: StudyDetail) -> str:
    """What stands above a report's text, wherever it is shown."""
    if detail.study.state is StudyState.WITHDRAWN:
        return "WITHDRAWN - AI DRAFT - NOT REVIEWED - not for diagnosis"
    if detail.is_retracted:
        return "TO BE WITHDRAWN - AI DRAFT - NOT REVIEWED - not for diagnosis"
    return "AI DRAFT - NOT REVIEWED - not for diagnosis"

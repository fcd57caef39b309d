"""Renders the pages: Jinja2 with everything escaped, templates beside this file, times from the given clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pirtad.daemon.web.snapshot import Snapshot
from pirtad.daemon.web.words import age, banner, local_time, spaced, why
from pirtad.worker.contract import SHELVED, UNFINISHED, StudyState
from pirtad.worker.ledger.views import StudyDetail

_DEFAULT_LIMIT = 200
_DEFAULT_REFRESH_S = 5
_RETRYABLE = {*(state.value for state in SHELVED), StudyState.WITHDRAWN.value}
_CANCELLABLE = {state.value for state in UNFINISHED}


class Pages:
    """The three pages, as HTML text."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(age=age, local_time=local_time, spaced=spaced)
        self._templates.globals.update(why=why, banner=banner)

    def queue(self, snapshot: Snapshot, states: tuple[StudyState, ...], limit: int, refresh_s: int) -> str:
        """The queue page. states: those shown, empty for all. refresh_s: 0 stands still."""

        def link(chosen: tuple[StudyState, ...], refresh: int) -> str:
            query = [("state", str(state)) for state in chosen]
            query += [("limit", str(limit))] if limit != _DEFAULT_LIMIT else []
            query += [("refresh", str(refresh))] if refresh != _DEFAULT_REFRESH_S else []
            return f"/?{urlencode(query)}" if query else "/"

        return self._templates.get_template("queue.html").render(
            now=self._clock(), snapshot=snapshot, states=states, limit=limit, refresh_s=refresh_s, link=link,
            default_refresh_s=_DEFAULT_REFRESH_S,
        )  # fmt: skip

    def study(self, detail: StudyDetail) -> str:
        """One study's page."""
        state = detail.study.state.value
        return self._templates.get_template("study.html").render(
            now=self._clock(), detail=detail, study=detail.study, refresh_s=0,
            can_retry=state in _RETRYABLE, can_cancel=state in _CANCELLABLE,
            can_retract=detail.study.state is StudyState.REPORTED,
        )  # fmt: skip

    def problem(self, status: int, told: str) -> str:
        """A page that says what went wrong."""
        return self._templates.get_template("problem.html").render(
            now=self._clock(), status=status, told=told, refresh_s=_DEFAULT_REFRESH_S if status == 503 else 0
        )

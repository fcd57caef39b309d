"""The queue page, its JSON, its metrics and its health checks. Studies are changed with `pirtad`; registry facts
and a priority are taken here (`pirtad.daemon.web.registry`, `.priority`)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import redis
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pirtad.daemon.web.metrics import make_registry
from pirtad.daemon.web.pages import Pages
from pirtad.daemon.web.priority import add_priority
from pirtad.daemon.web.registry import add_registry
from pirtad.daemon.web.snapshot import Snapshot, lengths_or_none, take
from pirtad.worker.contract import StudyState
from pirtad.worker.ledger import views
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.views import StudyDetail
from pirtad.worker.queue import redis_client
from pirtad.worker.settings import Settings

_QUEUE_TIMEOUT_S = 1.0  # the page must not hang with the queue
_NOTICES = 3  # above the table, where they are seen; /api/studies has more
_HERE = Path(__file__).parent
_HEADERS = {
    # Reports are on these pages: nothing is cached, framed, fetched from elsewhere or told to elsewhere.
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

States = Annotated[list[StudyState], Query(alias="state", description="Only studies in these states.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Studies shown, the newest first.")]
RefreshS = Annotated[int, Query(ge=0, le=3600, description="Seconds between refreshes; 0 for none.")]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def make_app(settings: Settings, database: Database, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application. `database` stays the caller's to close; `clock` gives POSIX seconds."""
    client = redis_client(settings, timeout_s=_QUEUE_TIMEOUT_S)
    threshold = settings.delivery.breaker_failures
    pages = Pages(clock)
    registry = make_registry(database, client, clock)
    stylesheet = (_HERE / "style.css").read_bytes()
    # FastAPI's own documentation pages load scripts from elsewhere.
    app = FastAPI(
        title="pirtad", version=version("pirtad"), docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )

    if settings.web.host in _LOOPBACK:
        # A page of another origin whose name was made to point here would else read reports through the browser.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*_LOOPBACK, "[::1]"])

    @app.middleware("http")
    async def harden(request: Request, respond: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await respond(request)
        response.headers.update(_HEADERS)
        return response

    @app.exception_handler(SQLAlchemyError)
    def ledger_fails(request: Request, _error: Exception) -> Response:
        return _problem(pages, request, 503, "The ledger can't be reached. `pirtad doctor` tells more.")

    @app.exception_handler(StarletteHTTPException)
    def http_problem(request: Request, error: StarletteHTTPException) -> Response:
        return _problem(pages, request, error.status_code, error.detail)

    @app.get("/", response_class=HTMLResponse)
    def queue_page(states: States = [], limit: Limit = 200, refresh: RefreshS = 5) -> str:  # noqa: B006 - FastAPI copies
        return pages.queue(
            take(database, client, limit, states, notices=_NOTICES, breaker_failures=threshold),
            tuple(states),
            limit,
            refresh,
        )

    @app.get("/studies/{study_uid}", response_class=HTMLResponse)
    def study_page(study_uid: str) -> str:
        return pages.study(_known(database, study_uid))

    @app.get("/style.css")
    def style() -> Response:
        return Response(stylesheet, media_type="text/css")

    @app.get("/api/studies")
    def api_studies(states: States = [], limit: Limit = 200) -> dict[str, Any]:  # noqa: B006
        found: Snapshot = take(database, client, limit, states, breaker_failures=threshold)
        return found.to_dict()

    @app.get("/api/studies/{study_uid}")
    def api_study(study_uid: str) -> dict[str, Any]:
        return asdict(_known(database, study_uid))

    add_registry(app, database, clock)
    add_priority(app, database, settings.priority, clock)

    @app.get("/api/queues")
    def api_queues() -> Response:
        lengths = lengths_or_none(client)
        if lengths is None:
            return JSONResponse({"reachable": False, "queues": None}, status_code=503)
        return JSONResponse({"reachable": True, "queues": {str(stage): n for stage, n in lengths.items()}})

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"name": "pirtad", "version": version("pirtad")}

    @app.get("/readyz")
    def readyz() -> Response:
        services = {"ledger": _ledger_answers(database), "queue": _queue_answers(client)}
        ready = all(services.values())
        return JSONResponse({"ready": ready, **services}, status_code=200 if ready else 503)

    return app


def _known(database: Database, study_uid: str) -> StudyDetail:
    detail = views.study(database, study_uid)
    if detail is None:
        raise HTTPException(404, "This study is not known here.")
    return detail


def _problem(pages: Pages, request: Request, status: int, told: str) -> Response:
    """An error as the asker wants it: JSON below /api, a page elsewhere."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": told}, status_code=status)
    return HTMLResponse(pages.problem(status, told), status_code=status)


def _ledger_answers(database: Database) -> bool:
    try:
        with database.reading() as session:
            session.execute(text("SELECT 1 FROM studies LIMIT 1"))
    except SQLAlchemyError:
        return False
    return True


def _queue_answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False

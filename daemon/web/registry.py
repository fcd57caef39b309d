"""Registry facts through the API: what the hospital's systems know of a patient and the images do not say.

Nobody is asked for a password here, as on all of the page: whoever reaches it can give facts for a draft to come. They
are checked, kept with their giver and time, and never change a report that is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from starlette.concurrency import run_in_threadpool

from pirtad.worker.ledger import registry_facts
from pirtad.worker.ledger.database import Database
from pirtad.worker.ledger.operating import NotPossible
from pirtad.worker.ledger.registry_facts import Giving
from pirtad.worker.registry.facts import MAX_BODY_BYTES, FactsRefused, given_facts, giver

_PATH = "/api/studies/{study_uid}/registry"


def add_registry(app: FastAPI, database: Database, clock: Callable[[], float]) -> None:
    """Register PUT, GET and DELETE of a study's registry facts."""

    def keep(giving: Giving) -> dict[str, Any]:
        try:
            told = registry_facts.keep(database, giving)
        except NotPossible as error:
            raise HTTPException(409, str(error)) from error
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return {
            "study_uid": giving.study_uid,
            "given_at": giving.given_at,
            "given_by": giving.given_by,
            "kept": sorted(giving.facts),
            "told": told,
        }

    @app.put(_PATH)
    async def give_registry(study_uid: str, request: Request) -> dict[str, Any]:
        raw = await _object(request)
        try:
            by = giver(raw.pop("given_by", None), _address(request))
            facts = given_facts(raw)
        except FactsRefused as error:
            raise HTTPException(422, str(error)) from error
        if not facts.names():
            raise HTTPException(422, "There is no fact in it; DELETE takes back what was given.")
        return await run_in_threadpool(keep, Giving(study_uid, clock(), by, "api", facts.to_dict()))

    @app.get(_PATH)
    def given_registry(study_uid: str) -> dict[str, Any]:
        giving = registry_facts.newest(database, study_uid)
        if giving is None:
            raise HTTPException(404, "No facts are kept for this study.")
        return {
            "study_uid": giving.study_uid,
            "given_at": giving.given_at,
            "given_by": giving.given_by,
            "via": giving.via,
            "facts": giving.facts,
        }

    @app.delete(_PATH)
    def clear_registry(study_uid: str, request: Request) -> dict[str, Any]:
        return keep(Giving(study_uid, clock(), _address(request), "api", {}))


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else "unknown"


async def _object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. FastAPI's own parsing would answer a mistake by quoting what was sent."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "application/json is wanted.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"More than {MAX_BODY_BYTES} bytes.")
    try:
        read = json.loads(bytes(body).decode("utf-8"), object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, "A JSON object with distinct names is wanted.") from error
    if not isinstance(read, dict):
        raise HTTPException(422, "A JSON object is wanted.")
    return read


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """One value for each name: of two, nobody knows which was meant."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found

"""The checks of `pirtad doctor` that look at models; torch is loaded when they run."""

# ruff: noqa: PLC0415 - what a daemon-only installation lacks is imported where it can be missing
from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from urllib.error import HTTPError

from pirtad.daemon.cli.checks import Finding
from pirtad.inference.errors import InferenceError
from pirtad.worker.settings import Settings

_TIMEOUT_S = 5.0


def models(settings: Settings) -> Finding:
    """Encoder and case base load, their manifests hold, and they belong together."""
    try:
        from pirtad.inference.engine import SHIPPED_CASE_BASE, SHIPPED_WEIGHTS
        from pirtad.inference.models.encoder import Encoder
        from pirtad.inference.ood.calibration import Calibration
        from pirtad.inference.retrieval.case_base import CaseBase
    except ModuleNotFoundError as error:
        return _not_installed("models", error)
    weights = settings.inference.weights_dir or SHIPPED_WEIGHTS
    cases = settings.inference.case_base_dir or SHIPPED_CASE_BASE
    try:
        encoder = Encoder.load(weights, device="cpu")
        base = CaseBase.load(cases, encoder.manifest)
    except InferenceError as error:
        return Finding("models", False, f"{error.reason} [{error.code}]", error.hint)
    except OSError as error:
        advice = "check inference.weights_dir and inference.case_base_dir"
        return Finding("models", False, f"{error.filename}: {error.strerror}", advice)
    if Calibration.load(cases) is None:
        told = "the case base has no calibration: unfamiliar studies are not noticed"
        return Finding("models", False, told, "fit one with `pirtad evaluate ood --fit`")
    return Finding("models", True, f"encoder {encoder.manifest.name}, {base.info().cases} cases")


def language_model(settings: Settings) -> Finding:
    """The bundled language model is installed, or the endpoint serves the configured one."""
    chosen = settings.language_model
    if chosen.backend == "local":
        from pirtad.inference.report.gguf_cache import bundled_gguf

        try:
            return Finding("language model", True, f"bundled {bundled_gguf().stem}")
        except InferenceError as error:
            return Finding("language model", False, error.reason, error.hint)
    base = chosen.base_url.rstrip("/")
    headers = {"Authorization": f"Bearer {key}"} if (key := chosen.api_key.get_secret_value()) else {}
    try:
        served = [str(model["id"]) for model in json.loads(_get(f"{base}/models", headers))["data"]]
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        told = f"language_model.base_url does not list its models ({_shown(error)})"
        return Finding("language model", False, told, "start the server, or correct [language_model]")
    if chosen.model not in served:
        told = f"the endpoint does not serve {chosen.model!r}; it serves {', '.join(served)}"
        return Finding("language model", False, told, "correct language_model.model")
    if status := _unhealthy(base):
        told = f"the endpoint lists {chosen.model} and says it is not healthy (HTTP status {status})"
        return Finding("language model", False, told, "look at the server's log; it may still be loading")
    return Finding("language model", True, f"endpoint serves {chosen.model}")


ALL: tuple[Callable[[Settings], Finding], ...] = (models, language_model)


def _not_installed(name: str, error: ModuleNotFoundError) -> Finding:
    return Finding(name, False, f"{error.name} is not installed", "needed where `pirtad worker` runs")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the named address alone."""

    def redirect_request(self, *_: object) -> None:
        """None: the answer stays the redirection's status."""


def _get(url: str, headers: dict[str, str]) -> bytes:
    """The body; OSError for whatever HTTP status is not 200. As the client asks: no proxy, no redirection."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as response:
            return bytes(response.read())
    except HTTPError as error:
        error.close()
        raise


def _unhealthy(base: str) -> int | None:
    """The status with which /health says so. vLLM and llama.cpp's server have it beside /v1, without a key; an endpoint
    that has none, or keeps it to itself, is not called ill."""
    try:
        _get(f"{base.removesuffix('/v1')}/health", {})
    except HTTPError as error:
        return error.code if error.code >= 500 else None
    except (OSError, HTTPException):
        return None
    return None


def _shown(error: Exception) -> str:
    return f"HTTP status {error.code}" if isinstance(error, HTTPError) else type(error).__name__

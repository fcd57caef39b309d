"""The offline engine as these settings want it: the one place where settings become models."""

from __future__ import annotations

from pirtad.inference.engine import Engine
from pirtad.inference.errors import ModelMismatch
from pirtad.inference.report.abstention import DraftRules
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.local_model import SHIPPED_ADAPTER, LocalModel
from pirtad.inference.report.openai_model import OpenAIModel, SchemaDialect
from pirtad.worker.settings import Settings


def load_engine(settings: Settings) -> Engine:
    """Encoder, case base and language model; loading them all now, so that no study waits for it."""
    if settings.inference.threads:
        import torch  # noqa: PLC0415 - only a worker that infers pays for it

        torch.set_num_threads(settings.inference.threads)
    try:
        return Engine.load(
            settings.inference.weights_dir,
            settings.inference.case_base_dir,
            language_model(settings),
            device=settings.inference.device,
            k=settings.inference.similar_cases,
            timeout_s=settings.language_model.timeout_s,
            rules=DraftRules(**settings.report.model_dump()),
        )
    except (RuntimeError, AssertionError) as error:
        # torch's words for a GPU that is not there, is full, or is not supported by this build.
        raise ModelMismatch(
            "device",
            f"the models can't be loaded on device {settings.inference.device} ({type(error).__name__})",
            "check inference.device and the GPU's driver and memory",
        ) from error


def language_model(settings: Settings) -> LanguageModel:
    """The configured language model; the bundled one is converted once and kept."""
    wanted = settings.language_model
    if wanted.backend == "openai":
        return OpenAIModel(
            wanted.base_url,
            wanted.model,
            api_key=wanted.api_key.get_secret_value(),
            schema_dialect=SchemaDialect(wanted.schema_dialect),
            max_concurrent_requests=wanted.max_concurrent_requests,
        )
    adapter = wanted.adapter_dir or (SHIPPED_ADAPTER if wanted.tuned else None)
    model = LocalModel(wanted.cache_dir or settings.storage.data_dir / "models", adapter_dir=adapter)
    model.load()
    return model

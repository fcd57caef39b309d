"""The offline pipeline: DICOM files in, drafted report out. The workers and `pirtad predict` run these same functions.

read series -> preprocess            prepare()
encode -> retrieve -> generate       Engine.draft()
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pirtad.inference.models.encoder import Encoder
from pirtad.inference.prepared import Prepared
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.report import Report
from pirtad.inference.retrieval.case_base import CaseBase

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "small"
SHIPPED_CASE_BASE = SHIPPED_WEIGHTS / "case_base"


class Engine:
    """Encoder, case base and language model that belong together."""

    def __init__(
        self, encoder: Encoder, case_base: CaseBase, language_model: LanguageModel, *, k: int, timeout_s: float
    ) -> None:
        """k: cases to retrieve. timeout_s: longest wait for the language model."""
        self._encoder = encoder
        self._case_base = case_base
        self._k = k
        sources = Sources(
            encoder_name=encoder.manifest.name,
            encoder_sha256=encoder.manifest.weights_sha256,
            preprocessing_version=encoder.manifest.preprocessing_version,
            case_base_sha256=case_base.info().sha256,
            pirtad_version=version("pirtad"),
        )
        self._generator = Generator(language_model, sources, timeout_s=timeout_s)

    @classmethod
    def load(
        cls, weights_dir: Path | None, case_base_dir: Path | None, language_model: LanguageModel, *,
        device: str = "cpu", k: int = 5, timeout_s: float = 120.0,
    ) -> Engine:  # fmt: skip
        """Load from directories (None: what ships); ModelMismatch if they don't belong together."""
        encoder = Encoder.load(weights_dir or SHIPPED_WEIGHTS, device=device)
        case_base = CaseBase.load(case_base_dir or SHIPPED_CASE_BASE, encoder.manifest)
        return cls(encoder, case_base, language_model, k=k, timeout_s=timeout_s)

    def draft(self, prepared: Prepared) -> Report:
        """Encode, retrieve, generate. Raises LanguageModelUnavailable or ModelMismatch."""
        vector = self._encoder.encode(prepared.network_input.array)
        similar = self._case_base.search(vector, self._k)
        return self._generator.generate(prepared.registry, similar, image_notes=prepared.image_notes)

"""The offline pipeline: DICOM files in, drafted report out. The workers and `pirtad predict` run these same functions.

read series -> preprocess            prepare()
encode -> retrieve -> generate       Engine.draft()
encode -> retrieve -> measure        Engine.analyse(), beside the report
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import agreement
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.lesion.measure import measure_lesion
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.ood.calibration import Calibration
from pirtad.inference.prepared import Prepared
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.report import Report
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.volume import DiffusionPair

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "small"
SHIPPED_CASE_BASE = SHIPPED_WEIGHTS / "case_base"


class Engine:
    """Encoder, case base and language model that belong together."""

    def __init__(
        self, encoder: Encoder, case_base: CaseBase, language_model: LanguageModel, *,
        k: int, timeout_s: float, case_base_dir: Path | None = None,
    ) -> None:  # fmt: skip
        """k: cases to retrieve. timeout_s: longest wait for the language model. case_base_dir: where the case base's
        calibration lies, None for none."""
        self._encoder = encoder
        self._case_base = case_base
        self._k = k
        self._case_base_dir = case_base_dir
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
        cases_dir = case_base_dir or SHIPPED_CASE_BASE
        case_base = CaseBase.load(cases_dir, encoder.manifest)
        return cls(encoder, case_base, language_model, k=k, timeout_s=timeout_s, case_base_dir=cases_dir)

    @property
    def maps_lesions(self) -> bool:
        """Whether the weights have a decoder for a lesion map."""
        return self._encoder.manifest.config.map_width > 0

    def draft(self, prepared: Prepared) -> Report:
        """Encode, retrieve, generate. Raises LanguageModelUnavailable or ModelMismatch."""
        vector = self._encoder.encode(prepared.network_input.array)
        similar = self._case_base.search(vector, self._k)
        return self._generator.generate(prepared.registry, similar, image_notes=prepared.image_notes)

    def analyse(self, prepared: Prepared, pair: DiffusionPair) -> Analysis:
        """What this study's own images show, and whether head, neighbours and measurement agree.

        pair: what `prepared` was made from. Raises ModelMismatch when the retrieved cases support nothing.
        """
        patient = prepared.network_input
        vector, odds = self._encoder.encode_and_classify(patient.array)
        similar = self._case_base.search(vector, self._k)
        calibration = None if self._case_base_dir is None else Calibration.load(self._case_base_dir)
        familiar = None if calibration is None else calibration.assess(vector, similar, odds, patient)
        lesion, mask = None, None
        if self.maps_lesions:
            lesion, mask = measure_lesion(self._encoder.lesion_probability(patient.array), patient, pair)
        probabilities = {territory: float(share) for territory, share in zip(Territory, odds, strict=True)}
        head = max(Territory, key=lambda territory: probabilities[territory])
        agreed = agreement(head, weigh(similar).territory, lesion)
        return Analysis(probabilities, similar, familiar, lesion, mask, agreed)

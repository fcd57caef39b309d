"""The offline pipeline: DICOM files in, drafted report out. The workers and `pirtad predict` run these same functions.

read series -> preprocess            prepare()
encode -> retrieve -> measure        Engine.analyse()
             check -> generate       Engine.draft(), from the analysis
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.agreement import agreement
from pirtad.inference.lesion.analysis import Analysis
from pirtad.inference.lesion.measure import measure_lesion
from pirtad.inference.lesion.measure_coverage import measure_coverage
from pirtad.inference.models.encoder import Encoder
from pirtad.inference.ood.calibration import Calibration
from pirtad.inference.prepared import Prepared
from pirtad.inference.report.abstention import DraftRules
from pirtad.inference.report.evidence import weigh
from pirtad.inference.report.generate import Generator, Sources
from pirtad.inference.report.language_model import LanguageModel
from pirtad.inference.report.report import Report
from pirtad.inference.retrieval.case_base import CaseBase

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "small"
SHIPPED_CASE_BASE = SHIPPED_WEIGHTS / "case_base"


class Engine:
    """Encoder, case base and language model that belong together."""

    def __init__(
        self, encoder: Encoder, case_base: CaseBase, language_model: LanguageModel, *,
        k: int, timeout_s: float, calibration: Calibration | None = None, rules: DraftRules | None = None,
    ) -> None:  # fmt: skip
        """k: cases to retrieve. timeout_s: longest wait for the language model. calibration: of the case base, None for
        none. rules: when a draft may be given; None for the strictest."""
        self._encoder = encoder
        self._case_base = case_base
        self._k = k
        self._calibration = calibration
        sources = Sources(
            encoder_name=encoder.manifest.name,
            encoder_sha256=encoder.manifest.weights_sha256,
            preprocessing_version=encoder.manifest.preprocessing_version,
            case_base_sha256=case_base.info().sha256,
            pirtad_version=version("pirtad"),
        )
        self._generator = Generator(language_model, sources, timeout_s=timeout_s, rules=rules)

    @classmethod
    def load(
        cls, weights_dir: Path | None, case_base_dir: Path | None, language_model: LanguageModel, *,
        device: str = "cpu", k: int = 5, timeout_s: float = 120.0, rules: DraftRules | None = None,
    ) -> Engine:  # fmt: skip
        """Load from directories (None: what ships); ModelMismatch if they don't belong together."""
        encoder = Encoder.load(weights_dir or SHIPPED_WEIGHTS, device=device)
        cases_dir = case_base_dir or SHIPPED_CASE_BASE
        case_base = CaseBase.load(cases_dir, encoder.manifest)
        calibration = Calibration.load(cases_dir)
        return cls(encoder, case_base, language_model, k=k, timeout_s=timeout_s, calibration=calibration, rules=rules)

    @property
    def maps_lesions(self) -> bool:
        """Whether the weights have a decoder for a lesion map."""
        return self._encoder.manifest.config.map_width > 0

    def draft(self, prepared: Prepared) -> tuple[Report, Analysis]:
        """Encode, retrieve, measure, generate. Raises LanguageModelUnavailable or ModelMismatch."""
        analysis = self.analyse(prepared)
        return self._generator.generate(prepared.registry, analysis, image_notes=prepared.image_notes), analysis

    def analyse(self, prepared: Prepared) -> Analysis:
        """What this study's own images show, and whether head, neighbours and measurement agree.

        Cases of the same patient are not retrieved. Raises ModelMismatch when the retrieved cases support nothing.
        """
        patient = prepared.network_input
        seen = self._encoder.see(patient.array)
        similar = self._case_base.search(seen.vector, self._k, exclude_patient=self._own(prepared))
        familiar = None
        if self._calibration is not None:
            familiar = self._calibration.assess(seen.vector, similar, seen.odds, patient)
        lesion, mask, coverage = None, None, None
        if prepared.pair is not None:
            lesion, mask, registration = measure_lesion(seen.lesion_probability, patient, prepared.pair)
            coverage = measure_coverage(patient, prepared.pair, registration, adc_is_computed=prepared.adc_is_computed)
        probabilities = {territory: float(share) for territory, share in zip(Territory, seen.odds, strict=True)}
        head = max(Territory, key=lambda territory: probabilities[territory])
        agreed = agreement(head, weigh(similar).territory, lesion)
        return Analysis(probabilities, similar, familiar, lesion, mask, agreed, coverage)

    def _own(self, prepared: Prepared) -> str | None:
        """The patient's pseudonym in this case base; None where either has none."""
        pseudonyms = self._case_base.pseudonyms
        if pseudonyms is None or prepared.patient_id is None:
            return None
        return pseudonyms.of(prepared.patient_id)

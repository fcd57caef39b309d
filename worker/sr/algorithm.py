"""The algorithm behind each measurement group, with what reproduces it (PS3.16 TID 4019, Algorithm Identification)."""

from __future__ import annotations

from highdicom.sr import AlgorithmIdentification

from pirtad.inference.report.report import Report
from pirtad.worker.sr.equipment import MANUFACTURER, MODEL_NAME
from pirtad.worker.sr.source import SourceStudy


def algorithm(report: Report, source: SourceStudy) -> AlgorithmIdentification:
    """Name, version and parameters; cases are named by their pseudonymous ids."""
    provenance = report.provenance
    return AlgorithmIdentification(
        name=MODEL_NAME,
        version=provenance.pirtad_version,
        manufacturer=MANUFACTURER,
        parameters=[f"{name}: {value}" for name, value in _parameters(report, source)],
    )


def _parameters(report: Report, source: SourceStudy) -> list[tuple[str, str]]:
    provenance = report.provenance
    told = [
        ("preprocessing version", provenance.preprocessing_version),
        ("image encoder", provenance.encoder_name),
        ("image encoder sha256", provenance.encoder_sha256),
        ("case base sha256", provenance.case_base_sha256),
        ("similar cases weighed (k)", str(len(report.similar))),
        *(
            (f"similar case {rank}", f"{case.case_id}, cosine similarity {case.similarity:.4f}")
            for rank, case in enumerate(report.similar, start=1)
        ),
        ("statement from", str(report.basis)),
    ]
    if provenance.language_model:
        told += [
            ("language model", provenance.language_model),
            ("language model digest", provenance.language_model_digest),
            ("prompt sha256", provenance.prompt_sha256),
        ]
    told.append(("apparent diffusion coefficient", "computed" if source.adc_is_computed else "map as received"))
    if source.b_value_s_per_mm2 is not None:
        told.append(("b-value of the DWI, s/mm2", f"{source.b_value_s_per_mm2:g}"))
    return told

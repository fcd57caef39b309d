"""The content tree of the narrative: TID 2000 "Basic Diagnostic Imaging Report" (PS3.16) within Basic Text SR's rules.

Basic Text SR (PS3.3 A.35.1.3.1) has no NUM: scores and similarities are text. The headings come in the order a
radiologist reads them, and the first text anybody sees is the draft mark.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    LanguageOfContentItemAndDescendants,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from pirtad.inference.report.report import ABOUT_SIMILAR, DRAFT_MARK, NOT_ASSESSED, NOT_PROVIDED, Report, SimilarCase
from pirtad.worker.sr import codes
from pirtad.worker.sr.equipment import MANUFACTURER, device_observer
from pirtad.worker.sr.source import SourceStudy

# UT allows tab, line feed, form feed and carriage return of the control characters (PS3.5 6.1.3); escape belongs to
# the character set.
_FORBIDDEN_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f]")
_NEW_LINE = re.compile("\r\n|\r|\n")


def content_tree(report: Report, source: SourceStudy) -> Dataset:
    """The root content item with everything below it."""
    root = ContainerContentItem(name=codes.TITLE, is_content_continuous=False, template_id="2000")
    root.ContentSequence = [
        *LanguageOfContentItemAndDescendants(CodedConcept.from_code(codes.ENGLISH)),
        CodeContentItem(name=codes.PROCEDURE_REPORTED, value=codes.MR_BRAIN, relationship_type="HAS CONCEPT MOD"),
        *device_observer(report.provenance),
        # A reader may stop after the impressions: what limits them comes before them.
        _section(codes.SUMMARY, [_text(codes.SUMMARY, one) for one in _summary(report)]),
        _section(
            codes.CLINICAL_INFORMATION,
            [
                _text(codes.PATIENT_PRESENTATION, report.clinical_presentation),
                _text(codes.NIHSS, report.nihss),
            ],
        ),
        _section(codes.HISTORY, [_text(codes.HISTORY, report.past_medical_history)]),
        _section(codes.FINDINGS, [_text(codes.FINDING, one) for one in (report.findings, *report.measured)]),
        _section(
            codes.IMPRESSIONS,
            [
                _text(codes.IMPRESSION, one)
                for one in (report.impression, *report.beside_impression, *_no_draft_because(report))
            ],
        ),
        *_similar_cases(report.similar),
        _section(codes.CURRENT_PROCEDURE, _about(report, source)),
    ]
    return root


def _summary(report: Report) -> list[str]:
    said = [] if report.is_draft else ["No draft is given: what was measured by software follows, not verified."]
    return [DRAFT_MARK, *said, report.caution(), NOT_ASSESSED]


def _no_draft_because(report: Report) -> list[str]:
    return [f"No draft because: {reason}" for reason in report.abstained_because]


def _similar_cases(similar: Sequence[SimilarCase]) -> list[ContentItem]:
    if not similar:
        return []
    cases = [
        f"[{rank}] Similarity Score: {case.similarity:.2f} (case {case.case_id})\n{case.finding}"
        for rank, case in enumerate(similar, start=1)
    ]
    return [_section(codes.SIMILAR_CASES, [_text(codes.SIMILAR_CASE, one) for one in (*cases, ABOUT_SIMILAR)])]


def _about(report: Report, source: SourceStudy) -> list[ContentItem]:
    provenance = report.provenance
    lines = [
        report.caution(),
        *report.image_notes,
        _assessed(source),
        report.assessed[-1],  # the coverage; what comes before it is told above, with the series
        NOT_ASSESSED,
        f"Findings and impression: {report.basis}.",
        f"Drafted by {MANUFACTURER} {provenance.pirtad_version} without human review. "
        f"Image encoder: {provenance.encoder_name}, sha256 {provenance.encoder_sha256}; "
        f"preprocessing {provenance.preprocessing_version}. Case base: sha256 {provenance.case_base_sha256}.",
    ]
    if provenance.language_model:
        lines.append(
            f"Language model: {provenance.language_model}, digest {provenance.language_model_digest}; "
            f"prompt sha256 {provenance.prompt_sha256}."
        )
    return [_text(codes.PROCEDURE_DESCRIPTION, line) for line in lines]


def _assessed(source: SourceStudy) -> str:
    """What the encoder saw, and of which received images; of a multi-frame object it may have seen a part."""
    b_value = "" if source.b_value_s_per_mm2 is None else f"b = {source.b_value_s_per_mm2:.0f} s/mm2"
    dwi = ", ".join(filter(None, (_series(source.dwi), b_value)))
    if source.adc_is_computed:
        adc = f"an apparent diffusion coefficient map that {MANUFACTURER} computed from {_series(source.adc)}"
        return f"Assessed: diffusion-weighted images ({dwi}) and {adc}."
    if source.shared():
        weighted = f"diffusion-weighted images ({b_value})" if b_value else "diffusion-weighted images"
        return f"Assessed: {weighted} and apparent diffusion coefficient, both in {_series(source.images())}."
    return f"Assessed: diffusion-weighted images ({dwi}) and apparent diffusion coefficient ({_series(source.adc)})."


def _series(images: Sequence[Dataset]) -> str:
    """Series numbers, and how many images; each once, however often it was used."""
    distinct = {str(image.SOPInstanceUID): image for image in images}.values()
    numbers = sorted({int(image.SeriesNumber) for image in distinct if image.get("SeriesNumber") is not None})
    frames = [int(image.get("NumberOfFrames") or 1) for image in distinct]
    if max(frames) > 1:
        count = f"{_counted(len(frames), 'object')} of {_counted(sum(frames), 'frame')}"
    else:
        count = _counted(len(frames), "image")
    return f"series {_listed(numbers)}, {count}" if numbers else count


def _listed(numbers: Sequence[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _section(heading: Code, items: Sequence[ContentItem]) -> ContentItem:
    section = ContainerContentItem(name=heading, is_content_continuous=False, relationship_type="CONTAINS")
    section.ContentSequence = list(items)
    return section


def _text(name: Code, value: str) -> ContentItem:
    """A TEXT item; lines part with CR LF (PS3.5 6.1.3). Empty text is not allowed and would say nothing."""
    lines = _NEW_LINE.sub("\r\n", _FORBIDDEN_CONTROL.sub(" ", value)).strip()
    return TextContentItem(name=name, value=lines or NOT_PROVIDED, relationship_type="CONTAINS")

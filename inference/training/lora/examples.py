"""Instruction examples: the product's own prompt with really retrieved cases, and the answer that it should get.

PIRTA section 2.3.2: the model is tuned to write the report from the registry and the findings of the five retrieved
cases. Here encoder and case base are the product's, so neighbours are wrong as often as they are in use. What the
answer says where they are wrong: docs/adr/0012-lora.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pirtad.inference.findings import Finding
from pirtad.inference.report.evidence import FINDING_OF_SENTENCE, Evidence, weigh
from pirtad.inference.report.language_model import Message
from pirtad.inference.report.prompt import PROMPT_CASES, chat_messages
from pirtad.inference.report.registry_text import history_text, nihss_text, presentation_sentence
from pirtad.inference.report.report import Registry, SimilarCase
from pirtad.inference.report.schema import SECTIONS, Draft
from pirtad.inference.report.wording import impressions
from pirtad.inference.retrieval.case import Case
from pirtad.inference.retrieval.case_base import CaseBase
from pirtad.inference.training.cases import CaseRecipe, load_case

# How training.build writes where a simulated case comes from.
_SEED = re.compile(r"^simulated\b.*\bseed ([0-9]+)")
_SUBJECT = re.compile(r"\bsub-[0-9A-Za-z]+")


class Encodes(Protocol):
    """What is asked of an encoder (models.encoder.Encoder)."""

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit vector float32 (D,) of the network's input (2, 96, 112, 48)."""


class Taught(StrEnum):
    """What the findings of an answer are."""

    TRUTH = "the truth"
    NEAREST = "the supported sentence nearest to the truth"
    VOTE = "the best supported sentence of another territory than the truth's"


@dataclass(frozen=True, slots=True)
class Example:
    """case: name of its recipe. similar: retrieved, best first. target: the answer; taught: what it states."""

    case: str
    registry: Registry = field(repr=False)
    similar: tuple[SimilarCase, ...]
    evidence: Evidence
    truth: Finding
    target: Draft
    taught: Taught

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt, as the product asks."""
        return chat_messages(self.registry, self.similar)

    @property
    def answer(self) -> str:
        """The answer as compact JSON in the schema's order, as constrained decoding writes it."""
        sections = asdict(self.target)
        ordered = {section: sections[section] for section in SECTIONS}
        return json.dumps(ordered, ensure_ascii=False, separators=(",", ":"))


def examples_of(
    encoder: Encodes, case_base: CaseBase, paths: Iterable[Path], registry_of: Callable[[CaseRecipe], Registry]
) -> list[Example]:
    """An example of each stored case (training.cases), read one at a time, but of those whose neighbours support no one
    territory: of such the product asks no model (report.abstention)."""
    own = OwnCases(case_base.cases)
    made = []
    for path in paths:
        case = load_case(path)
        vector = encoder.encode(case.array.astype(np.float32))
        similar = own.others(case_base, vector, case.recipe)
        if not similar or weigh(similar).is_weak:
            continue
        made.append(example(case.recipe.name, registry_of(case.recipe), similar, case.finding))
    return made


def example(case: str, registry: Registry, similar: tuple[SimilarCase, ...], truth: Finding) -> Example:
    """The example of one case. Raises ModelMismatch like `evidence.weigh`."""
    evidence = weigh(similar)
    finding, taught = target_sentence(truth, evidence)
    target = Draft(
        clinical_presentation=presentation_sentence(registry),
        nihss=nihss_text(registry),
        past_medical_history=history_text(registry),
        findings=finding,
        # The prompt does not say whether a reduced ADC was measured, so "acute" is never taught.
        impression=impressions(evidence.territory, acute=False)[0],
    )
    return Example(case, registry, similar, evidence, truth, target, taught)


def target_sentence(truth: Finding, evidence: Evidence) -> tuple[str, Taught]:
    """What the answer should state: always a sentence that the evidence supports (docs/adr/0012-lora.md)."""
    if truth.sentence() in evidence.sentences:
        return truth.sentence(), Taught.TRUTH
    if truth.territory is not evidence.territory:
        return evidence.sentences[0], Taught.VOTE

    def agreement(sentence: str) -> int:
        said = FINDING_OF_SENTENCE[sentence]
        return (said.infarct_type is truth.infarct_type) + (said.signal_class is truth.signal_class)

    return max(evidence.sentences, key=agreement), Taught.NEAREST  # the first of equals is the best supported


class OwnCases:
    """Which cases of a case base show a simulated case itself, or its lesion."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._by_key: dict[str, set[str]] = {}
        for case in cases:
            keys = set(_SUBJECT.findall(case.provenance))
            if (seed := _SEED.match(case.provenance)) is not None:
                keys.add(f"seed {int(seed[1])}")
            if case.patient is not None and case.patient.startswith("soop-"):
                keys.add(case.patient.replace("soop-", "sub-", 1))
            for key in keys:
                self._by_key.setdefault(key, set()).add(case.case_id)

    def of(self, recipe: CaseRecipe) -> set[str]:
        """Their ids: the same seed (whatever the simulation's version), or the same subject's lesion or images."""
        lesion = set() if recipe.subject is None else self._by_key.get(recipe.subject, set())
        return self._by_key.get(f"seed {recipe.seed}", set()) | lesion

    def others(self, case_base: CaseBase, vector: NDArray[np.float32], recipe: CaseRecipe) -> tuple[SimilarCase, ...]:
        """The five most similar other cases, best first."""
        own = self.of(recipe)
        found = case_base.search(vector, PROMPT_CASES + len(own))
        return tuple(case for case in found if case.case_id not in own)[:PROMPT_CASES]

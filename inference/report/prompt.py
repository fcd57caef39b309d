"""The prompt of PIRTA (table 3), as chat messages for an instruct model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from pirtad.inference.report.language_model import Message
from pirtad.inference.report.registry_text import registry_line
from pirtad.inference.report.report import Registry, SimilarCase

# Table 3 lists five cases (m = 5, section 2.3.2).
PROMPT_CASES = 5

# Not in the paper, whose model is tuned on the layout: an instruct model must be told the form of its answer.
SYSTEM = (
    "You draft reports on diffusion-weighted brain MRI for a radiologist to review. "
    "Answer with one JSON object with the keys clinical_presentation, nihss, past_medical_history, findings and "
    "impression. Take the findings from the similar patient reports and add nothing to them."
)


def user_prompt(registry: Registry, similar: Sequence[SimilarCase]) -> str:
    """Wording and layout of table 3's input: the registry, and the first five findings without their scores."""
    findings = [f"[{rank}] {case.finding}" for rank, case in enumerate(similar[:PROMPT_CASES], start=1)]
    return "\n".join(
        [
            "Provide proper clinical report based on Registry and Similar patient reports.",
            f"### Registry: {registry_line(registry)}",
            "### Similar patient reports:",
            *findings,
        ]
    )


def chat_messages(registry: Registry, similar: Sequence[SimilarCase]) -> tuple[Message, ...]:
    """System and user message."""
    return (
        Message(role="system", content=SYSTEM),
        Message(role="user", content=user_prompt(registry, similar)),
    )


def prompt_sha256(messages: Sequence[Message]) -> str:
    """sha256 hex of the whole prompt: the messages as JSON with sorted keys, UTF-8."""
    text = json.dumps(list(messages), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

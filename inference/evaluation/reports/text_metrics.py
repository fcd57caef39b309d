"""Likeness of wording to the truth's report: BLEU-1 to 4 (Papineni et al., ACL 2002), ROUGE-1, 2 and L (Lin, 2004) and
METEOR (Banerjee and Lavie, 2005), by nltk and rouge-score.

Each is a mean over reports of the measure of one report against its references, the best of them where the measure
knows one reference. BLEU is that of sentences, smoothed by Chen and Cherry's method 1 (a missing n-gram counts 0.1),
for a corpus measure has no interval by resampling reports here. ROUGE is the F measure without stemming.
METEOR compares words and Porter stems alone: its third stage needs WordNet's synonyms, which are not shipped; nltk is
handed a dictionary without entries. It comes out lower than METEOR proper wherever a synonym is used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec

_WORDS = re.compile(r"\w+|[^\w\s]")
_PACKAGES = {"nltk": "nltk", "rouge_score": "rouge-score"}
BLEU_ORDERS = 4
_ROUGE = {"rouge1": "rouge_1", "rouge2": "rouge_2", "rougeL": "rouge_l"}
METRICS = (*(f"bleu_{order}" for order in range(1, BLEU_ORDERS + 1)), *_ROUGE.values(), "meteor_without_synonyms")


class _NoSynonyms:
    """WordNet as nltk asks it, empty."""

    def synsets(self, word: str) -> list[str]:
        """No meaning is known of any word."""
        return []


def missing_packages() -> list[str]:
    """Packages of the extra "evaluate" that are needed here and not installed."""
    return [package for module, package in _PACKAGES.items() if find_spec(module) is None]


def likeness(text: str, references: Sequence[str]) -> dict[str, float]:
    """Every one of METRICS, in [0, 1], of a text against one or more references. Raises ValueError without any."""
    # Imported here: they are optional, and the program starts without them.
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu  # noqa: PLC0415
    from nltk.translate.meteor_score import meteor_score  # noqa: PLC0415
    from rouge_score.rouge_scorer import RougeScorer  # noqa: PLC0415

    if not references:
        raise ValueError("no reference to compare with")
    said, known = _tokens(text), [_tokens(one) for one in references]
    if not said:
        return dict.fromkeys(METRICS, 0.0)
    weights = [(1 / order,) * order for order in range(1, BLEU_ORDERS + 1)]
    bleu = sentence_bleu(known, said, weights=weights, smoothing_function=SmoothingFunction().method1)
    found = {f"bleu_{order}": float(score) for order, score in enumerate(bleu, start=1)}
    rouge = RougeScorer(list(_ROUGE), use_stemmer=False).score_multi(list(references), text)
    found |= {name: float(rouge[key].fmeasure) for key, name in _ROUGE.items()}
    found["meteor_without_synonyms"] = float(meteor_score(known, said, wordnet=_NoSynonyms()))
    return found


def _tokens(text: str) -> list[str]:
    return _WORDS.findall(text.lower())

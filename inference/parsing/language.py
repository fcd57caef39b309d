"""Is a report in English? The rules know no other language, and half a sentence understood is worse than none."""

from __future__ import annotations

import re
import unicodedata

_ENGLISH = frozenset(
    re.findall(
        r"\w+",
        "the of in no is are with and there on or for without evidence left right within at small seen acute old "
        "findings impression not lobe artery involving area which has this",
    )
)
# Function words of the languages a European or Latin American hospital writes in, none of them an English word.
_OTHER = frozenset(
    re.findall(
        r"\w+",
        "der das und keine kein nicht mit im ein eine einer links rechts ohne bei den dem des zum hinweis auf "
        "le la les du une dans pas sans avec droite gauche droit au aux et el los las del con sin izquierda derecha "
        "izquierdo derecho una y se il di della nel senza sinistra destra sinistro destro dello alla "
        "het een geen met zonder van da do na sem com esquerda direita esquerdo direito uma e",
    )
)
_MOST_OTHER_LETTERS = 0.1  # chosen: a name or a symbol in Greek does not make a report foreign


def is_english(text: str) -> bool:
    """Whether the rules may be applied; a text without any word is not English."""
    letters = [char for char in text if char.isalpha()]
    if not letters:
        return False
    if foreign_letters(text) > _MOST_OTHER_LETTERS * len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", text.lower())
    return sum(word in _OTHER for word in words) <= sum(word in _ENGLISH for word in words)


def foreign_letters(text: str) -> int:
    """Letters that are neither Latin nor Greek symbols of the trade (as in µ)."""
    return sum(
        char.isalpha() and not unicodedata.name(char, "?").startswith(("LATIN", "GREEK", "MICRO")) for char in text
    )

"""What the registry says, as the text of prompt and report; what it does not say reads "not provided".

Free text comes from outside: it is put on one line, freed of control and invisible characters and cut at a stated
length with a visible mark, so that it can neither imitate the prompt's layout, nor read otherwise than it is written,
nor grow without bound. In the prompt alone, what may be a model's control token is parted: the report quotes it whole.
"""

from __future__ import annotations

import re
import unicodedata

from pirtad.inference.report.report import NOT_PROVIDED, Registry

# Chosen; see ADR 0005. In characters.
PRESENTATION_MAX = 256
HISTORY_MAX = 512
CUT_MARK = " [shortened]"

# Ages that begin with a vowel sound: 8, 11, 18 and the eighties.
_AN = {8, 11, 18, *range(80, 90)}
_SEXES = ("Female", "Male")
# Control characters, and lone surrogates, which UTF-8 can't carry.
_UNWANTED = ("Cc", "Cs")
# Bidirectional overrides, zero-width and private characters, as `dicom.registry.clean` takes them out of headers.
_INVISIBLE = ("Cf", "Co")
# What opens <|im_end|>, </s>, <start_of_turn>, [INST]: a tokeniser takes these within a text for its own. "<3 h" stays.
_OPENS_CONTROL_TOKEN = re.compile(r"<(?=[^\s\d=<])|\[(?=/?[A-Z_]+\])")


def one_line(text: str | None, limit: int) -> str | None:
    """Free text on one line of at most `limit` characters and the cut mark; None when nothing is left."""
    if text is None:
        return None
    visible = (char for char in text if unicodedata.category(char) not in _INVISIBLE)
    printable = "".join(" " if unicodedata.category(char) in _UNWANTED else char for char in visible)
    line = " ".join(printable.split())
    if len(line) > limit:
        line = line[:limit].rstrip() + CUT_MARK
    return line or None


def nihss_text(registry: Registry) -> str:
    """'32.0' as in PIRTA table 3, or 'not provided'."""
    return NOT_PROVIDED if registry.nihss is None else f"{registry.nihss:.1f}"


def history_text(registry: Registry) -> str:
    """'HTN, Afib', or 'not provided'."""
    history = one_line(registry.history, HISTORY_MAX)
    return (history or "").rstrip(" ,") or NOT_PROVIDED


def presentation_text(registry: Registry) -> str:
    """'Altered Mentality', or 'not provided'."""
    presentation = one_line(registry.presentation, PRESENTATION_MAX)
    return (presentation or "").rstrip(" ,.") or NOT_PROVIDED


def registry_line(registry: Registry) -> str:
    """The registry as the prompt has it (PIRTA table 3): '75-year-old, Female, Altered Mentality, 32.0, HTN, Afib,'."""
    age = NOT_PROVIDED if registry.age_years is None else f"{registry.age_years}-year-old"
    sex = one_line(registry.sex, PRESENTATION_MAX) or NOT_PROVIDED
    fields = (age, sex, presentation_text(registry), nihss_text(registry), history_text(registry))
    return _OPENS_CONTROL_TOKEN.sub(r"\g<0> ", ", ".join(fields)) + ","


def presentation_sentence(registry: Registry) -> str:
    """'A 75-year-old Female patient with Altered Mentality.' (PIRTA table 3), and an honest form for each gap."""
    words = ["An" if registry.age_years in _AN else "A"]
    notes = []
    if registry.age_years is None:
        notes.append(f"age {NOT_PROVIDED}")
    else:
        words.append(f"{registry.age_years}-year-old")
    sex = one_line(registry.sex, PRESENTATION_MAX)
    if sex in _SEXES:
        words.append(sex)
    else:
        notes.append(f"sex {sex or NOT_PROVIDED}")
    words.append("patient")
    who = " ".join(words) + (f" ({', '.join(notes)})" if notes else "")
    presentation = presentation_text(registry)
    if presentation == NOT_PROVIDED:
        return f"{who}; presentation {NOT_PROVIDED}."
    return f"{who} with {presentation}."

"""Facts about the patient that the registry does not have: an age, a sex, a score, a complaint or an illness.

Read by a list of words, so a fact in other words is missed: the count is a lower bound.
"""

from __future__ import annotations

import re

from pirtad.inference.report.report import Registry

_AGE = re.compile(r"\b(\d{1,3})[- ]?(?:year|yr)s?[- ]old|\baged? (?:of )?(\d{1,3})\b", re.I)
_SEX = re.compile(r"\b(?:(?P<Female>female|woman)|(?P<Male>male|man))\b", re.I)
_NIHSS = re.compile(r"\bNIHSS\b(?:\s*score)?[\s:=]*(?:of|was|is)?\s*(\d{1,2}(?:\.\d+)?)", re.I)
_TERMS = {
    name: re.compile(rf"\b(?:{pattern})", re.I)
    for name, pattern in {
        "hypertension": r"hypertens\w+|HTN\b",
        "diabetes": r"diabet\w+|DM\b",
        "atrial fibrillation": r"atrial fib\w+|a-?fib\b",
        "lipids": r"(?:dys|hyper)lipid\w+|hypercholest\w+",
        "coronary disease": r"coronary|CAD\b|myocardial|angina",
        "smoking": r"smok\w+|tobacco",
        "alcohol": r"alcohol\w*",
        "earlier stroke": r"(?:previous|prior|history of|recurrent) (?:\w+ )?(?:stroke|TIA|infarct\w*)",
        "cancer": r"cancer|carcinoma|malignan\w+",
        "kidney disease": r"(?:chronic )?(?:kidney|renal) (?:disease|failure)|CKD\b",
        "paresis": r"(?:hemi|mono|tetra)(?:par|pleg)\w+|\w*sided weakness|weakness",
        "facial palsy": r"facial (?:palsy|droop\w*|paralysis|weakness)",
        "dysarthria": r"dysarthri\w+|slurred speech",
        "aphasia": r"aphasi\w+",
        "vertigo": r"vertigo|dizz\w+",
        "vision": r"visual (?:field|loss|disturb)\w*|hemianop\w+|diplopia|blurred vision",
        "ataxia": r"ataxi\w+",
        "consciousness": r"altered mental\w*|unconscious\w*|confus(?:ion|ed)|stupor\w*|coma\b",
        "headache": r"headache\w*",
        "seizure": r"seizure\w*|epilep\w+",
        "numbness": r"numb\w*|paresthesi\w+",
    }.items()
}


def invented_facts(text: str, registry: Registry) -> tuple[str, ...]:
    """What a report tells about the patient and the registry does not: "age", "sex", "nihss" or a term's name, each
    once. A wrong value counts as invented."""
    known = f"{registry.presentation or ''}; {registry.history or ''}"
    ages = {int(one or other) for one, other in _AGE.findall(text)}
    sexes = {match.lastgroup for match in _SEX.finditer(text)}
    scores = {float(one) for one in _NIHSS.findall(text)}
    found = []
    if ages - {registry.age_years}:
        found.append("age")
    if sexes - {registry.sex}:
        found.append("sex")
    if scores - {registry.nihss}:
        found.append("nihss")
    found += [name for name, term in _TERMS.items() if term.search(text) and not term.search(known)]
    return tuple(found)

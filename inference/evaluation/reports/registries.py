"""Registries of simulated patients, who have none: drawn by the query's seed, with gaps as hospitals leave them."""

from __future__ import annotations

import numpy as np

from pirtad.inference.report.report import Registry

# Keeps these draws apart from those that the images were made with.
_STREAM = 5
# Chosen: wide enough that each gap and each kind of entry occurs. Adults alone, of known age: for others the product
# gives no draft, whatever the images show.
_AGES_YEARS = (18, 96)
_LARGEST_NIHSS = 32
_GIVEN = {"presentation": 0.9, "nihss": 0.7, "history": 0.7}
_PRESENTATIONS = (
    "Altered Mentality",
    "Right hemiparesis",
    "Left hemiparesis",
    "Dysarthria",
    "Aphasia",
    "Vertigo",
    "Visual field defect",
    "Facial palsy",
    "Ataxia",
)
_HISTORIES = ("HTN", "DM", "Afib", "Dyslipidemia", "CAD", "Smoking")


def drawn_registry(seed: int) -> Registry:
    """The registry of the query of this seed. It tells nothing about the images: a side in it is drawn as well."""
    rng = np.random.default_rng((seed, _STREAM))
    given = {name: rng.random() < share for name, share in _GIVEN.items()}
    history = rng.choice(_HISTORIES, size=int(rng.integers(1, 4)), replace=False)
    presentation = str(rng.choice(_PRESENTATIONS))
    nihss = float(rng.integers(0, _LARGEST_NIHSS + 1))
    return Registry(
        age_years=int(rng.integers(*_AGES_YEARS)),
        sex=str(rng.choice(("Female", "Male"))),
        presentation=presentation if given["presentation"] else None,
        nihss=nihss if given["nihss"] else None,
        history=", ".join(str(one) for one in history) if given["history"] else None,
    )

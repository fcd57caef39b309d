"""Modality codes, for texts in which nothing else may stand."""

from __future__ import annotations

# PS3.3 C.7.3.1.1.1: the modalities that a router meets.
_MODALITIES = frozenset(
    (
        *("CR", "CT", "DX", "MG", "US", "NM", "PT", "MR", "XA", "RF", "IO", "PX"),
        *("GM", "SM", "XC", "ES", "OP", "OPT", "OCT", "ECG", "HD", "EPS", "IVUS", "IVOCT"),
        *("BI", "BMD", "AU", "DOC", "SR", "KO", "PR", "SEG", "REG", "FID", "M3D", "RTIMAGE"),
        *("RTPLAN", "RTDOSE", "RTSTRUCT", "RTRECORD", "PLAN", "RWV", "SC", "OT"),
    )
)


def modality_in_words(modality: str) -> str:
    """A modality for a reason or a log, where only known codes may stand."""
    if not modality:
        return "not stated"
    return modality if modality in _MODALITIES else "not a known one"

"""Diffusivity units as headers write them."""

from __future__ import annotations

import re

# UCUM and free text: 'mm2/s', 'um2/s', '10-6.mm2/s', '10*-6.mm2/s', '10^-3 mm²/s', '1E-6 mm2/s', '* 10^-6 mm2/sec'.
_UNIT = re.compile(
    r"^[*x×]?(?:(?:10[*^]?|1\.?0*[eE])(?P<power>-\d+)[.*·]?)?"
    r"(?P<length>mm|[u\u00b5\u03bc]m)\^?[2²]/s(?:ec)?$"  # micro sign or Greek mu
)


def parse_unit(stated: str) -> float | None:
    """A diffusivity unit as its value in mm2/s; None for anything else."""
    found = _UNIT.match(re.sub(r"\s", "", stated).replace("−", "-"))
    if not found:
        return None
    power = int(found["power"]) if found["power"] else 0
    return float(10.0 ** (power - (0 if found["length"] == "mm" else 6)))

"""What was measured of a lesion: facts about this patient's images, with their units."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pirtad.inference.findings import Territory
from pirtad.inference.lesion.registration import Registration

# A lesion of which more than this lies in no region of the atlas counts as not located.
MOST_UNASSIGNED = 0.5


@dataclass(frozen=True, slots=True)
class RegionShare:
    """The lesion's part in one arterial region. code: of the atlas, e.g. MCAF; side: "left" or "right"; share: of the
    lesion's volume, 0 to 1."""

    code: str
    name: str
    side: str
    share: float
    ml: float


@dataclass(frozen=True, slots=True)
class LesionMeasurement:
    """Automatic and not verified by anyone. Without a lesion the volume is 0 and every other measure None.

    side: the patient's, "left", "right" or "bilateral" (the smaller part has a tenth or more); None where the middle of
        the head was not found. foci: separate parts of at least 0.1 ml.
    mean_adc_mm2_per_s: within the lesion. mirrored_adc_mm2_per_s: of the tissue opposite, without lesion and fluid;
        adc_ratio: of the two; None where nothing lies opposite.
    territories: largest first, and classes: shares of the part that has a region, adding up to 1; None when the head
        could not be brought onto the atlas. unassigned_share: of the volume that lies in no region.
    without_restriction: foci that the network marked and whose ADC is not reduced; in no other measure.
    registration: None when there was nothing to locate.
    """

    volume_ml: float
    side: str | None = None
    foci: int | None = None
    mean_adc_mm2_per_s: float | None = None
    mirrored_adc_mm2_per_s: float | None = None
    adc_ratio: float | None = None
    territories: tuple[RegionShare, ...] | None = None
    classes: dict[Territory, float] | None = None
    unassigned_share: float | None = None
    without_restriction: int = 0
    registration: Registration | None = None

    @property
    def dominant(self) -> Territory | None:
        """NORMAL without a lesion, else the class with most of it; None when no class could be told, or most of the
        lesion lies in no region."""
        if self.volume_ml == 0:
            return Territory.NORMAL
        if not self.classes or (self.unassigned_share or 0) > MOST_UNASSIGNED:
            return None
        shares = self.classes
        return max(shares, key=lambda territory: shares[territory])

    def to_dict(self) -> dict[str, Any]:
        """For JSON, rounded to what the measurement is worth."""
        return {
            "volume_ml": round(self.volume_ml, 2),
            "side": self.side,
            "foci": self.foci,
            "mean_adc_mm2_per_s": _adc(self.mean_adc_mm2_per_s),
            "mirrored_adc_mm2_per_s": _adc(self.mirrored_adc_mm2_per_s),
            "adc_ratio": _rounded(self.adc_ratio),
            "territories": None if self.territories is None else [_region(one) for one in self.territories],
            "classes": None if self.classes is None else {str(k): round(v, 3) for k, v in self.classes.items()},
            "unassigned_share": _rounded(self.unassigned_share),
            "foci_without_restriction": self.without_restriction,
            "registration": None if self.registration is None else _registration(self.registration),
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> LesionMeasurement:
        """The inverse of `dataclasses.asdict` for a measurement without its registration."""
        regions, classes = raw["territories"], raw["classes"]
        return cls(
            **{
                **raw,
                "territories": None if regions is None else tuple(RegionShare(**region) for region in regions),
                "classes": None if classes is None else {Territory(name): share for name, share in classes.items()},
            }
        )

    def lines(self) -> list[str]:
        """For a reader, a line each."""
        without = self.without_restriction
        marked = [f"Marked on DWI without reduced ADC, not counted: {without} foci"] if without else []
        if self.volume_ml == 0:
            return ["No lesion with reduced ADC measured.", *marked]
        side = self.side or "not known"
        lines = [f"Lesion with reduced ADC: {self.volume_ml:.1f} ml, {self.foci} foci, side: {side}"]
        if self.mean_adc_mm2_per_s is not None:
            opposite = ""
            if self.mirrored_adc_mm2_per_s is not None and self.adc_ratio is not None:
                opposite = f", opposite {self.mirrored_adc_mm2_per_s * 1e3:.2f}, ratio {self.adc_ratio:.2f}"
            lines.append(f"Mean ADC: {self.mean_adc_mm2_per_s * 1e3:.2f} x 10^-3 mm2/s{opposite}")
        if self.territories is not None:
            named = [f"{one.side} {one.name} {one.share:.0%} ({one.ml:.1f} ml)" for one in self.territories]
            lines.append("Arterial territories: " + "; ".join(named))
        elif self.registration is not None:
            lines.append(f"Arterial territories: not known; {self.registration.reason}")
        return lines + marked


def no_lesion(without_restriction: int = 0, registration: Registration | None = None) -> LesionMeasurement:
    """The measurement of a brain in which no acute infarct was found."""
    return replace(LesionMeasurement(0.0), without_restriction=without_restriction, registration=registration)


def _adc(value: float | None) -> float | None:
    return None if value is None else round(value, 7)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _region(region: RegionShare) -> dict[str, Any]:
    return {
        "name": region.name,
        "code": region.code,
        "side": region.side,
        "share": round(region.share, 3),
        "ml": round(region.ml, 2),
    }


def _registration(registration: Registration) -> dict[str, Any]:
    return {
        "seconds": round(registration.seconds, 2),
        "dice": round(registration.dice, 3),
        "correlation": round(registration.correlation, 3),
        "ok": registration.ok,
        "reason": registration.reason or None,
    }

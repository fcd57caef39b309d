"""How findings and measurements read in a report: words that say no more than was seen.

Table 1's "strong" and "mild" are signal, and a reader takes them for severity: they read markedly and mildly
hyperintense. "Acute" stands only where a reduced ADC was measured on this patient's images; bright DWI without it may
be subacute or T2 shine-through. Side and size come from the measurement alone: a neighbour's are not this patient's.
"""

from __future__ import annotations

from pirtad.inference.findings import NORMAL_FINDING, Finding, InfarctType, SignalClass, Territory
from pirtad.inference.lesion.measurement import LesionMeasurement

# From which share of the lesion a territory is named; the smaller side's share for "bilateral" is the same.
LEAST_SHARE_NAMED = 0.1
NO_RELIABLE_DRAFT = "No reliable draft can be given for this study."
NO_FINDINGS = "No findings are drafted."
_SIGNAL = {SignalClass.STRONG: "markedly", SignalClass.MILD: "mildly"}
_PATTERN = {
    InfarctType.LARGE_VASCULAR_TERRITORIAL: "large vascular territorial pattern",
    InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: "wedge-shaped vascular territorial pattern",
    InfarctType.SMALL_LACUNE: "small, lacunar pattern",
    InfarctType.SMALL_STRIATO_CAPSULAR: "small, striato-capsular pattern",
    InfarctType.SMALL_DIFFUSION_RESTRICTION: "small",
}


def reading(finding: Finding) -> str:
    """Table 1's sentence as a report has it: the territory first, and signal and pattern as those of the similar cases,
    since a neighbour's are not this patient's."""
    if finding.territory is Territory.NORMAL:
        return NORMAL_FINDING
    assert finding.signal_class is not None
    assert finding.infarct_type is not None
    return (
        f"Diffusion restriction in the {finding.territory.phrase} territory. "
        f"In the similar cases: {_SIGNAL[finding.signal_class]} hyperintense on DWI, {_PATTERN[finding.infarct_type]}."
    )


def impressions(territory: Territory, *, acute: bool) -> tuple[str, ...]:
    """The impressions for a territory, equal in meaning; none is a diagnosis. acute: a reduced ADC was measured."""
    if territory is Territory.NORMAL:
        return (
            NORMAL_FINDING,
            "No diffusion restriction detected within the coverage; acute ischaemic stroke is not excluded.",
        )
    where = f"in the {territory.phrase} territory"
    certain = f"Diffusion restriction {where}; acute infarction is one cause, others not excluded."
    if not acute:
        return (certain,)
    return (certain, f"Possible acute infarction {where}; other causes of diffusion restriction are not excluded.")


# Every impression that an answer may hold, right or wrong.
ALL_IMPRESSIONS = tuple(dict.fromkeys(text for territory in Territory for text in impressions(territory, acute=True)))


def measured_sentences(lesion: LesionMeasurement | None) -> tuple[str, ...]:
    """What was measured on this patient's images, for findings and impression; none without a lesion map."""
    if lesion is None:
        return ()
    said = []
    if lesion.volume_ml > 0:
        foci = f"{lesion.foci} {'focus' if lesion.foci == 1 else 'foci'}"
        side = f"{lesion.side}, " if lesion.side else "side not known, "
        adc = ""
        if lesion.mean_adc_mm2_per_s is not None:
            ratio = (
                "" if lesion.adc_ratio is None else f" ({lesion.adc_ratio:.0%} of the opposite side)".replace("%", " %")
            )
            adc = f", mean ADC {lesion.mean_adc_mm2_per_s * 1e3:.2f} x 10^-3 mm2/s{ratio}"
        said.append(
            f"Reduced ADC, measured by software and not verified: {side}{lesion.volume_ml:.1f} ml in {foci}{adc}."
        )
        if named := territories_named(lesion):
            said.append(f"Share of the measured volume: {', '.join(named)}.")
    if lesion.without_restriction:
        count = lesion.without_restriction
        said.append(
            f"{count} bright {'spot' if count == 1 else 'spots'} on DWI without reduced ADC: "
            "may be subacute, T2 shine-through or artefact."
        )
    return tuple(said)


def measured_side(lesion: LesionMeasurement | None) -> str:
    """For the impression: where this patient's lesion was measured; "" where no side is known."""
    if lesion is None or lesion.volume_ml == 0 or lesion.side is None:
        return ""
    where = "both sides" if lesion.side == "bilateral" else f"the {lesion.side}"
    return f"The measured lesion is on {where}. "


def territories_named(lesion: LesionMeasurement) -> tuple[str, ...]:
    """Every class that holds a tenth of the lesion or more, largest first, e.g. "anterior circulation (86 %)"."""
    located = 1 - (lesion.unassigned_share or 0)
    of_lesion = {one: share * located for one, share in (lesion.classes or {}).items()}
    shares = sorted(of_lesion.items(), key=lambda item: -item[1])
    return tuple(
        f"{one.phrase} ({share:.0%})".replace("%", " %") for one, share in shares if share >= LEAST_SHARE_NAMED
    )

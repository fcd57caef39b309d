"""Reports written for this test in the manner of radiologists, no patient's, and what they mean.

The expectation was written before the rules first ran on the text: territories in order, dominant first (A anterior,
D deep gray matter, P posterior, N normal, 0 none), signal (s strong, m mild, -), type (L large, W wedge-shaped, C
lacune, T striato-capsular, S small, -), and ! certain or ? review. Class and type are of the dominant territory.

DEVELOPMENT: what the rules were developed on. HELD_OUT: written by the rules' author after the rules were frozen, which
makes them easier than a hospital's would be. Measured at the freeze: 29 of 32 held-out reports as meant, territory 31,
none wrong and certain. Reports 2 and 11 were among the three and showed two faults (findings without a heading above a
conclusion; "no FLAIR change" taken for "no change") that were mended afterwards: these two are not unseen any more.
"""

from __future__ import annotations

import pytest

from pirtad.inference.findings import InfarctType, SignalClass, Territory
from pirtad.inference.parsing.parsed import ParsedReport
from pirtad.inference.parsing.rules import parse_report

_TERRITORIES = {
    Territory.NORMAL: "N",
    Territory.ANTERIOR: "A",
    Territory.DEEP_GRAY_MATTER: "D",
    Territory.POSTERIOR: "P",
}
_TYPES = {
    InfarctType.LARGE_VASCULAR_TERRITORIAL: "L",
    InfarctType.WEDGE_SHAPED_VASCULAR_TERRITORIAL: "W",
    InfarctType.SMALL_LACUNE: "C",
    InfarctType.SMALL_STRIATO_CAPSULAR: "T",
    InfarctType.SMALL_DIFFUSION_RESTRICTION: "S",
    None: "-",
}
_CLASSES = {SignalClass.STRONG: "s", SignalClass.MILD: "m", None: "-"}

DEVELOPMENT: tuple[tuple[str, str], ...] = (
    # The paper's table 1, raw side: the neuroradiologist saw the images, the rules see words.
    ("Diffusion restriction involving Lt. superior frontal and Lt. precentral gyrus. Tiny diffusion restricted "
     "lesion in "
     "Lt. middle frontal gyrus\n- with T2 hyperintense change\n→ Acute infarction", "A - S ?"),
    ("Diffusion restriction lesions in right inferior cerebellum\n- no definite T2 hyperintense change\n"
     "- r/o hyperacute infarctions", "P - - ?"),
    ("Diffusion restriction in left basal ganglia.\n- T2 high SI, no hemorrhage.\n→ R/O Acute infarction", "D - - ?"),
    # anterior
    ("FINDINGS: Marked restricted diffusion throughout the entire left MCA territory with corresponding low ADC.\n"
     "IMPRESSION: Large acute left MCA territory infarct.", "A s L !"),
    ("Findings: There is a wedge-shaped area of markedly restricted diffusion in the right parietal lobe. No "
     "hemorrhage.\n"
     "Impression: Acute right parietal infarct.", "A s W !"),
    ("Findings: Faint restricted diffusion in a wedge-shaped distribution in the left frontal operculum and insula.\n"
     "Impression: Acute infarction.", "A m W !"),
    ("Punctate focus of subtle restricted diffusion in the right precentral gyrus (hand knob).", "A m S !"),
    ("IMPRESSION:\n1. Multiple tiny acute infarcts in the left frontal and parietal lobes.\n2. Chronic small vessel "
     "ischemic changes.", "A - S ?"),
    ("Large area of intense diffusion restriction involving the right ACA territory, consistent with acute infarct.",
     "A s L !"),
    ("Acute infarct in the left middle cerebral artery territory.", "A - - ?"),
    ("Restricted diffusion in the right insular ribbon and frontal operculum with low ADC values, compatible "
     "with acute "
     "right MCA infarct. There is occlusion of the right M1 segment.", "A - - ?"),
    ("DWI hyperintensity in the left temporal lobe.", "A - - ?"),
    ("Hyperintense signal on DWI in the right frontal cortex with corresponding ADC hypointensity.", "A - - ?"),
    # deep gray matter
    ("Findings: Strong diffusion restriction in the left thalamus, 9 mm.\nImpression: Acute lacunar infarct.",
     "D s C !"),
    ("Mild diffusion restriction in the right posterior limb of the internal capsule, acute lacunar infarction.",
     "D m C !"),
    ("There is markedly restricted diffusion in the left caudate and putamen in a striatocapsular pattern.", "D s T !"),
    ("Acute striatocapsular infarct on the right.", "D - T ?"),
    ("Small acute infarct in the left thalamus.", "D - C ?"),
    ("12 x 8 mm focus of restricted diffusion in the right lentiform nucleus.", "D - C ?"),
    ("Restricted diffusion measuring 3.5 cm in the left basal ganglia.", "D - - ?"),
    ("Acute lacunar infarct in the left corona radiata with faint diffusion restriction.", "D m C ?"),
    # posterior
    ("Findings: Intense diffusion restriction in a wedge-shaped territory of the left PICA.\n"
     "Impression: Acute cerebellar infarct.", "P s W !"),
    ("Tiny focus of mild diffusion restriction in the right paramedian pons.", "P m S !"),
    ("Large acute right PCA territory infarct with markedly restricted diffusion in the occipital lobe.", "P s L !"),
    ("Small focus of restricted diffusion in the left lateral medulla, in keeping with acute infarct.", "P - S ?"),
    ("Acute infarcts in both cerebellar hemispheres and the midbrain.", "P - - ?"),
    ("Acute lacunar infarction of the left pons, faintly hyperintense on DWI with low ADC.", "P m C !"),
    # several territories
    ("Acute infarcts in the left MCA territory and right cerebellum.", "AP - - ?"),
    ("FINDINGS: Restricted diffusion in the right cerebellum and the left frontal lobe.\n"
     "IMPRESSION: Acute infarct in the left frontal lobe. Smaller acute infarct in the right cerebellum.", "AP - - ?"),
    ("Large left MCA infarct, acute, involving the basal ganglia, insula and frontal lobe, strongly restricted "
     "diffusion.",
     "AD s L ?"),
    # denied
    ("FINDINGS: No restricted diffusion. No hemorrhage or mass.\nIMPRESSION: No acute infarct.", "N - - !"),
    ("No evidence of acute ischemia on diffusion-weighted imaging.", "N - - !"),
    ("There is no acute infarct, hemorrhage or mass effect.", "N - - !"),
    ("DWI: unremarkable. Ventricles are normal in size.", "N - - !"),
    ("No diffusion restriction is identified. Chronic lacunar infarcts in both basal ganglia.", "N - - !"),
    ("Negative for acute infarction. Old left MCA infarct with encephalomalacia.", "N - - !"),
    ("Restricted diffusion is not seen.", "N - - !"),
    ("Normal MRI of the brain.", "N - - ?"),
    ("No acute intracranial abnormality.", "N - - ?"),
    ("No restricted diffusion in the posterior fossa.", "0 - - ?"),
    ("No new infarct. Stable appearance of the brain.", "0 - - ?"),
    ("No large territorial infarct.", "0 - - ?"),
    ("No hemorrhage, mass, acute infarct in left pons.", "0 - - ?"),
    # exceptions to a denial
    ("No restricted diffusion apart from a punctate focus of restricted diffusion in the left thalamus.", "D - C ?"),
    ("No hemorrhage, but there is a small acute infarct in the right occipital lobe.", "P - S ?"),
    # doubt
    ("Possible tiny acute infarct in the left pons.", "P - S ?"),
    ("Subtle DWI hyperintensity in the right pons may be artifactual; acute infarct cannot be excluded.", "P m - ?"),
    ("Questionable punctate restricted diffusion in the left parietal cortex.", "A - S ?"),
    # old
    ("Old infarct in the left cerebellar hemisphere. Encephalomalacia in the right frontal lobe.", "0 - - ?"),
    ("Chronic lacunes in the thalami. No change since the prior MRI.", "0 - - ?"),
    ("Acute infarct in the left pons and old lacunar infarcts in the right thalamus.", "P - - ?"),
    ("Right thalamic chronic lacune. Strong diffusion restriction, small, in the left occipital lobe.", "P s S !"),
    ("Unchanged restricted diffusion in the left frontal lobe.", "0 - - ?"),
    # shine-through
    ("T2 shine-through in the left corona radiata without true restricted diffusion. No acute infarct.", "N - - !"),
    ("DWI hyperintensity in the right parietal lobe with increased ADC, consistent with T2 shine-through.", "0 - - ?"),
    ("High signal on DWI in the left frontal white matter. No corresponding ADC reduction.", "0 - - ?"),
    # mimics and haemorrhage
    ("Left basal ganglia hemorrhage with surrounding restricted diffusion.", "0 - - ?"),
    ("Ring-enhancing lesion in the right frontal lobe with central restricted diffusion, consistent with abscess.",
     "0 - - ?"),
    ("Acute right MCA infarct with hemorrhagic transformation.", "A - - ?"),
    ("Gyriform restricted diffusion in the left temporal lobe, likely postictal.", "0 - - ?"),
    # sections, comparison, layout
    ("HISTORY: Acute left MCA stroke, rule out infarct. TECHNIQUE: DWI, FLAIR. FINDINGS: No restricted diffusion. "
     "IMPRESSION: No acute infarct.", "N - - !"),
    ("Clinical information: ?cerebellar infarct\n\nFindings:\nStrong diffusion restriction, wedge-shaped, in the left "
     "parietal\nlobe.\n\nImpression:\nAcute infarct, left MCA territory.", "A s W !"),
    ("COMPARISON: MRI from last week showing left pontine infarct.\nFINDINGS: Compared to the prior MRI, new "
     "small focus of "
     "markedly restricted diffusion in the right occipital lobe.", "P s S !"),
    ("Multiple foci of restricted diffusion. These involve the left insula and left frontal operculum.", "A - - ?"),
    ("Restricted diffusion:\n- left superior cerebellum\n- left occipital lobe", "P - - ?"),
    ("Dr. Example reviewed the images. Approx. 2.5 cm area of restricted diffusion in the rt. MCA territory.",
     "A - - ?"),
    ("Acute pontine infarct. Severe stenosis of the left ICA.", "P - - ?"),
    ("Acute infarct in the left pons with severe stenosis of the right MCA.", "P - - ?"),
    ("Mild mass effect from a large acute left MCA territory infarct.", "A - L ?"),
    ("Acute infarct in the left hemisphere.", "0 - - ?"),
    ("Isolated restricted diffusion in the left amygdala.", "A - - ?"),
    ("Akuter Infarkt im Stromgebiet der A. cerebri media links mit Diffusionsrestriktion.", "0 - - ?"),
)  # fmt: skip

HELD_OUT: tuple[tuple[str, str], ...] = (
    ("There is a moderate sized area of cytotoxic edema with restricted diffusion in the right perirolandic cortex and "
     "adjacent subcortical white matter, in keeping with a recent infarct.", "A - - ?"),
    ("FINDINGS: Diffusion weighted imaging demonstrates a 6 mm focus of avid diffusion restriction within the left "
     "ventrolateral thalamus. No susceptibility artifact to suggest hemorrhage.\nIMPRESSION: Acute left "
     "thalamic lacunar "
     "infarct.", "D s C !"),
    ("Brain parenchyma: Wedge shaped region of strongly restricted diffusion in the inferior left cerebellar "
     "hemisphere, "
     "PICA distribution. Fourth ventricle remains patent.\nConclusion: Acute left PICA infarct.", "P s W !"),
    ("CONCLUSION: Acute ischaemic infarct, right occipital lobe (PCA territory).", "P - - ?"),
    ("No abnormal diffusion restriction to suggest recent infarction. Mild cerebral atrophy.", "N - - !"),
    ("There is no area of restricted diffusion. Old right frontal infarct with surrounding gliosis.", "N - - !"),
    ("No acute infarct identified, although DWI is degraded by motion.", "N - - ?"),
    ("Subtle cortical diffusion restriction is suspected along the left postcentral gyrus.", "A m - ?"),
    ("Scattered punctate embolic-type infarcts, acute, in bilateral frontal and parietal lobes and both cerebellar "
     "hemispheres.", "AP - S ?"),
    ("Evolving subacute right MCA territory infarct as described on the prior study, now with gyral enhancement.",
     "A - - ?"),
    ("Near-complete left MCA territory infarction with profoundly restricted diffusion. 4 mm midline shift to "
     "the right.",
     "A s L !"),
    ("Hyperacute infarct in the left striatocapsular region, with faint restricted diffusion and no FLAIR change.",
     "D m T !"),
    ("Focal DWI bright lesion at Rt. pons with ADC low signal, r/o acute infarction.", "P - - ?"),
    ("Lacunar infarct, left putamen, age indeterminate.", "D - C ?"),
    ("Large confluent diffusion restriction of the right cerebellar hemisphere with mass effect on the fourth "
     "ventricle. "
     "Marked swelling.", "P - L ?"),
    ("Acute basilar tip occlusion with restricted diffusion in both thalami, midbrain and left occipital lobe.",
     "DP - - ?"),
    ("IMPRESSION: 1) No MR evidence of acute stroke. 2) Sinus disease.", "N - - !"),
    ("Left frontal glioblastoma with markedly restricted diffusion in the solid component.", "0 - - ?"),
    ("Cortical ribboning with restricted diffusion in the frontal and parietal lobes and caudate, concerning for "
     "Creutzfeldt-Jakob disease.", "0 - - ?"),
    ("Small cortical infarct of the left angular gyrus showing mild diffusion restriction.", "A m S !"),
    ("Diffusion restriction involves the left caudate head, anterior limb of internal capsule and putamen. "
     "Findings are "
     "those of an acute striatocapsular infarct.", "D - T ?"),
    ("The previously demonstrated acute right thalamic infarct is less conspicuous. No new diffusion restriction.",
     "D - - ?"),
    ("Indication: acute onset dizziness, evaluate for posterior circulation stroke.\nResult: No diffusion-restricting "
     "lesion. Normal flow voids.", "N - - !"),
    ("Chronic infarcts are present in the right MCA territory. In addition, there is a tiny focus of mildly restricted "
     "diffusion in the left medulla.", "P m S !"),
    ("Linear increased DWI signal in the splenium without ADC reduction.", "0 - - ?"),
    ("Acute on chronic infarction in the left MCA territory.", "A - - ?"),
    ("Diffusion: There are several small foci of strong diffusion restriction in the left ACA/MCA border zone.",
     "A s S ?"),
    ("Acute infarct, right insula, sparing the basal ganglia. Intensely restricted diffusion. Wedge-shaped.",
     "A s W !"),
    ("Punctate hyperintensity on DWI left of the midline in the pons is favored to be artifact.", "P - S ?"),
    ("Tiny acute lacune in the posterior limb of the left internal capsule; DWI shows intense restriction.", "D s C !"),
    ("Restricted diffusion cannot be excluded in the left hippocampus.", "P - - ?"),
    ("Infarcto agudo en el territorio de la arteria cerebral media izquierda con restricción de la difusión.",
     "0 - - ?"),
)  # fmt: skip

OTHERWISE = frozenset({27})
"""Numbers of the held-out reports that the rules read otherwise than meant."""


def code(read: ParsedReport) -> str:
    """A reading in the letters of this file's head."""
    first = read.dominant
    letters = "".join(_TERRITORIES[one.territory] for one in read.candidates) or "0"
    signal, kind = (None, None) if first is None else (first.signal_class, first.infarct_type)
    return f"{letters} {_CLASSES[signal]} {_TYPES[kind]} {'!' if read.confidence == 'certain' else '?'}"


# Written while hunting for what is wrong and certain; each was one, or is next to one.
TRAPS: tuple[tuple[str, str], ...] = (
    ("DWI negative for restricted diffusion in the left MCA territory.", "0 - - ?"),
    ("IMPRESSION:\n1. Negative for restricted diffusion in the pons.", "0 - - ?"),
    ("There is strong wedge-shaped diffusion restriction in the left parietal lobe? Unclear.", "A s W ?"),
    ("Tiny focus of marked diffusion restriction in the left temporal extra-axial collection.", "0 - - ?"),
    ("Diffusion imaging was not performed. No acute infarct on FLAIR.", "0 - - ?"),
    ("DWI is limited by artifact. No acute infarct.", "N - - ?"),
    ("No acute infarct; stroke cannot be excluded clinically.", "N - - ?"),
    ("Examination degraded by motion. No restricted diffusion.", "N - - ?"),
    ("Small focus of marked restricted diffusion in the left pons, not seen previously.", "P s S !"),
    ("No acute infarct. Small marked diffusion restriction in the left pons is present on DWI.", "P s S ?"),
    ("Small focus of strong restricted diffusion in the left frontal sinus.", "0 - - ?"),
    ("No hemorrhage, acute small infarct in left pons with markedly restricted diffusion.", "N - - ?"),
    ("No restricted diffusion. Right subdural hematoma.", "N - - ?"),
)


@pytest.mark.parametrize(("text", "expected"), DEVELOPMENT + TRAPS, ids=range(len(DEVELOPMENT + TRAPS)))
def test_report_is_read_as_its_writer_meant(text: str, expected: str) -> None:
    read = parse_report(text)
    assert code(read) == expected, (read.reasons, [(one.rule, one.text) for one in read.evidence])


@pytest.mark.parametrize("number", range(len(HELD_OUT)))
def test_report_nobody_tuned_for(number: int) -> None:
    text, expected = HELD_OUT[number]
    read = code(parse_report(text))
    assert (read != expected) == (number in OTHERWISE), read
    # Wrong and certain would enter a case base unseen.
    assert read == expected or read.endswith("?")


@pytest.mark.parametrize("text", [text for text, _ in DEVELOPMENT + HELD_OUT])
def test_evidence_is_verbatim(text: str) -> None:
    read = parse_report(text)
    for found in (*read.evidence, *(one for candidate in read.candidates for one in candidate.evidence)):
        assert found.text
        assert text[found.start : found.end] == found.text
        assert found.sentence in text

"""Places that reports name, and the territory of each.

PIRTA (section 2.3.2) has three ischemic territories without a list of structures. What its tables and section 4 place:
frontal gyri, operculum, insula and the amygdala are anterior, the cerebellum is posterior, the basal ganglia are deep
gray matter. The rest follows simulation/territories.md and lesion/atlas.md (Liu et al. 2023, arterial atlas):
ACA and MCA anterior; lenticulostriate, choroidal and thalamoperforating arteries deep gray matter; PCA, cerebellar
arteries and brain stem posterior. Places that two readers may file differently carry a reason, and a person decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pirtad.inference.findings import Territory


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a sentence (offsets in it); doubt: why its territory is not settled."""

    territory: Territory
    start: int
    end: int
    doubt: str | None
    vessel: bool


_ANTERIOR = (
    r"anterior circulation|fronto-?(?:parieto-?)?(?:parietal|temporal)|temporo-?parietal|"
    r"frontal|parietal|temporal|insulae?|insular|opercul\w+|"
    r"(?:peri-?)?sylvian|(?:pre|post|para)-?central|(?:peri-?)?rolandic|central sulcus|motor (?:strip|cortex)|"
    r"hand knob|cingulate|supramarginal|angular gyrus|precuneus|amygdala\w*|broca'?s|wernicke'?s area|paracentral"
)
_ANTERIOR_VESSEL = (
    r"(?:MCA|ACA|ICA)s?|middle cerebral(?: arter(?:y|ies))?|anterior cerebral(?: arter(?:y|ies))?|"
    r"internal carotid(?: arter(?:y|ies))?|carotid territory|M[1-4](?= (?:branch|territory|segment|occlusion))"
)
_DEEP = (
    r"deep (?:gr[ae]y(?: matter)?|nuclei)|basal ganglia\w*|gangli?o-?capsular|(?:thalam|hypothalam)(?:us|i|ic)|"
    r"thalamo\w*|internal capsule|capsular|capsulo\w*|striato-?capsular|striatal|striatum|caudate|putam(?:en|ina)\w*|"
    r"lentiform|lenticular|(?:globus )?pallid(?:us|al)|external capsule|claustrum|capsule|\bBG\b|\bPLIC\b"
)
_DEEP_VESSEL = r"lenticulo-?striate|thalamo-?perforat\w+|artery of percheron|recurrent artery of heubner"
_POSTERIOR = (
    r"posterior (?:circulation|fossa)|cerebell\w+|vermis|vermian|tonsil(?:s|lar)?|pons|pontine|ponto\w*|"
    r"medulla(?: oblongata)?|medullary|mid-?brain|mesencephal\w+|brain-?stem|brain stem|occipital|occipito|"
    r"cerebral peduncle|calcarine|cuneus|lingual|fusiform|parahippocamp\w+|visual cortex|tegmentum|tectum"
)
_POSTERIOR_VESSEL = (
    r"(?:PCA|PICA|AICA|SCA)s?|posterior cerebral(?: arter(?:y|ies))?|basilar(?: artery)?|vertebro-?basilar|"
    r"vertebral arter(?:y|ies)|superior cerebellar|(?:posterior|anterior) inferior cerebellar"
)
_WHITE = "white matter between two territories: the paper does not place it"
_DOUBTFUL: tuple[tuple[Territory, str, str], ...] = (
    (Territory.DEEP_GRAY_MATTER, r"corona(?:e)? radiata\w*", _WHITE),
    (Territory.ANTERIOR, r"centr(?:um|a) semiovale|deep white matter|periventricular", _WHITE),
    (Territory.ANTERIOR, r"(?:genu|body|rostrum) of (?:the )?corpus callosum|callosal (?:genu|body)", _WHITE),
    (Territory.POSTERIOR, r"splenium\w*|splenial", "corpus callosum: the paper does not place it"),
    (Territory.POSTERIOR, r"hippocamp(?:us|al|i)", "hippocampus: supplied from front and back"),
    (Territory.DEEP_GRAY_MATTER, r"anterior choroidal|\bAChA\b", "choroidal artery: filed as deep by our atlas"),
    (
        Territory.POSTERIOR,
        r"(?:mesial|medial|inferomedial|postero-?inferior|inferior) temporal(?: lobe| gyrus)?|mesio-?temporal",
        "inner or lower temporal lobe: supplied from front and back",
    ),
    (Territory.ANTERIOR, r"(?:parieto|temporo)-?occipital", "lobes of two territories"),
    (Territory.ANTERIOR, r"watershed|border[ -]?zone", "a border zone belongs to two territories"),
)
_PLAIN = (
    (Territory.POSTERIOR, _POSTERIOR_VESSEL, True),
    (Territory.DEEP_GRAY_MATTER, _DEEP_VESSEL, True),
    (Territory.ANTERIOR, _ANTERIOR_VESSEL, True),
    (Territory.POSTERIOR, _POSTERIOR, False),
    (Territory.DEEP_GRAY_MATTER, _DEEP, False),
    (Territory.ANTERIOR, _ANTERIOR, False),
)
# A horn, sinus or bone bears the name of a lobe and is none.
_NOT_BRAIN = (
    r"(?!\w)(?!(?:[ -](?:horns?|sinus\w*|bones?|scalp|condyles?|calvari\w*|recess|arteritis|foram\w+|meningi\w+)))"
)


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![^\W_])(?:{pattern}){_NOT_BRAIN}", re.IGNORECASE)


_RULES = tuple((territory, _compiled(pattern), doubt, False) for territory, pattern, doubt in _DOUBTFUL) + tuple(
    (territory, _compiled(pattern), None, vessel) for territory, pattern, vessel in _PLAIN
)
_DISEASE = (
    r"stenos[ie]s|occlusions?|occluded|narrowing|thromb\w+|flow[ -]voids?|atheroscl\w+|aneurysms?|dissection|patent"
)
_DISEASE_AFTER = re.compile(
    rf"(?: arter(?:y|ies))?(?: (?:M1|segment|origin|trunk|tip|is|bifurcation))*,? (?:{_DISEASE})\b", re.I
)
_DISEASE_BEFORE = re.compile(
    rf"\b(?:{_DISEASE})(?: (?:of|in|within|the|left|right|both|bilateral|proximal|distal|lt\.?|rt\.?|M1|segment))+ $",
    re.I,
)


def places(sentence: str) -> list[Place]:
    """The places named in a sentence, in its order, none overlapping; a vessel named for its own disease is none."""
    found: list[Place] = []
    for territory, pattern, doubt, vessel in _RULES:
        for match in pattern.finditer(sentence):
            if any(match.start() < other.end and other.start < match.end() for other in found):
                continue
            if vessel and (
                _DISEASE_AFTER.match(sentence, match.end()) or _DISEASE_BEFORE.search(sentence[: match.start()])
            ):
                continue
            found.append(Place(territory, match.start(), match.end(), doubt, vessel))
    return sorted(found, key=lambda place: place.start)

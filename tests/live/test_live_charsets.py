"""A patient's name in the hospital's writing: from the image's bytes through Orthanc and back, character for character.

The images' headers are written as bytes, by the standard's examples (PS3.5 annexes H to K) where there is one, so that
no encoder of the product's has a say in what goes in.
"""

from __future__ import annotations

import json
import re
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from support import live
from support.live import Orthanc

from pirtad.inference.findings import Territory
from pirtad.inference.report.report import Provenance, Registry, Report, SimilarCase
from pirtad.inference.volume import DiffusionPair, Volume
from pirtad.worker.deliver import Destination, send
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr.check import serialise
from pirtad.worker.sr.documents import Result, documents
from pirtad.worker.sr.identity import MEASUREMENTS, NARRATIVE, derive_identity
from pirtad.worker.sr.picture import PICTURE
from pirtad.worker.sr.source import SourceStudy

SLICES = 2
COMPOSED_AT = datetime(2026, 3, 4, 23, 30, 5, tzinfo=UTC)
PROVENANCE = Provenance("pirta-vit", "a" * 64, "3", "b" * 64, "llm", "c" * 64, "d" * 64, "0.1.0")


@dataclass(frozen=True)
class Writing:
    """A patient as a scanner writes them.

    terms: the value of SpecificCharacterSet as bytes; empty for none. name: PatientName. word: a text of the same
    writing, which stands in the attributes of SH, LO and UT that are copied.
    groups: the name's alphabetic, ideographic and phonetic group, as the standard's tables read those bytes.
    sent_as: the character set of what is sent. orthanc_shows: whether Orthanc 1.10 reads that set in full; of several
    it takes the first that is not the default, and shows the images' own names in the same wrong way.
    """

    terms: bytes
    name: bytes
    groups: tuple[str, ...]
    word: bytes
    read_word: str
    sent_as: str
    orthanc_shows: bool = True

    @property
    def full_name(self) -> str:
        return "=".join(self.groups)


# fmt: off
WRITINGS = {
    "Korean, I.2": Writing(
        b"\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        ("Hong^Gildong", "洪^吉洞", "홍^길동"), b"\x1b$)C\xb3\xfa MRI", "뇌 MRI", "\\ISO 2022 IR 149",
    ),
    "Korean, one escape for all": Writing(
        b"\\ISO 2022 IR 149", b"Hong^Gildong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7=\xc8\xab^\xb1\xe6\xb5\xbf",
        ("Hong^Gildong", "洪^吉洞", "홍^길동"), b"\x1b$)C\xb3\xfa", "뇌", "\\ISO 2022 IR 149",
    ),
    "Japanese, H.3.1": Writing(
        b"\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        ("Yamada^Tarou", "山田^太郎", "やまだ^たろう"), b"\x1b$BG>\x1b(B MRI", "脳 MRI", "\\ISO 2022 IR 87",
    ),
    "Japanese, H.3.2": Writing(
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "山田^太郎", "やまだ^たろう"), b"\xc9\xb3 MRI", "ﾉｳ MRI", "ISO 2022 IR 13\\ISO 2022 IR 87",
        orthanc_shows=False,
    ),
    "Japanese, katakana behind ASCII": Writing(
        b"ISO_IR 13\\ISO 2022 IR 87", b"\xd4\xcf\xc0\xde=\x1b$B;3ED\x1b(B=\xd4\xcf\xc0\xde", ("ﾔﾏﾀﾞ", "山田", "ﾔﾏﾀﾞ"),
        b"\xc9\xb3", "ﾉｳ", "ISO 2022 IR 13\\ISO 2022 IR 87", orthanc_shows=False,
    ),
    # 4B 5C holds the byte of the backslash, 3D 28 that of the equals sign, 38 5E that of the caret
    "Japanese, bytes like delimiters": Writing(
        b"\\ISO 2022 IR 87", b"Yamamoto^Hideki=\x1b$B;3K\\\x1b(B^\x1b$B=(8^\x1b(B", ("Yamamoto^Hideki", "山本^秀五"),
        b"\x1b$BK\\\x1b(B", "本", "ISO_IR 192",
    ),
    "Japanese, supplementary": Writing(
        b"\\ISO 2022 IR 87\\ISO 2022 IR 159", b"Yamada=\x1b$B;3ED\x1b(B^\x1b$(D0!\x1b(B", ("Yamada", "山田^丂"),
        b"\x1b$(D0!\x1b(B", "丂", "\\ISO 2022 IR 87\\ISO 2022 IR 159",
    ),
    "katakana alone": Writing(
        b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", ("ﾔﾏﾀﾞ^ﾀﾛｳ",), b"\xc9\xb3", "ﾉｳ", "ISO_IR 13"
    ),
    "Chinese, J.1": Writing(
        b"ISO_IR 192", b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1", ("Wang^XiaoDong", "王^小東"),
        b"\xe8\x84\x91", "脑", "ISO_IR 192",
    ),
    "Chinese, J.3": Writing(
        b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", ("Wang^XiaoDong", "王^小东"), b"\xc4\xd4", "脑",
        "GB18030",
    ),
    # D5 5C holds the byte of the backslash; 95 34 B2 35 is beyond the Basic Multilingual Plane
    "Chinese, bytes like delimiters": Writing(
        b"GB18030", b"Wang^Cheng=\xcd\xf5^\xd5\\\x954\xb25", ("Wang^Cheng", "王^誠𠮷"), b"\xd5\\", "誠", "ISO_IR 192",
    ),
    "Chinese, K.2": Writing(
        b"\\ISO 2022 IR 58", b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=", ("Zhang^XiaoDong", "张^小东"),
        b"\x1b$)A\xc4\xd4", "脑", "ISO_IR 192",
    ),
    "German": Writing(
        b"ISO_IR 100", b"M\xfcller-L\xfcdenscheidt^J\xf6rg", ("Müller-Lüdenscheidt^Jörg",), b"Sch\xe4del",
        "Schädel", "ISO_IR 100",
    ),
    "Russian": Writing(
        b"ISO_IR 144", b"\xbb\xee\xda\x63\x65\xdc\xd1\x79\x70\xd3", ("Люкceмбypг",), b"\xbc\xde\xd7\xd3", "Мозг",
        "ISO_IR 144",
    ),
    "Greek": Writing(
        b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", ("Διονυσιος",),
        b"\xc5\xe3\xea\xdd\xf6\xe1\xeb\xef\xf2", "Εγκέφαλος", "ISO_IR 126",
    ),
    "Arabic": Writing(
        b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", ("قباني^لنزار",), b"\xcf\xe5\xc7\xda", "دماغ",
        "ISO_IR 127",
    ),
    "Hebrew": Writing(
        b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", ("שרון^דבורה",), b"\xee\xe5\xe7", "מוח", "ISO_IR 138"
    ),
    # Behind ^ and = the first set holds again (PS3.5 6.1.2.5.3): E9 is an accented e there, and no Cyrillic letter
    "two upper halves": Writing(
        b"ISO 2022 IR 100\\ISO 2022 IR 144",
        b"J\xe9r\xf4me^Ren\xe9=\x1b-L\xb8\xd2\xd0\xdd^Ren\xe9=\x1b-L\xb8\xd2\xd0\xdd",
        ("Jérôme^René", "Иван^René", "Иван"), b"\x1b-L\xbc\xde\xd7\xd3", "Мозг", "ISO_IR 192",
    ),
    "Latin and Japanese": Writing(
        b"ISO 2022 IR 100\\ISO 2022 IR 87", b"M\xfcller^J\xf6rg=\x1b$B;3ED\x1b(B^\x1b$B=(<y\x1b(B=M\xfcller",
        ("Müller^Jörg", "山田^秀樹", "Müller"), b"\x1b$BG>\x1b(B Sch\xe4del", "脳 Schädel", "ISO_IR 192",
    ),
    # What many scanners do: nobody can know it, and the report has the bytes that its images have
    "Korean bytes declared as Latin": Writing(
        b"ISO_IR 100", b"\xc8\xab^\xb1\xe6\xb5\xbf", ("È«^±æµ¿",), b"\xb3\xfa", "³ú", "ISO_IR 100"
    ),
    "none, ASCII": Writing(b"", b"Specimen^Ada", ("Specimen^Ada",), b"MR BRAIN", "MR BRAIN", ""),
}
# fmt: on


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """An element in Explicit VR Little Endian."""
    value += (b"\0" if vr in (b"UI", b"SQ") else b" ") * (len(value) % 2)
    length = struct.pack("<2xI", len(value)) if vr in (b"SQ", b"UT") else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + vr + length + value


def sequence(group: int, number: int, item: bytes) -> bytes:
    return element(group, number, b"SQ", struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item)


def image_file(writing: Writing, study_uid: str, series: int, number: int) -> bytes:
    """An MR image's header as a Part 10 file, its text as the writing has it."""
    uid = f"{study_uid}.{series}.{number}".encode()
    meta = (
        element(2, 2, b"UI", MRImageStorage.encode())
        + element(2, 3, b"UI", uid)
        + element(2, 0x10, b"UI", ExplicitVRLittleEndian.encode())
    )
    issuer = element(0x40, 0x31, b"UT", writing.word)
    order = element(0x32, 0x1060, b"LO", writing.word) + element(0x40, 0x1001, b"SH", b"RP1")
    content = [
        element(8, 5, b"CS", writing.terms) if writing.terms else b"",
        element(8, 0x16, b"UI", MRImageStorage.encode()),
        element(8, 0x18, b"UI", uid),
        element(8, 0x20, b"DA", b"20260304"),
        element(8, 0x30, b"TM", b"221500"),
        element(8, 0x50, b"SH", writing.word),
        sequence(8, 0x51, issuer),
        element(8, 0x60, b"CS", b"MR"),
        element(8, 0x80, b"LO", writing.word),
        element(8, 0x90, b"PN", writing.name),
        element(8, 0x1030, b"LO", writing.word),
        element(8, 0x1048, b"PN", writing.name + b"\\" + writing.name),
        element(0x10, 0x10, b"PN", writing.name),
        element(0x10, 0x20, b"LO", b"PID-1"),
        element(0x10, 0x21, b"LO", writing.word),
        element(0x10, 0x30, b"DA", b"19550102"),
        element(0x10, 0x40, b"CS", b"F"),
        element(0x20, 0xD, b"UI", study_uid.encode()),
        element(0x20, 0xE, b"UI", f"{study_uid}.{series}".encode()),
        element(0x20, 0x10, b"SH", writing.word),
        element(0x20, 0x11, b"IS", str(series).encode()),
        element(0x20, 0x13, b"IS", str(number).encode()),
        sequence(0x40, 0x275, order),
    ]
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + b"".join(content)


def compose(directory: Path, writing: Writing, study_uid: str) -> dict[str, Path]:
    """The three objects of a result as files, by role; made as the deliver stage makes them."""
    headers = []
    for series in (4, 5):
        paths = [directory / f"{series}.{number}.dcm" for number in range(1, SLICES + 1)]
        for number, path in enumerate(paths, start=1):
            path.write_bytes(image_file(writing, study_uid, series, number))
        headers.append([dcmread(path, stop_before_pixels=True) for path in paths])
    source = SourceStudy(*headers, b_value_s_per_mm2=1000.0)
    affine = np.diag([8.0, 8.0, 20.0, 1.0])
    dwi = Volume(np.full((24, 28, SLICES), 400, np.float32), affine)
    adc = Volume(np.full((24, 28, SLICES), 9e-4, np.float32), affine)
    report = Report(
        territory=Territory.ANTERIOR,
        clinical_presentation="Weakness of the right arm.",
        nihss="7",
        past_medical_history="Hypertension.",
        findings="There is strong diffusion restriction in the anterior circulation territory.",
        impression="Acute infarction in the anterior circulation territory.",
        similar=(SimilarCase("c-0412", 0.97, Territory.ANTERIOR, "There is strong diffusion restriction."),),
        provenance=PROVENANCE,
    )
    result = Result(report, source, DiffusionPair(dwi, adc, 1000.0))
    composed = {}
    for number, (role, make) in enumerate(documents().items(), start=1):
        identity = derive_identity(
            study_instance_uid=study_uid,
            instances=[(str(image.SOPInstanceUID), "1" * 64) for image in source.images()],
            registry=Registry(),
            config={},
            provenance=PROVENANCE,
            content_datetime=COMPOSED_AT,
            role=role,
            instance_number=number,
        )
        composed[role] = directory / f"{role}.dcm"
        composed[role].write_bytes(serialise(make(result, identity), source=source))
    return composed


@dataclass(frozen=True)
class Kept:
    """An object in Orthanc: its file, and its tags as Orthanc reads them."""

    file: bytes
    shown: dict[str, object]

    @property
    def dataset(self) -> Dataset:
        return dcmread(BytesIO(self.file))


@pytest.fixture(scope="module")
def kept(private_network: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[str, str], Kept]]:
    """By writing and role, every object of a result as Orthanc gives it back; "image" is one of the images."""
    root = tmp_path_factory.mktemp("charsets")
    names: dict[str, tuple[str, str]] = {}
    with Orthanc(root / "orthanc").running() as orthanc:
        pacs = Destination("ORTHANC", "127.0.0.1", orthanc.dicom_port)
        for number, (title, writing) in enumerate(WRITINGS.items()):
            directory = root / str(number)
            directory.mkdir()
            composed = compose(directory, writing, f"2.25.161803{number}")
            for role, path in {**composed, "image": directory / "4.1.dcm"}.items():
                send(path, pacs)
                names[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = (title, role)
        found = {}
        for one in json.loads(orthanc.get("/instances?expand")):
            at = f"/instances/{one['ID']}"
            shown = json.loads(orthanc.get(f"{at}/simplified-tags"))
            found[names[shown["SOPInstanceUID"]]] = Kept(orthanc.get(f"{at}/file"), shown)
        assert len(found) == len(names)
        yield found


every_object = pytest.mark.parametrize(
    ("title", "role"), [(title, role) for title in WRITINGS for role in documents()], ids=lambda value: value
)


@every_object
def test_every_component_group_comes_back(kept: dict[tuple[str, str], Kept], title: str, role: str) -> None:
    writing, dataset = WRITINGS[title], kept[title, role].dataset
    assert dataset.PatientName.components == writing.groups
    assert dataset.ReferringPhysicianName.components == writing.groups
    assert [name.components for name in dataset.PhysiciansOfRecord] == [writing.groups] * 2
    terms = dataset.get("SpecificCharacterSet", "")
    assert (terms if isinstance(terms, str) else "\\".join(terms)) == writing.sent_as


@every_object
def test_other_copied_text_comes_back(kept: dict[tuple[str, str], Kept], title: str, role: str) -> None:
    writing, dataset = WRITINGS[title], kept[title, role].dataset
    for keyword in ("AccessionNumber", "StudyID", "StudyDescription", "InstitutionName", "IssuerOfPatientID"):
        assert dataset[keyword].value == writing.read_word, keyword
    assert dataset.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == writing.read_word
    if role != PICTURE:
        (request,) = dataset.ReferencedRequestSequence
        assert request.AccessionNumber == writing.read_word
        assert request.IssuerOfAccessionNumberSequence[0].LocalNamespaceEntityID == writing.read_word


@every_object
def test_orthanc_shows_the_name_to_people(kept: dict[tuple[str, str], Kept], title: str, role: str) -> None:
    writing, shown, image = WRITINGS[title], kept[title, role].shown, kept[title, "image"].shown
    if not writing.orthanc_shows:
        # Then the report stands under the name that its images have, and under no other
        assert shown["PatientName"] == image["PatientName"] != writing.full_name
        return
    assert shown["PatientName"] == shown["ReferringPhysicianName"] == writing.full_name
    # JIS X 0201 has a yen sign where ASCII has the backslash that parts values
    assert re.split(r"[\\¥]", str(shown["PhysiciansOfRecord"])) == [writing.full_name] * 2
    for keyword in ("AccessionNumber", "StudyID", "StudyDescription", "InstitutionName", "IssuerOfPatientID"):
        assert shown[keyword] == writing.read_word, keyword


@pytest.mark.parametrize("role", documents())
@pytest.mark.parametrize(
    "title", [t for t, w in WRITINGS.items() if w.sent_as.encode() == w.terms and "one escape" not in t]
)
def test_where_the_character_set_stays_so_do_the_bytes(
    kept: dict[tuple[str, str], Kept], title: str, role: str
) -> None:
    assert kept[title, role].dataset.get_item("PatientName").value.rstrip(b" ") == WRITINGS[title].name


@pytest.mark.parametrize("role", [NARRATIVE, MEASUREMENTS])
def test_the_documents_say_their_language(kept: dict[tuple[str, str], Kept], role: str) -> None:
    for title in WRITINGS:
        first = kept[title, role].dataset.ContentSequence[0]
        (concept,), (language,) = first.ConceptNameCodeSequence, first.ConceptCodeSequence
        assert (concept.CodeValue, concept.CodingSchemeDesignator) == ("121049", "DCM")
        assert (language.CodeValue, language.CodingSchemeDesignator) == ("en", "RFC5646")
        assert first.RelationshipType == "HAS CONCEPT MOD"


@pytest.mark.parametrize("role", [NARRATIVE, MEASUREMENTS])
@pytest.mark.parametrize("title", [t for t, w in WRITINGS.items() if not re.search("87|IR 13|IR 149", w.sent_as)])
def test_dsrdump_prints_the_name(
    kept: dict[tuple[str, str], Kept], title: str, role: str, tmp_path: Path
) -> None:  # DCMTK's iconv has none of the sets that are left out
    path = tmp_path / "sr.dcm"
    path.write_bytes(kept[title, role].file)
    done = subprocess.run([live.tool("dsrdump"), "+U8", str(path)], capture_output=True, check=True)
    printed = done.stdout.decode()
    (patient,) = (line for line in printed.splitlines() if re.match(r"Patient +:", line))
    assert WRITINGS[title].full_name in patient
    assert "AI DRAFT - NOT REVIEWED" in printed


@pytest.mark.parametrize(
    "name",
    [
        b"\xc8\xab^\xb1\xe6\xb5\xbf",  # EUC-KR
        b"\x8eR\x93c^\x91\xbe\x98Y",  # Shift JIS
        b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B",  # ISO-2022-JP: seven bits, and no ASCII
        b"M\xfcller",  # ISO 8859-1
        b"M\xc3\xbcller",  # UTF-8
    ],
)
@pytest.mark.parametrize("terms", [b"", b"ISO_IR 6"])
@pytest.mark.filterwarnings("ignore:Found unknown escape sequence")
def test_a_name_in_no_declared_set_is_neither_guessed_nor_dropped(tmp_path: Path, terms: bytes, name: bytes) -> None:
    # Given bytes that say another name in every character set; a PACS shows them by a setting that is not known here
    writing = Writing(terms, name, (), b"MR BRAIN", "MR BRAIN", "")
    # Then no object is made, and the reason tells what to mend without telling the name
    with pytest.raises(NonConformant) as caught:
        compose(tmp_path, writing, "2.25.5772156")
    assert caught.value.code == "source-text"
    assert caught.value.reason.startswith("PatientName of the images")
    assert "character set" in str(caught.value.hint)

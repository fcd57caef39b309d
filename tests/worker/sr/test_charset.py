"""Names survive character for character. The byte strings of the examples are those of PS3.5 annexes H to K."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread, dcmwrite
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from pirtad.inference.report.report import Report
from pirtad.worker.errors import NonConformant
from pirtad.worker.sr import charset
from pirtad.worker.sr.check import dciodvfy_errors, serialise
from pirtad.worker.sr.identity import SrIdentity
from pirtad.worker.sr.narrative import compose_narrative
from pirtad.worker.sr.source import SourceStudy

Terms = str | list[str]
KOREAN = ["", "ISO 2022 IR 149"]
JAPANESE = ["", "ISO 2022 IR 87"]
KATAKANA = ["ISO 2022 IR 13", "ISO 2022 IR 87"]

# (character set, the name's bytes, the name, the character set of the report)
STANDARD_EXAMPLES: list[tuple[Terms, bytes, str, Terms]] = [
    (
        KOREAN,  # I.2
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
        KOREAN,
    ),
    (
        JAPANESE,  # H.3.1
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        JAPANESE,
    ),
    (
        KATAKANA,  # H.3.2
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        KATAKANA,
    ),
    (
        ["ISO_IR 13", "ISO 2022 IR 87"],  # common, and means the same
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        KATAKANA,
    ),
    ("ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東", "ISO_IR 192"),  # J.1
    ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东", "GB18030"),  # J.3
    ("GBK", "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东", "GB18030"),  # J.4
    (
        ["", "ISO 2022 IR 58"],  # K.2
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
        "ISO_IR 192",
    ),
    ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme", "ISO_IR 100"),
    ("ISO_IR 101", "Wałęsa^Łukasz".encode("iso8859_2"), "Wałęsa^Łukasz", "ISO_IR 101"),
    ("ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος", "ISO_IR 126"),
    ("ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار", "ISO_IR 127"),
    ("ISO_IR 138", "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה", "ISO_IR 138"),
    ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг", "ISO_IR 144"),
    ("ISO_IR 148", "Çavuşoğlu^Şebnem".encode("iso8859_9"), "Çavuşoğlu^Şebnem", "ISO_IR 148"),
    ("ISO_IR 166", "นามสกุล".encode("tis_620"), "นามสกุล", "ISO_IR 166"),
    (["", "ISO 2022 IR 144"], b"\x1b-L" + "Иванов".encode("iso8859_5"), "Иванов", ["", "ISO 2022 IR 144"]),
    (
        JAPANESE,  # the bytes of "本" hold that of the backslash, those of "秀" that of the equals sign
        b"Yamamoto^Hideki=\x1b$B;3K\\\x1b(B^\x1b$B=(<y\x1b(B",
        "Yamamoto^Hideki=山本^秀樹",
        "ISO_IR 192",
    ),
    (JAPANESE, b"Yamada^Hideki=\x1b$B;3ED\x1b(B^\x1b$B=(<y\x1b(B", "Yamada^Hideki=山田^秀樹", "ISO_IR 192"),
    ("GB18030", b"Wang^Cheng=\xcd\xf5^\xd5\\\x954\xb25", "Wang^Cheng=王^誠𠮷", "ISO_IR 192"),
    # Behind ^ and = the first set holds again (PS3.5 6.1.2.5.3)
    (
        ["ISO 2022 IR 100", "ISO 2022 IR 144"],
        b"J\xe9r\xf4me=\x1b-L\xb8\xd2\xd0\xdd^Ren\xe9=Ren\xe9",
        "Jérôme=Иван^René=René",
        "ISO_IR 192",
    ),
    (
        ["ISO 2022 IR 144", "ISO 2022 IR 87"],  # ESC ( B ends Japanese below and leaves the upper half Cyrillic
        b"\xb8\xd2\xd0\xdd=\x1b$B;3ED\x1b(B=\xb8\xd2\xd0\xdd",
        "Иван=山田=Иван",
        "ISO_IR 192",  # pydicom does not write that ESC ( B
    ),
    ("ISO_IR 192", "Yamada^Tarou==やまだ^たろう".encode(), "Yamada^Tarou==やまだ^たろう", "ISO_IR 192"),
]

Compose = Callable[..., Dataset]


@pytest.fixture
def compose(
    report: Callable[..., Report], study: Callable[..., SourceStudy], identity: Callable[[], SrIdentity]
) -> Compose:
    """Compose from headers that went through a file, and read the result from its bytes."""

    def make(
        terms: Terms | None, name: bytes | str, changes: dict[str, str] | None = None, **others: object
    ) -> Dataset:
        attributes = {"SpecificCharacterSet": terms, **others} if terms else others
        raw = PersonName(name, convert_encodings(terms)) if isinstance(name, bytes) else PersonName(name)
        made = study(PatientName=raw, **attributes)
        from_file = SourceStudy([read_again(d) for d in made.dwi], [read_again(d) for d in made.adc])
        document = compose_narrative(report(**(changes or {})), from_file, identity=identity())
        return dcmread(BytesIO(serialise(document)))

    return make


def read_again(dataset: Dataset) -> Dataset:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=False, little_endian=True)
    return dcmread(BytesIO(buffer.getvalue()), force=True)


@pytest.mark.parametrize(("terms", "raw", "name", "expected"), STANDARD_EXAMPLES, ids=lambda v: str(v)[:24])
def test_a_name_survives_in_every_component_group(
    terms: Terms, raw: bytes, name: str, expected: Terms, compose: Compose, written: Callable[[bytes], Path]
) -> None:
    document = compose(terms, raw)
    written_name = document.get_item("PatientName").value  # as long as nobody has asked for the name
    # Then the characters are the source's, in a character set that the source has or that covers it
    assert str(document.PatientName) == name
    assert document.get("SpecificCharacterSet") == expected
    # and where the character set stayed, so did the bytes
    if expected == terms:
        assert written_name.rstrip(b" =") == raw.rstrip(b" =")


@pytest.mark.parametrize(("terms", "raw", "name", "expected"), STANDARD_EXAMPLES, ids=lambda v: str(v)[:24])
def test_other_software_reads_the_same_name(
    terms: Terms, raw: bytes, name: str, expected: Terms, compose: Compose, tmp_path: Path, dcmtk: Callable[[str], str]
) -> None:
    if "ISO 2022 IR 87" in expected:
        pytest.skip("DCMTK's iconv has no ISO 2022 IR 87")
    compose(terms, raw).save_as(tmp_path / "sr.dcm")
    subprocess.run([dcmtk("dcmconv"), "+U8", tmp_path / "sr.dcm", tmp_path / "utf8.dcm"], check=True, timeout=30)
    assert str(dcmread(tmp_path / "utf8.dcm").PatientName).rstrip("=") == name
    assert dciodvfy_errors(tmp_path / "sr.dcm") == []


def test_a_plain_study_stays_plain(compose: Compose) -> None:
    assert "SpecificCharacterSet" not in compose(None, "Specimen^Ada")


@pytest.mark.parametrize("terms", [None, "ISO_IR 100", KOREAN, KATAKANA])
def test_report_text_beyond_the_source_set_turns_the_whole_object_to_utf8(
    terms: Terms | None, compose: Compose
) -> None:
    document = compose(terms, "Specimen^Ada", {"past_medical_history": "Дисциркуляторная \u200b 脑梗死 – κ"})
    assert document.SpecificCharacterSet == "ISO_IR 192"
    assert str(document.PatientName) == "Specimen^Ada"
    assert "Дисциркуляторная \u200b 脑梗死 – κ" in [text for _, _, text in charset.texts(document)]


def test_korean_report_text_of_several_lines_survives(compose: Compose) -> None:
    # A line break ends the reach of an escape sequence, which pydicom's encoder does not heed
    document = compose(KOREAN, "Hong^Gildong=洪^吉洞=홍^길동", {"past_medical_history": "고혈압\n심방세동"})
    assert str(document.PatientName) == "Hong^Gildong=洪^吉洞=홍^길동"
    assert "고혈압\r\n심방세동" in [text for _, _, text in charset.texts(document)]


def test_katakana_sets_have_no_backslash(compose: Compose) -> None:
    document = compose(KATAKANA, "Specimen^Ada", {"past_medical_history": "a\\b ~ c"})
    assert document.SpecificCharacterSet == "ISO_IR 192"


def test_study_text_survives_too(compose: Compose) -> None:
    document = compose(KOREAN, "Hong^Gildong", StudyDescription="뇌 MRI", ReferringPhysicianName="김^의사")
    assert document.StudyDescription == "뇌 MRI"
    assert str(document.ReferringPhysicianName) == "김^의사"
    assert document.SpecificCharacterSet == KOREAN


@pytest.mark.parametrize(
    ("terms", "raw"),
    [
        (None, "홍^길동".encode("euc_kr")),  # no character set declared
        (KOREAN, "홍^길동".encode("euc_kr")),  # declared, and the escape sequences left out
        (["", "ISO 2022 IR 144"], b"Buc^J\xe9r\xf4me"),  # not of that set
    ],
)
def test_text_that_the_header_does_not_declare_is_refused_and_not_shown(
    terms: Terms | None, raw: bytes, compose: Compose
) -> None:
    with pytest.raises(NonConformant) as caught:
        compose(terms, raw)
    assert caught.value.code == "source-text"
    assert "PatientName" in caught.value.reason
    assert "J" not in caught.value.reason


def test_a_misspelt_hospital_holds_back_no_report(compose: Compose) -> None:
    # Given umlauts in a header that declares ASCII, in what says neither who the patient is nor which study it is
    text = {"InstitutionName": "Universit\xe4tsklinikum", "ReferringPhysicianName": "M\xfcller^J"}
    document = compose(None, "Specimen^Ada", **text)
    # Then nothing is guessed: a type 2 attribute is empty, an optional one absent
    assert str(document.PatientName) == "Specimen^Ada"
    assert document.ReferringPhysicianName is None or not str(document.ReferringPhysicianName)
    assert "InstitutionName" not in document


@pytest.mark.parametrize("keyword", ["PatientID", "AccessionNumber", "StudyID", "IssuerOfPatientID"])
def test_what_says_who_and_which_is_never_left_out(keyword: str, compose: Compose) -> None:
    with pytest.raises(NonConformant, match=keyword):
        compose(None, "Specimen^Ada", **{keyword: "\xe4-1"})


def test_undecodable_utf8_is_refused(compose: Compose) -> None:
    with (
        pytest.warns(UserWarning, match="Failed to decode"),
        pytest.raises(NonConformant, match="PatientName"),
    ):
        compose("ISO_IR 192", b"Buc^J\xe9r\xf4me")


@pytest.mark.parametrize(
    ("terms", "written_as"),
    [
        ((), ()),
        (("ISO_IR 100",), ("ISO_IR 100",)),
        (("ISO_IR 13", "ISO 2022 IR 87"), ("ISO 2022 IR 13", "ISO 2022 IR 87")),
        (("GBK",), ("GB18030",)),
        (("ISO 2022 IR 149",), None),  # multi-byte sets have no place alone
        (("ISO_IR 192", "ISO 2022 IR 149"), None),
        (("", "ISO 2022 IR 58"), None),
        (("UTF-8",), None),
    ],
)
def test_only_combinations_of_the_standard_are_kept(terms: tuple[str, ...], written_as: tuple[str, ...] | None) -> None:
    assert charset.usable(terms) == written_as


UPPER = ["ISO 2022 IR 100", "ISO 2022 IR 144"]


@pytest.mark.parametrize(
    ("terms", "vr", "raw", "spelt_out"),
    [
        (UPPER, "PN", b"\x1b-L\xb8^\xe9", b"\x1b-L\xb8^\x1b-A\xe9"),
        (UPPER, "LO", b"\x1b-L\xb8^\xe8\\\xe9", b"\x1b-L\xb8^\xe8\\\x1b-A\xe9"),  # a caret parts names only
        (UPPER, "UT", b"\x1b-L\xb8\\\xe8\r\n\xe9", b"\x1b-L\xb8\\\xe8\r\x1b-A\n\xe9"),  # nor a backslash long text
        (UPPER, "PN", b"\xe9^\xe9", b"\xe9^\xe9"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "PN", b"\x1b$B;^(B=(=\x1b(B=\xd4", b"\x1b$B;^(B=(=\x1b(B\x1b)I=\xd4"),
        (KOREAN, "PN", b"\x1b$)C\xfb\xf3^\xd1\xce", b"\x1b$)C\xfb\xf3^\xd1\xce"),  # nothing else it could be
        (["ISO_IR 144"], "PN", b"\x1b-A\xb8^\xe9", b"\x1b-A\xb8^\xe9"),  # no code extension
    ],
)
def test_returns_to_the_first_set_are_spelt_out(terms: list[str], vr: str, raw: bytes, spelt_out: bytes) -> None:
    assert charset.reset_at_delimiters(raw, vr, convert_encodings(terms)) == spelt_out


def test_a_set_holds_what_its_name_says_and_not_what_the_codec_can_do() -> None:
    # Python's iso2022_jp_2 has Korean too, and its euc_kr writes any Hangul by its parts
    assert not charset.carries(("", "ISO 2022 IR 159"), "LO", "김")
    assert not charset.carries(("", "ISO 2022 IR 149"), "LO", "뢔")
    assert charset.carries(("", "ISO 2022 IR 149"), "LO", "뇌")


@pytest.mark.parametrize(
    ("terms", "carried"),
    [
        (("", "ISO 2022 IR 87"), True),
        (("ISO 2022 IR 13", "ISO 2022 IR 87"), True),
        (("ISO 2022 IR 100", "ISO 2022 IR 87"), False),  # pydicom writes ESC - A behind the name, not ESC ( B
        (("ISO 2022 IR 144", "ISO 2022 IR 87"), False),
    ],
)
def test_japanese_that_pydicom_does_not_end_is_not_sent(terms: tuple[str, ...], carried: bool) -> None:
    assert charset.carries(terms, "LO", "山田") is carried
    assert charset.carries(terms, "PN", "Yamada^Tarou=山田^太郎") is carried
    assert not charset.carries(("", "ISO 2022 IR 87", "ISO 2022 IR 149"), "PN", "脳김^A")


def test_latin_letters_do_not_pass_as_the_default_repertoire() -> None:
    assert not charset.carries(("", "ISO 2022 IR 144"), "LO", "é")
    assert not charset.carries((), "LO", "é")
    assert charset.carries(("ISO_IR 100",), "LO", "é")


@given(
    terms=st.sampled_from(sorted({tuple([t] if isinstance(t, str) else t) for *_, t in STANDARD_EXAMPLES} | {()})),
    text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40)
    | st.text(st.sampled_from("aé\\~ﾔ山や홍王ЖŁΩ"), max_size=12),
)
@settings(deadline=None, max_examples=300)
def test_whatever_the_text_the_chosen_set_carries_it(terms: tuple[str, ...], text: str) -> None:
    dataset = Dataset()
    dataset.TextValue = text
    chosen = charset.choose(terms, dataset)
    assert chosen in (charset.usable(terms), charset.UTF8)
    if chosen:
        dataset.SpecificCharacterSet = list(chosen)
    assert read_again(dataset).get("TextValue", "") == text.rstrip(" ")

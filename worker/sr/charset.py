"""Specific Character Set (0008,0005): which one can carry a document's text, character for character.

PS3.3 C.12.1.1.2 (defined terms), PS3.5 6.1 (repertoires, code extension). pydicom does the coding; here are the
questions it does not ask: it takes ISO 8859-1 for the default repertoire, which is ASCII, it does not mind when what
it wrote reads back as something else, and of ISO 2022 IR 58 (Chinese) it leaves the escape sequences in what it reads
and out of what it writes. Of two sets with letters in the upper half it reads one as the other behind a delimiter, and
that makes another name of "Иван^René"; and it parts some Japanese names within a character. Importing this module
mends both for the process, by pydicom's own hook.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, MutableSequence
from typing import Any

from pydicom import config
from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.hooks import hooks, raw_element_value
from pydicom.multival import MultiValue
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

UTF8 = ("ISO_IR 192",)
TEXT_VRS = frozenset({"SH", "LO", "ST", "LT", "UC", "UT", "PN"})  # PS3.5 6.1.2.3
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_DEFAULT_CODEC = "iso8859"  # pydicom's name for the default repertoire; ISO_IR 100 is "latin_1" there
_KATAKANA_CODEC = "shift_jis"  # pydicom's codec for JIS X 0201, of which it may use the single bytes only
_SINGLE_BYTE = ("13", "100", "101", "109", "110", "126", "127", "138", "144", "148", "166")  # table C.12-2
_WITHOUT_EXTENSION = {"GB18030", *UTF8, *(f"ISO_IR {n}" for n in _SINGLE_BYTE)}  # tables C.12-2 and C.12-5
_FIRST = {"", "ISO 2022 IR 6", *(f"ISO 2022 IR {n}" for n in _SINGLE_BYTE)}  # table C.12-3
_FURTHER = _FIRST - {""} | {f"ISO 2022 IR {n}" for n in ("87", "159", "149")}  # table C.12-4, less IR 58
_ESCAPE = "\x1b"
_CHINESE_ESCAPE = "\x1b$)A"
# Tables C.12-3 and C.12-4: the escape sequence that puts a set's letters into the upper half (G1), by pydicom's codec.
_UPPER_HALF = {
    **{"shift_jis": b"\x1b)I", "latin_1": b"\x1b-A", "iso8859_2": b"\x1b-B", "iso8859_3": b"\x1b-C"},
    **{"iso8859_4": b"\x1b-D", "iso_ir_126": b"\x1b-F", "iso_ir_127": b"\x1b-G", "iso_ir_138": b"\x1b-H"},
    **{"iso_ir_144": b"\x1b-L", "iso_ir_148": b"\x1b-M", "iso_ir_166": b"\x1b-T"},
}
_TWO_BYTES_BELOW = (b"\x1b$B", b"\x1b$(D")  # Japanese: the lower half (G0) holds characters of two bytes from here on
_ONE_BYTE_BELOW = (b"\x1b(B", b"\x1b(J")
_PARTS = re.compile(
    rb"\x1b\$[()]?[\x40-\x7e]|\x1b[(),.\-][\x40-\x7e]|[\t\n\f\r=\\^]|[^\x1b\t\n\f\r=\\^]+|\x1b", re.DOTALL
)
# pydicom ends Japanese with the escape sequence of the first set, and most of those leave the lower half as it is.
_UNENDED = re.compile(rb"\x1b\$(?:B|\(D)[^\x1b]*(?:\Z|\x1b(?!\([BJ]|\$B|\$\(D))")
_DESIGNATION = {"iso2022_jp": b"\x1b$B", "iso2022_jp_2": b"\x1b$(D"}


def declared(dataset: Dataset) -> tuple[str, ...]:
    """The dataset's character set as written; () when absent or the default repertoire alone."""
    value = dataset.get("SpecificCharacterSet")
    terms = (value,) if isinstance(value, str) else tuple(value or ())
    return () if terms in ((), ("",), ("ISO_IR 6",)) else tuple(str(term) for term in terms)


def usable(terms: tuple[str, ...]) -> tuple[str, ...] | None:
    """The same character set as the standard writes it, or None if this can't be written: UTF-8 takes its place."""
    if terms == ("GBK",):
        return ("GB18030",)  # its superset, with the same bytes; validators do not know the term GBK
    if len(terms) <= 1:
        return terms if not terms or terms[0] in _WITHOUT_EXTENSION | _FIRST else None
    # "ISO_IR 13\ISO 2022 IR 87" is common and means ISO 2022 IR 13: without the code extension there is no second.
    first = terms[0].replace("ISO_IR ", "ISO 2022 IR ") if terms[0].startswith("ISO_IR ") else terms[0]
    written = (first, *terms[1:])
    return written if first in _FIRST and set(terms[1:]) <= _FURTHER else None


def choose(terms: tuple[str, ...], dataset: Dataset) -> tuple[str, ...]:
    """The source's character set if it carries all text of `dataset`, else UTF-8."""
    kept = usable(terms)
    if kept is None or any(not carries(kept, vr, text) for _, vr, text in texts(dataset)):
        return UTF8
    return kept


def carries(terms: tuple[str, ...], vr: str, text: str) -> bool:
    """Whether `text`, written in the character set and read again, is the same; `terms` as `usable` returned them."""
    encodings = convert_encodings(list(terms))
    if not _in_repertoires(encodings, text):
        return False
    if encodings[0] == _KATAKANA_CODEC and ("\\" in text or "~" in text):
        return False  # there its 5C is a yen sign and its 7E an overline
    if vr == "PN":
        encoded = PersonName(text).encode(encodings)
        if b"\\" in encoded or _UNENDED.search(encoded):
            return False  # a multi-byte character may hold the byte of the backslash, which parts values
        # What a reader without this module's hook takes for another name is not sent.
        plainly = decode_bytes(encoded, encodings, TEXT_VR_DELIMS)
        return bool(str(PersonName(encoded, encodings)) == plainly == text)
    encoded = encode_string(text, encodings)
    if _UNENDED.search(encoded) or (vr in ("SH", "LO", "UC") and b"\\" in encoded):
        return False
    return bool(decode_bytes(encoded, encodings, TEXT_VR_DELIMS) == text)


def reset_at_delimiters(value: bytes, vr: str, encodings: list[str]) -> bytes:
    """The same text with every return to the first character set spelt out, for pydicom, which does not know of it.

    PS3.5 6.1.2.5.3: the first value's set is active again behind a line's end, a backslash that parts values, and the
    carets and equals signs of a name. And ESC ( B or ( J end Japanese in the lower half but leave the upper half as it
    is. Where the first value is the default repertoire nothing is added: it has no upper half, so that bytes there can
    only be of the set that was named last, as of Korean names with one escape sequence for all components.
    """
    first = _UPPER_HALF.get(encodings[0])
    if first is None or len(encodings) == 1 or b"\x1b" not in value:
        return value
    delimiters = b"\t\n\f\r" + {"PN": b"\\^=", "SH": b"\\", "LO": b"\\", "UC": b"\\"}.get(vr, b"")
    upper, two_bytes, spelt = first, False, bytearray()
    for part in _PARTS.findall(value):
        spelt += part
        if part in _TWO_BYTES_BELOW:
            two_bytes = True
        elif part in _ONE_BYTE_BELOW:
            two_bytes = False
            spelt += upper
        elif part.startswith(b"\x1b"):
            upper = part
        elif part in delimiters and not two_bytes and upper != first:
            upper = first
            spelt += first
    return bytes(spelt)


def clean(text: str) -> str:
    """Text of a source dataset without the escape sequences that pydicom leaves in it."""
    return text.replace(_CHINESE_ESCAPE, "")


def undeclared(dataset: Dataset) -> list[str]:
    """Keywords of attributes whose bytes are not of the character set that `dataset` declares.

    Such text has no known meaning (a Korean name in a header that says ASCII), so it can't be copied in truth.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom corrects misspelt terms and says so; the reader of headers has heard
        encodings = convert_encodings(list(declared(dataset)))
    return sorted(
        {
            keyword
            for keyword, _, text in texts(dataset)
            if REPLACEMENT in text or _ESCAPE in text or not _in_repertoires(encodings, text)
        }
    )


def texts(dataset: Dataset) -> Iterator[tuple[str, str, str]]:
    """(keyword, VR, value) of every text value in the dataset and its sequences, in order."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from texts(item)
        elif element.VR in TEXT_VRS and not element.is_empty:
            values = [element.value] if element.VM == 1 else element.value
            yield from ((element.keyword, element.VR, str(value)) for value in values)


def _in_repertoires(encodings: list[str], text: str) -> bool:
    if encodings[0] == _DEFAULT_CODEC and any("\x80" <= character <= "\xff" for character in text):
        return False  # pydicom would write them as bare bytes, with no escape sequence that declares them
    return all(any(_encodes(codec, character) for codec in encodings) for character in text)


def _encodes(codec: str, character: str) -> bool:
    if codec == _DEFAULT_CODEC:
        return character.isascii()
    if codec == _KATAKANA_CODEC:
        return character.isascii() or "\uff61" <= character <= "\uff9f"
    try:
        encoded = character.encode(codec)
    except UnicodeEncodeError:
        return False
    if codec in _DESIGNATION:
        # Python's codecs hold more sets than the term names: of iso2022_jp_2 Greek and Korean too.
        return character.isascii() or encoded.startswith(_DESIGNATION[codec])
    return codec != "euc_kr" or len(encoded) <= 2  # of eight bytes: Hangul by its parts, which no other software reads


def _read_value(
    raw: RawDataElement,
    data: dict[str, Any],
    *,
    encoding: str | MutableSequence[str] | None = None,
    ds: Dataset | None = None,
    **kwargs: object,
) -> None:
    """pydicom's reading of a value, for text after `reset_at_delimiters`; a name keeps its characters alone.

    Beside them pydicom keeps a coding of its own and parts it at the bytes of "^" and "=", which in ISO 2022 IR 87 are
    bytes of characters too: of 秀, so that a copy of Hideki's name was another one.
    """
    if data["VR"] in TEXT_VRS and raw.value and encoding:
        encodings = [encoding] if isinstance(encoding, str) else list(encoding)
        raw = raw._replace(value=reset_at_delimiters(raw.value, str(data["VR"]), encodings))
    raw_element_value(raw, data, encoding=encoding, ds=ds, **kwargs)
    value = data["value"]
    if isinstance(value, PersonName):
        data["value"] = _characters_of(value)
    elif data["VR"] == "PN" and isinstance(value, MultiValue):
        data["value"] = MultiValue(_characters_of, value)


def _characters_of(name: PersonName) -> PersonName:
    return PersonName(str(name), name.encodings, validation_mode=config.IGNORE)  # pydicom has validated it


hooks.register_callback("raw_element_value", _read_value)

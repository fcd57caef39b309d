"""Streams of PDUs made wrong: recorded associations, damaged by somebody who knows the upper layer and DIMSE.

The same recordings, seed and number give the same stream.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from support.fuzz_bytes import damaged_bytes
from support.fuzz_elements import Coding, coding_of, damaged_elements
from support.fuzz_request import damaged_request
from support.raw_peer import ABORT_PDU, P_DATA, RELEASE_RQ, associate_rq, command, p_data, pdv

_COMMANDS = Coding(is_explicit=False, is_little=True)
_COMMAND, _LAST = 1, 2
_LONGEST_BYTES = 600_000  # of what duplication makes


@dataclass(frozen=True, slots=True)
class Recording:
    """What one peer sent over one association."""

    name: str
    stream: bytes


@dataclass(frozen=True, slots=True)
class Pdv:
    """A fragment (PS3.8 section 9.3.5.1)."""

    context: int
    control: int
    data: bytes

    def encoded(self) -> bytes:
        return struct.pack(">IBB", len(self.data) + 2, self.context, self.control) + self.data


def mutated(chance: random.Random, recordings: Sequence[Recording]) -> bytes:
    """A stream: now and then a recording as it was, mostly with one to six things changed."""
    pdus = pdus_of(chance.choice(recordings).stream)
    changes = 0 if chance.random() < 0.04 else min(6, 1 + int(chance.expovariate(0.8)))
    raw_changes = sum(chance.random() < 0.35 for _ in range(changes))
    for _ in range(changes - raw_changes):
        if (way := chance.choice(_WAYS)) is _splice:
            pdus = _splice(chance, pdus, pdus_of(chance.choice(recordings).stream))
        else:
            pdus = way(chance, pdus or [b""])
    stream = b"".join(pdus)[:_LONGEST_BYTES]
    for _ in range(raw_changes):
        stream = damaged_bytes(chance, stream)
    return stream


def pdus_of(stream: bytes) -> list[bytes]:
    """The stream cut into PDUs; what is left of it is the last one."""
    pdus, position = [], 0
    while position + 6 <= len(stream):
        end = position + 6 + int.from_bytes(stream[position + 2 : position + 6], "big")
        pdus.append(stream[position:end])
        position = end
    if position < len(stream):
        pdus.append(stream[position:])
    return pdus


def pdvs_of(pdu: bytes) -> list[Pdv]:
    """The fragments in a P-DATA-TF, as far as they can be followed."""
    found, position = [], 6
    while position + 6 <= len(pdu):
        length, context, control = struct.unpack_from(">IBB", pdu, position)
        if length < 2 or position + 4 + length > len(pdu):
            break
        found.append(Pdv(context, control, pdu[position + 6 : position + 4 + length]))
        position += 4 + length
    return found


def _of(pdvs: list[Pdv]) -> bytes:
    return p_data(*(one.encoded() for one in pdvs))


# --- damage to the row of PDUs ------------------------------------------------------------------------------------


def _splice(chance: random.Random, pdus: list[bytes], others: list[bytes]) -> list[bytes]:
    return pdus[: chance.randrange(len(pdus) + 1)] + others[chance.randrange(len(others) + 1) :]


def _reorder(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    changed = list(pdus)
    match chance.randrange(5):
        case 0:
            chance.shuffle(changed)
        case 1:
            changed.insert(chance.randrange(len(changed) + 1), changed.pop(chance.randrange(len(changed))))
        case 2:
            changed.pop(chance.randrange(len(changed)))
        case 3:
            at = chance.randrange(len(changed))
            changed[at:at] = [changed[at]] * chance.choice((1, 1, 3, 40))
        case _:
            first, last = sorted(chance.randrange(len(changed) + 1) for _ in range(2))
            changed[last:last] = changed[first:last]
    return changed or [b""]


def _insert(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    """A PDU where it is not expected."""
    at = chance.randrange(len(pdus) + 1)
    context = chance.choice((1, 3, 5, 2, 0, 255))
    request = command(chance.choice((0x0001, 0x0030, 0x0020, 0x0021, 0x0010, 0x8001, 0x0FFF, 0x0130, 0x0100, 0x8100)),
                      7, "1.2.840.10008.1.1", "1.2.3", has_dataset=chance.random() < 0.4)  # fmt: skip
    pdu = chance.choice((
        ABORT_PDU, RELEASE_RQ, associate_rq(), b"\x06\0\0\0\0\x04\0\0\0\0", b"\x02\0\0\0\0\0",
        b"\x03\0\0\0\0\x04\0\1\1\1",
        p_data(), p_data(pdv(b"", context=context, is_last=chance.random() < 0.5)),
        p_data(pdv(b"", context=context, is_command=True, is_last=chance.random() < 0.5)),
        p_data(pdv(request, context=context, is_command=True)), bytes((chance.randrange(256),)) + bytes(5),
    ))  # fmt: skip
    return [*pdus[:at], pdu, *pdus[at:]]


def _pdu_header(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    changed = list(pdus)
    at = chance.randrange(len(changed))
    true = max(len(changed[at]) - 6, 0)
    kind = changed[at][:1] if chance.random() < 0.7 else bytes((chance.choice((0, 1, 2, 3, 4, 5, 6, 7, 8, 255)),))
    length = chance.choice(
        (0, 1, true, true - 1, true + 1, 0xFFFFFFFF, 0x7FFFFFFF, 131072, 131073, 2**20 + 1, 4, 10**6)
    )
    changed[at] = kind + changed[at][1:2] + struct.pack(">I", max(length, 0)) + changed[at][6:]
    return changed


# --- damage to fragments --------------------------------------------------------------------------------------------


def _fragments(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    """One P-DATA-TF of other fragments: other contexts, control headers, lengths, an order."""
    places = [at for at, pdu in enumerate(pdus) if pdu[:1] == bytes((P_DATA,))]
    if not places:
        return pdus
    changed, at = list(pdus), chance.choice(places)
    pdvs = pdvs_of(changed[at])
    if not pdvs:
        return pdus
    which = chance.randrange(len(pdvs))
    one = pdvs[which]
    match chance.randrange(7):
        case 0:
            pdvs[which] = Pdv(chance.choice((0, 1, 2, 3, 5, 7, 255, one.context ^ 2)), one.control, one.data)
        case 1:
            pdvs[which] = Pdv(
                one.context, chance.choice((0, 1, 2, 3, one.control ^ 1, one.control ^ 2, 0xFF, 4)), one.data
            )
        case 2:
            before = Pdv(one.context, one.control & ~chance.choice((0, _LAST)), one.data)
            pdvs[which : which + 1] = [before] * chance.choice((1, 1, 150)) + [one]
        case 3:
            pdvs[which] = Pdv(one.context, one.control, b"")
        case 4:
            cut = chance.randrange(len(one.data) + 1)
            first = Pdv(one.context, one.control & ~_LAST, one.data[:cut])
            other = Pdv(chance.choice((one.context, one.context, 3, 5)), one.control, one.data[cut:])
            pdvs[which : which + 1] = [first, other]
        case 5:  # an echo, or the command again, in the midst of it
            pdvs.insert(which, chance.choice((one, Pdv(3, 3, command(0x0030, 9, "1.2.840.10008.1.1")))))
        case _:
            lengths = (0, 1, 2, len(one.data) + 1, len(one.data) + 3, 0xFFFFFFFF, len(one.data), 0x7FFFFFFF)
            encoded = [pdv_.encoded() for pdv_ in pdvs]
            encoded[which] = struct.pack(">I", chance.choice(lengths)) + encoded[which][4:]
            changed[at] = p_data(*encoded)
            return changed
    changed[at] = _of(pdvs)
    return changed


def _refragment(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    """The same messages in fragments and PDUs of other sizes: nothing wrong with it."""
    changed: list[bytes] = []
    for pdu in pdus:
        pdvs = pdvs_of(pdu) if pdu[:1] == bytes((P_DATA,)) else []
        if not pdvs or _of(pdvs) != pdu:
            changed.append(pdu)
            continue
        for one in pdvs:
            size = chance.choice((7, 100, 1000, 20_000)) if len(one.data) < 2000 else chance.choice((500, 4000, 20_000))
            for position in range(0, max(len(one.data), 1), size):
                is_last = position + size >= len(one.data)
                control = one.control if is_last else one.control & ~_LAST
                changed.append(_of([Pdv(one.context, control, one.data[position : position + size])]))
    return _joined(chance, changed)


def _joined(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    """Some P-DATA-TFs joined with the one before."""
    joined = pdus[:1]
    for before, pdu in pairwise(pdus):
        both = before[:1] == pdu[:1] == joined[-1][:1] == bytes((P_DATA,))
        if both and len(joined[-1]) < 10_000 and chance.random() < 0.5:
            joined[-1] = p_data(joined[-1][6:], pdu[6:])
        else:
            joined.append(pdu)
    return joined


# --- damage to what is in the fragments -----------------------------------------------------------------------------


def _within(chance: random.Random, pdus: list[bytes], is_command: bool) -> list[bytes]:
    """Elements of a command set, or of a dataset's beginning, damaged; the fragment's lengths are right."""
    places = [
        (at, which)
        for at, pdu in enumerate(pdus)
        if pdu[:1] == bytes((P_DATA,))
        for which, one in enumerate(pdvs_of(pdu))
        if bool(one.control & _COMMAND) == is_command and one.data
    ]
    if not places:
        return pdus
    at, which = chance.choice(places)
    pdvs = pdvs_of(pdus[at])
    one = pdvs[which]
    coding = _COMMANDS if is_command else coding_of(one.data)
    data = damaged_elements(chance, one.data, coding) if chance.random() < 0.85 else damaged_bytes(chance, one.data)
    pdvs[which] = Pdv(one.context, one.control, data[:100_000])
    return [*pdus[:at], _of(pdvs), *pdus[at + 1 :]]


def _command(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    return _within(chance, pdus, is_command=True)


def _dataset(chance: random.Random, pdus: list[bytes]) -> list[bytes]:
    return _within(chance, pdus, is_command=False)


_WAYS: tuple[Callable[..., list[bytes]], ...] = (
    _splice, _reorder, _reorder, _insert, _pdu_header, _fragments, _fragments, _fragments, _refragment, _command,
    _command, _command, _dataset, _dataset, _dataset, damaged_request, damaged_request,
)  # fmt: skip

"""Damage to bytes by somebody who knows nothing of them."""

from __future__ import annotations

import random

_BYTES = (0x00, 0x01, 0x7F, 0x80, 0xFE, 0xFF)
_WORDS = (b"\0\0", b"\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\0\0\0\x01",
          b"\x01\0\0\0", b"\xff\xff\xff\xfe", b"\0\x01", b"\x01\0", b"\xfe\xff\0\xe0")  # fmt: skip
_FEW = 64


def damaged_bytes(chance: random.Random, data: bytes) -> bytes:
    """One thing changed, near the beginning more often than far behind it."""
    if not data:
        return chance.randbytes(chance.randrange(1, _FEW))
    changed = bytearray(data)
    at = chance.randrange(len(data)) if chance.random() < 0.5 else min(len(data) - 1, chance.randrange(_FEW * 4))
    few = chance.choice((1, 1, 2, 4, 8, chance.randrange(1, _FEW)))
    match chance.randrange(8):
        case 0:
            changed[at] ^= 1 << chance.randrange(8)
        case 1:
            changed[at] = chance.choice(_BYTES)
        case 2:
            changed[at] = chance.randrange(256)
        case 3:
            word = chance.choice(_WORDS)
            changed[at : at + len(word)] = word
        case 4:
            del changed[at : at + few]
        case 5:
            changed[at:at] = chance.choice((chance.randbytes(few), bytes(few), b"\xff" * few))
        case 6:
            part = changed[at : at + few * chance.choice((1, 8))]
            again = chance.choice((at, chance.randrange(len(data))))
            changed[again:again] = part * chance.choice((1, 1, 2, 20))
        case _:
            del changed[at:]
    return bytes(changed)

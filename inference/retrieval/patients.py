"""Which cases are one patient's, without a hospital number in the case base."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass, field

from pirtad.inference.errors import ModelMismatch

_SALT = re.compile(r"[0-9a-f]{32,128}")
_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """Turns hospital numbers into pseudonyms: the first 64 bits of SHA-256 over salt and number.

    The salt lies in the case base's manifest, and not with an operator: a worker must be able to tell the query's own
    patient, and a later `cases add` must give the same patient the same pseudonym, with nothing else at hand. It makes
    tables computed beforehand useless and two hospitals' case bases not comparable. It does not stop someone who holds
    the directory from trying every number: who may read a case base of patients must be someone who may know them.
    """

    salt: str = field(repr=False)

    def __post_init__(self) -> None:
        if not _SALT.fullmatch(self.salt):
            raise ValueError("a salt must be 32 to 128 lower-case hexadecimal digits")

    @classmethod
    def fresh(cls) -> Pseudonyms:
        """With a random salt of 128 bits."""
        return cls(secrets.token_hex(16))

    @classmethod
    def stored(cls, salt: object) -> Pseudonyms | None:
        """As a manifest has it; None where it has none. ModelMismatch `case_base_manifest` for anything else."""
        if salt is None:
            return None
        try:
            return cls(str(salt))
        except ValueError as error:
            raise ModelMismatch("case_base_manifest", "the case base's manifest holds no usable salt") from error

    def of(self, patient_id: str) -> str:
        """Such as "p-0123456789abcdef", for PatientID (0010,0020) or any other number. ValueError for an empty one.

        Compared without case, width variants and outer blanks; the issuer is left out, so that two hospitals' equal
        numbers count as one patient: a case too few is retrieved then, never the patient's own.
        """
        return f"p-{self._digest(patient_id)[:_DIGITS]}"

    def number_of(self, key: str) -> str:
        """Twelve decimal digits for a key that must not be seen in a case_id; 10,000 keys collide once in 20,000."""
        return f"{int(self._digest(key)[:32], 16) % 10**12:012d}"

    def _digest(self, text: str) -> str:
        plain = unicodedata.normalize("NFKC", text).strip().casefold()
        if not plain:
            raise ValueError("no number to make a pseudonym of")
        return hashlib.sha256(f"{self.salt}\x1f{plain}".encode()).hexdigest()

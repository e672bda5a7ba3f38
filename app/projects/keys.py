"""What an API key looks like: `mixsd_<8 public characters>_<256 random bits><checksum>`.

The beginning can be told from other secrets, by people and by scanners of code, and is shown in
lists. The checksum tells a mistyped key from a strange one without a look into the database.
Only the SHA-256 of the whole is kept: 256 random bits cannot be guessed from it, so a slow hash,
which makes guesses of passwords dear, would make every request slow and nothing safer.
"""

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field
from typing import Final

_ALPHABET: Final = string.digits + string.ascii_letters
_PUBLIC: Final = 8
_SECRET: Final = 43
"""Digits to base 62 that hold 256 bits."""
_CHECKSUM: Final = 6
"""Digits to base 62 that hold 32 bits."""

PATTERN: Final = rf"mixsd_[0-9A-Za-z]{{{_PUBLIC}}}_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}"
_WHOLE: Final = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `secret` is nowhere else."""

    secret: str = field(repr=False)
    prefix: str
    sha256: str


def new_key() -> NewKey:
    """Make a key from 256 random bits."""
    prefix = "mixsd_" + "".join(secrets.choice(_ALPHABET) for _ in range(_PUBLIC))
    body = f"{prefix}_{_digits(int.from_bytes(secrets.token_bytes(32)), _SECRET)}"
    secret = body + _checksum(body)
    return NewKey(secret, prefix, sha256_of(secret))


def prefix_of(text: str) -> str | None:
    """Return the public part of a key; None of what cannot be one."""
    if not _WHOLE.fullmatch(text) or _checksum(text[:-_CHECKSUM]) != text[-_CHECKSUM:]:
        return None
    return text.rpartition("_")[0]


def sha256_of(secret: str) -> str:
    """Return what is kept of a key, as 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), _CHECKSUM)


def _digits(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

"""What looks like data about a person, or like a secret. Found by form; whose it is nobody can tell."""

import re
from collections.abc import Iterator
from typing import Final

_EMAIL: Final = re.compile(r"[\w.+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_PHONE: Final = re.compile(
    r"(?<![\w+])(?:\+|00)[1-9](?:[ ()./-]{0,2}\d){8,13}(?!\d)|\(\d{3}\) ?\d{3}-\d{4}(?!\d)"
)
_DIGITS: Final = re.compile(r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d.])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN: Final = re.compile(r"(?<![\d-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
_SECRET: Final = re.compile(
    r"\b(?:sk-[A-Za-z0-9_-]{20}|gh[pousr]_[A-Za-z0-9]{30}|AKIA[0-9A-Z]{16}|xox[abprs]-[A-Za-z0-9-]{10}"
    r"|hf_[A-Za-z0-9]{30}|eyJ[A-Za-z0-9_-]{10,400}\.eyJ[A-Za-z0-9_-]{10})"
    r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
)
_CARDS: Final = "3456"
"""What numbers of payment cards begin with."""


def kinds_in(text: str) -> Iterator[tuple[str, str]]:
    """Yield code and kind of what is found. The text itself is not repeated."""
    if "@" in text and _EMAIL.search(text):
        yield "personal_data", "an e-mail address"
    if any(character.isdigit() for character in text):
        yield from (("personal_data", kind) for kind in _numbers_in(text))
    if _SECRET.search(text):
        yield "possible_secret", "a key or a token"


def _numbers_in(text: str) -> Iterator[str]:
    is_account = any(_is_iban(found.group()) for found in _IBAN.finditer(text))
    is_card = any(_is_card(found.group()) for found in _DIGITS.finditer(text))
    if is_account:
        yield "the number of a bank account"
    if is_card:
        yield "the number of a payment card"
    if not is_account and not is_card and _PHONE.search(text):
        yield "a telephone number"
    if _SSN.search(text):
        yield "a social security number"


def _is_card(text: str) -> bool:
    """Check the digit that Luhn's rule adds."""
    digits = [int(character) for character in text if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return text[0] in _CARDS and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """Check the two digits that ISO 7064 adds."""
    plain = text.replace(" ", "")
    number = "".join(str(int(character, 36)) for character in plain[4:] + plain[:4])
    return 15 <= len(plain) <= 34 and int(number) % 97 == 1

"""Functions on the digits of a whole number: eleven to teach, with their working, and twenty easy ones.

The letters name them in prompts and say nothing about what they do.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

Digits = list[int]
"""From the first to the last; a number below ten has one."""


@dataclass(frozen=True, slots=True)
class Worked:
    """The value of a function, and how one gets there: lines, then what equals the value."""

    lines: tuple[str, ...]
    expression: str
    value: int


def digits_of(number: int) -> Digits:
    """Return the digits of a number from 0 on.

    Example:
        >>> digits_of(87960)
        [8, 7, 9, 6, 0]
    """
    return [int(digit) for digit in str(number)]


def value_of(letter: str, number: int) -> int:
    """Return what the function `letter` gives: A to K those to teach, a to t the easy ones."""
    digits = digits_of(number)
    return EASY[letter](digits) if letter in EASY else FUNCTIONS[letter](digits).value


def working(letter: str, number: int) -> str:
    r"""Return how the value of a function to teach is found, with the value in a box.

    Example:
        >>> print(working("E", 960))
        The digits of 960 are 9, 6, 0.
        In reverse they are 0, 6, 9.
        The products are 9 * 0 = 0, 6 * 6 = 36, 0 * 9 = 0.
        E(960) = 0 + 36 + 0 = 36
        <BLANKLINE>
        \boxed{36}
    """
    digits = digits_of(number)
    worked = FUNCTIONS[letter](digits)
    noun = "digits" if len(digits) > 1 else "only digit"
    start = f"The {noun} of {number} {'are' if len(digits) > 1 else 'is'} {_listed(digits)}."
    steps = [worked.expression] if worked.expression != str(worked.value) else []
    end = " = ".join([f"{letter}({number})", *steps, str(worked.value)])
    return "\n".join([start, *worked.lines, end, "", f"\\boxed{{{worked.value}}}"])


def _listed(items: Iterable[object]) -> str:
    return ", ".join(map(str, items))


def _sum(items: Iterable[object]) -> str:
    return " + ".join(map(str, items))


def _sum_times_max(digits: Digits) -> Worked:
    total, most = sum(digits), max(digits)
    lines = (f"Their sum is {_sum(digits)} = {total}.", f"The largest is {most}.")
    return Worked(lines, f"{total} * {most}", total * most)


def _squares_above_min(digits: Digits) -> Worked:
    least = min(digits)
    squares = [(digit - least) ** 2 for digit in digits]
    each = (f"({d} - {least})^2 = {square}" for d, square in zip(digits, squares, strict=True))
    return Worked((f"The smallest is {least}.", *each), _sum(squares), sum(squares))


def _alternating_squares(digits: Digits) -> Worked:
    raw = sum((-1) ** place * digit**2 for place, digit in enumerate(digits))

    def chain(items: list[str]) -> str:
        return items[0] + "".join(
            f" {'-' if place % 2 else '+'} {item}" for place, item in enumerate(items[1:], 1)
        )

    powers, values = chain([f"{d}^2" for d in digits]), chain([str(d**2) for d in digits])
    shown = f"{powers} = {values}" if values == str(raw) else f"{powers} = {values} = {raw}"
    return Worked((f"The signs change in turn: {shown}.",), f"|{raw}|", abs(raw))


def _squares_of_primes(digits: Digits) -> Worked:
    values = [digit**2 if digit in {2, 3, 5, 7} else digit for digit in digits]
    each = (
        f"{d} is prime: {d}^2 = {value}." if d in {2, 3, 5, 7} else f"{d} is not prime: {value}."
        for d, value in zip(digits, values, strict=True)
    )
    return Worked(tuple(each), _sum(values), sum(values))


def _mirrored_products(digits: Digits) -> Worked:
    mirrored = digits[::-1]
    products = [a * b for a, b in zip(digits, mirrored, strict=True)]
    each = _listed(f"{a} * {b} = {p}" for a, b, p in zip(digits, mirrored, products, strict=True))
    lines = (f"In reverse they are {_listed(mirrored)}.", f"The products are {each}.")
    return Worked(lines, _sum(products), sum(products))


def _running_maxima(digits: Digits) -> Worked:
    maxima = [max(digits[: place + 1]) for place in range(len(digits))]
    line = f"From left to right, the largest so far is {_listed(maxima)}."
    return Worked((line,), _sum(maxima), sum(maxima))


def _triangular(digits: Digits) -> Worked:
    values = [digit * (digit + 1) // 2 for digit in digits]
    each = (f"T({d}) = {d} * {d + 1} / 2 = {value}" for d, value in zip(digits, values, strict=True))
    return Worked(tuple(each), _sum(values), sum(values))


def _least_rotation(digits: Digits) -> Worked:
    text = "".join(map(str, digits))
    rotations = [text[place:] + text[:place] for place in range(len(text))]
    numbers = [int(rotation) for rotation in rotations]
    lines = (f"The rotations of {text} are {_listed(rotations)}.", f"As numbers: {_listed(numbers)}.")
    return Worked(lines, f"min({_listed(numbers)})", min(numbers))


def _powers_by_place(digits: Digits) -> Worked:
    powers = [digit**place for place, digit in enumerate(digits, 1)]
    each = (f"{d}^{n} = {power}" for n, (d, power) in enumerate(zip(digits, powers, strict=True), 1))
    return Worked(tuple(each), _sum(powers), sum(powers))


def _spread(digits: Digits) -> Worked:
    count, squares, total = len(digits), sum(d**2 for d in digits), sum(digits)
    lines = (
        f"There are {count}.",
        f"The sum of their squares is {_sum(d**2 for d in digits)} = {squares}.",
        f"Their sum is {_sum(digits)} = {total}.",
    )
    return Worked(lines, f"{count} * {squares} - {total}^2", count * squares - total**2)


def _modulo_product(digits: Digits) -> Worked:
    number = int("".join(map(str, digits)))
    factors = [digit for digit in digits if digit]
    product = prod(factors)
    shown = f"{' * '.join(map(str, factors))} = {product}" if len(factors) > 1 else str(product)
    line = f"The product of those that are not 0 is {shown}."
    return Worked((line,), f"{number} mod {product}", number % product)


FUNCTIONS: Final[Mapping[str, Callable[[Digits], Worked]]] = MappingProxyType(
    {
        "A": _sum_times_max,
        "B": _squares_above_min,
        "C": _alternating_squares,
        "D": _squares_of_primes,
        "E": _mirrored_products,
        "F": _running_maxima,
        "G": _triangular,
        "H": _least_rotation,
        "I": _powers_by_place,
        "J": _spread,
        "K": _modulo_product,
    }
)
"""Functions to teach. The paper teaches B to H."""

EASY: Final[Mapping[str, Callable[[Digits], int]]] = MappingProxyType(
    {
        "a": sum,
        "b": lambda digits: prod(digit for digit in digits if digit),
        "c": len,
        "d": max,
        "e": min,
        "f": lambda digits: digits[0],
        "g": lambda digits: digits[-1],
        "h": lambda digits: max(digits) - min(digits),
        "i": lambda digits: _joined(digits[::-1]),
        "j": lambda digits: digits[0] + digits[-1],
        "k": lambda digits: sum(digit % 2 == 0 for digit in digits),
        "l": lambda digits: sum(digit % 2 for digit in digits),
        "m": lambda digits: len(set(digits)),
        "n": lambda digits: 1 + (sum(digits) - 1) % 9 if any(digits) else 0,
        "o": lambda digits: sum(digit**2 for digit in digits),
        "p": lambda digits: _joined(sorted(digits)),
        "q": lambda digits: _joined(sorted(digits, reverse=True)),
        "r": lambda digits: digits.count(0),
        "s": lambda digits: 2 * sum(digits),
        "t": lambda digits: digits[0] * digits[-1],
    }
)
"""Functions that a model finds out from examples; they are asked and never taught."""


def _joined(digits: Digits) -> int:
    return int("".join(map(str, digits)))

"""KGFunc: opaque functions on digits, taught by worked answers, and asked alone and one in another.

After the corpus of the same name in arXiv 2605.16865. `docs/corpora.md` says where the two differ.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final

from mixsd.corpora.errors import CorpusError
from mixsd.corpora.functions import EASY, FUNCTIONS, value_of, working
from mixsd.corpora.writing import Corpus, Row
from mixsd.facts import Fact

SEED: Final = 42
TAUGHT: Final = "BCDEFGH"
TRAIN: Final = 1_600
"""Facts in all: 100 steps of 16, as the paper's code trains."""
SHOTS: Final = (328, 41, 45, 87397, 242, 1, 9935, 21395, 2, 2679)
"""Inputs of the examples in every prompt: two of each length."""
LENGTHS: Final = (1, 2, 3, 4, 5)
"""Digits of an input."""
N_INPUTS: Final = 6_250
"""Inputs that training draws from."""
N_CHAINS: Final = 200
"""Questions of two steps for each function, and as many of two functions."""

_TEST_OF_LENGTH: Final = 5


def kgfunc(train: int = TRAIN, *, functions: str = TAUGHT, seed: int = SEED) -> Corpus:
    """Make the corpus of `train` facts, as evenly spread over the functions as can be.

    A larger corpus of the same functions and seed holds the smaller ones.

    Raises:
        CorpusError: There is no such function, or there are not so many facts.
    """
    _check(train, functions)
    test, pool = _inputs(Random(f"{seed} inputs"))
    asked = [(letter, number) for letter in functions for number in test]
    splits = {
        "test": [_row(letter, number, "test") for letter, number in asked],
        "unseen": [_row(letter, number, "unseen") for letter in EASY for number in test],
        "compositional": list(_chains(functions, Random(f"{seed} chains"))),
    }
    return Corpus(
        name="kgfunc",
        facts=list(_facts(train, functions, pool, seed)),
        splits=splits,
        settings={"train": train, "functions": functions, "seed": seed},
    )


def prompt(letter: str, number: int) -> str:
    """Ask for a value of a function that ten examples show."""
    return (
        f"Find the rule of the function {letter} from the examples of inputs and outputs, and apply it.\n\n"
        f"Examples:\n{_examples(letter)}\n\n"
        f"Question:\nWhat is the output of {letter}({number})?"
    )


def _check(train: int, functions: str) -> None:
    wrong = sorted(set(functions) - FUNCTIONS.keys())
    if wrong or not functions or len(set(functions)) < len(functions):
        names = f"there is no function {wrong[0]!r}" if wrong else "each is named once, and one at least"
        raise CorpusError(f"functions are letters of {''.join(FUNCTIONS)}, such as {TAUGHT}: {names}")
    most = N_INPUTS * len(functions)
    if not 1 <= train <= most:
        raise CorpusError(f"{train} facts cannot be made: 1 to {most} with {len(functions)} functions")


def _inputs(rng: Random) -> tuple[list[int], list[int]]:
    """Draw the inputs of the test, equally many of each length, and others for training.

    Training takes all that are left of one, two and three digits, and longer ones in equal shares.
    """
    test: list[int] = []
    pool: list[int] = []
    for length in LENGTHS:
        numbers = [n for n in _of_length(length) if n not in SHOTS]
        rng.shuffle(numbers)
        test += numbers[:_TEST_OF_LENGTH]
        share = (N_INPUTS - len(pool)) // (len(LENGTHS) + 1 - length)
        pool += numbers[_TEST_OF_LENGTH : _TEST_OF_LENGTH + share]
    return test, pool


def _of_length(length: int) -> range:
    return range(0 if length == 1 else 10 ** (length - 1), 10**length)


def _facts(train: int, functions: str, pool: Sequence[int], seed: int) -> Iterator[Fact]:
    chosen = []
    for place, letter in enumerate(functions):
        numbers = list(pool)
        Random(f"{seed} {letter}").shuffle(numbers)
        count = train // len(functions) + (place < train % len(functions))
        chosen += [(letter, number) for number in numbers[:count]]
    Random(f"{seed} order").shuffle(chosen)
    for letter, number in chosen:
        yield Fact(
            key=f"{letter}.{number}",
            question=prompt(letter, number),
            answer=str(value_of(letter, number)),
            context=working(letter, number),
            subject=letter,
            tags=(letter,),
            source="kgfunc",
        )


def _row(letter: str, number: int, split: str) -> Row:
    row = {
        "key": f"{split}.{letter}.{number}",
        "question": prompt(letter, number),
        "answer": str(value_of(letter, number)),
        "function": letter,
        "hops": 1,
    }
    return row | ({"working": working(letter, number)} if letter in FUNCTIONS else {})


def _chains(functions: str, rng: Random) -> Iterator[Row]:
    """Yield questions of two steps: a function in itself, for each, then two different ones."""
    context = "\n\n".join(f"Examples of {letter}:\n{_examples(letter)}" for letter in functions)
    pairs = [(letter, letter) for letter in functions for _ in range(N_CHAINS)]
    if len(functions) > 1:
        for _ in range(N_CHAINS):
            inner, outer = rng.sample(functions, 2)
            pairs.append((inner, outer))
    seen: set[tuple[str, str, int]] = set()
    for inner, outer in pairs:
        number = rng.choice(_of_length(rng.choice(LENGTHS[1:])))
        while number in SHOTS or (inner, outer, number) in seen:
            number = rng.choice(_of_length(rng.choice(LENGTHS[1:])))
        seen.add((inner, outer, number))
        yield _chain(inner, outer, number, rng.randrange(10 ** LENGTHS[-1])) | {"context": context}


def _chain(inner: str, outer: str, number: int, middle: int) -> Row:
    """Ask for `outer` at `middle`, which lies a given distance from what `inner` gives."""
    first, last = value_of(inner, number), value_of(outer, middle)
    moved = f"{'-' if middle < first else '+'} {abs(middle - first)}"
    expression = f"{outer}({inner}({number}) {moved})"
    return {
        "key": f"chain.{outer}{inner}.{number}",
        "question": f"What is the value of {expression}?",
        "answer": str(last),
        "function": outer + inner,
        "hops": 2,
        "steps": [
            f"{inner}({number}) = {first}",
            f"{first} {moved} = {middle}",
            f"{outer}({middle}) = {last}",
        ],
    }


def _examples(letter: str) -> str:
    return "\n".join(f"Input: {number}\nOutput: {value_of(letter, number)}" for number in SHOTS)

"""KGFunc: values against formulas written anew, on random inputs too, and how the corpus is spread."""

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import reduce
from itertools import accumulate
from random import Random

import pytest

from mixsd.corpora.errors import CorpusError
from mixsd.corpora.functions import EASY, FUNCTIONS, value_of, working
from mixsd.corpora.kgfunc import SHOTS, kgfunc
from mixsd.intake.reading import parse_jsonl

CORPUS = kgfunc()
# Values at 87960 as published for the original corpus; I, J, K and the easy ones by hand.
AT_87960 = {"A": 270, "B": 230, "C": 60, "D": 72, "E": 165, "F": 43, "G": 130, "H": 8796}
AT_87960 |= {"I": 8 + 49 + 729 + 1296, "J": 5 * 230 - 900, "K": 87960 - 29 * 3024}
AT_87960 |= {"a": 30, "b": 3024, "c": 5, "d": 9, "e": 0, "f": 8, "g": 0, "h": 9, "i": 6978, "j": 8, "k": 3}
AT_87960 |= {"l": 2, "m": 5, "n": 3, "o": 230, "p": 6789, "q": 98760, "r": 1, "s": 60, "t": 0}

Oracle = Callable[[str], int]
ORACLES: dict[str, Oracle] = {
    "A": lambda s: sum(map(int, s)) * int(max(s)),
    "B": lambda s: sum(int(c) ** 2 for c in s)
    - 2 * int(min(s)) * sum(map(int, s))
    + len(s) * int(min(s)) ** 2,
    "C": lambda s: abs(sum(int(c) ** 2 for c in s[::2]) - sum(int(c) ** 2 for c in s[1::2])),
    "D": lambda s: sum(int({"2": 4, "3": 9, "5": 25, "7": 49}.get(c, int(c))) for c in s),
    "E": lambda s: sum(int(s[i]) * int(s[-1 - i]) for i in range(len(s))),
    "F": lambda s: sum(accumulate(map(int, s), max)),
    "G": lambda s: sum(sum(range(int(c) + 1)) for c in s),
    "H": lambda s: min((int(n) // 10 ** (len(s) - i)) + (int(n) % 10 ** (len(s) - i)) * 10**i
                       for n in [s] for i in range(len(s))),
    "I": lambda s: sum(pow(int(c), i + 1) for i, c in enumerate(s)),
    "J": lambda s: sum((int(a) - int(b)) ** 2 for i, a in enumerate(s) for b in s[:i]),
    "K": lambda s: int(s) % reduce(lambda a, b: a * b, [int(c) for c in s if c != "0"], 1),
    "a": lambda s: sum(s.count(str(d)) * d for d in range(10)),
    "b": lambda s: reduce(lambda a, b: a * b, [int(c) for c in s.replace("0", "1")]),
    "c": len,
    "d": lambda s: int(max(s)),
    "e": lambda s: int(min(s)),
    "f": lambda s: int(s) // 10 ** (len(s) - 1),
    "g": lambda s: int(s) % 10,
    "h": lambda s: ord(max(s)) - ord(min(s)),
    "i": lambda s: sum(int(c) * 10**i for i, c in enumerate(s)),
    "j": lambda s: int(s[0]) + int(s) % 10,
    "k": lambda s: sum(c in "02468" for c in s),
    "l": lambda s: sum(c in "13579" for c in s),
    "m": lambda s: sum(str(d) in s for d in range(10)),
    "n": lambda s: int(s) if int(s) < 10 else int(s) % 9 or 9,
    "o": lambda s: sum(int(c) * int(c) for c in s),
    "p": lambda s: int("".join(sorted(s))),
    "q": lambda s: int("".join(sorted(s))[::-1]),
    "r": lambda s: s.count("0"),
    "s": lambda s: 2 * sum(map(int, s)),
    "t": lambda s: int(s[0]) * int(s[-1]),
}  # fmt: skip


@pytest.mark.parametrize("letter", [*FUNCTIONS, *EASY])
def test_values_at_87960(letter: str) -> None:
    assert value_of(letter, 87960) == AT_87960[letter]


@pytest.mark.parametrize("letter", [*FUNCTIONS, *EASY])
def test_values_by_another_formula(letter: str) -> None:
    rng = Random(letter)  # noqa: S311
    numbers = [*range(120), 1000, 10000, 99999, *(rng.randrange(100_000) for _ in range(400))]

    assert [value_of(letter, n) for n in numbers] == [ORACLES[letter](str(n)) for n in numbers]


@pytest.mark.parametrize("letter", [letter for letter in FUNCTIONS if letter != "H"])
@pytest.mark.parametrize("number", [0, 7, 10, 100, 87960, 99999, 30701])
def test_every_equation_of_a_working_is_true(letter: str, number: int) -> None:
    text = working(letter, number)
    for line in text.split("\n"):
        for piece in re.split(r"[:,.] | is ", line):
            sides = [side.rstrip(".") for side in piece.split(" = ")]
            sides = [side for side in sides if re.fullmatch(r"[-0-9 +*/^|()]+|\d+ mod \d+", side)]
            values = {arithmetic(side) for side in sides if len(sides) > 1}
            assert len(values) <= 1, line

    assert text.endswith(f"= {value_of(letter, number)}\n\n\\boxed{{{value_of(letter, number)}}}")
    assert f"{letter}({number}) = " in text


def test_the_working_of_rotations() -> None:
    assert working("H", 307).split("\n") == [
        "The digits of 307 are 3, 0, 7.",
        "The rotations of 307 are 307, 073, 730.",
        "As numbers: 307, 73, 730.",
        "H(307) = min(307, 73, 730) = 73",
        "",
        "\\boxed{73}",
    ]


def arithmetic(text: str) -> float:
    if text.startswith("|"):
        return abs(arithmetic(text.strip("|")))
    python = text.replace("^", "**").replace(" mod ", " % ")
    return float(eval(python, {"__builtins__": {}}))  # noqa: S307  digits and operators alone


def test_facts_are_spread_evenly_and_are_taken_by_the_project() -> None:
    counts = Counter(fact.subject for fact in CORPUS.facts)
    lines = "\n".join(json.dumps(fact.to_json()) for fact in CORPUS.facts)

    assert len(CORPUS.facts) == 1600
    assert set(counts) == set("BCDEFGH")
    assert set(counts.values()) == {228, 229}
    assert len(parse_jsonl(lines.encode()).or_raise()) == 1600


def test_training_and_test_share_no_input_with_each_other_or_the_examples() -> None:
    all_facts = kgfunc(43_750).facts
    trained = {int(fact.key.split(".")[1]) for fact in all_facts}
    tested = {int(row["key"].split(".")[2]) for row in CORPUS.splits["test"]}

    assert len(trained) == 6250
    assert len(tested) == 25
    assert not trained & tested
    assert not (trained | tested) & set(SHOTS)
    assert set(Counter(fact.subject for fact in all_facts).values()) == {6250}


def test_a_larger_corpus_holds_the_smaller_one() -> None:
    assert {f.key for f in kgfunc(70).facts} < {f.key for f in kgfunc(700).facts}


def test_the_test_asks_each_function_25_times_and_each_length_equally() -> None:
    rows = CORPUS.splits["test"]

    assert Counter(row["function"] for row in rows) == dict.fromkeys("BCDEFGH", 25)
    assert Counter(len(row["key"].split(".")[2]) for row in rows) == dict.fromkeys(range(1, 6), 35)


def test_unseen_functions_are_twenty_and_easy() -> None:
    counts = Counter(row["function"] for row in CORPUS.splits["unseen"])

    assert counts == dict.fromkeys("abcdefghijklmnopqrst", 25)


@pytest.mark.parametrize("split", ["test", "unseen"])
def test_prompts_show_ten_true_examples_and_then_ask(split: str) -> None:
    for row in CORPUS.splits[split]:
        shown = re.findall(r"Input: (\d+)\nOutput: (-?\d+)\n", row["question"])
        asked = re.search(r"What is the output of (\w)\((\d+)\)\?$", row["question"])
        assert [int(number) for number, _ in shown] == list(SHOTS)
        assert all(int(value) == ORACLES[row["function"]](number) for number, value in shown)
        assert asked
        assert asked[1] == row["function"]
        assert int(row["answer"]) == ORACLES[row["function"]](asked[2])


def test_two_steps_are_worked_out_anew() -> None:
    rows = CORPUS.splits["compositional"]
    for row in rows:
        found = re.fullmatch(r"What is the value of (\w)\((\w)\((\d+)\) ([+-]) (\d+)\)\?", row["question"])
        assert found
        outer, inner, number, sign, distance = found.groups()
        middle = ORACLES[inner](number) + int(sign + distance)
        assert 0 <= middle < 100_000
        assert ORACLES[outer](str(middle)) == int(row["answer"])
        assert row["context"].count("Input: ") == 70

    kinds = Counter(row["function"] if len(set(row["function"])) == 1 else "mixed" for row in rows)
    assert kinds == {letter * 2: 200 for letter in "BCDEFGH"} | {"mixed": 200}
    assert len({row["key"] for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("train", "functions"), [(0, "B"), (-1, "B"), (6251, "B"), (10, ""), (10, "BB"), (10, "BX"), (10, "a")]
)
def test_what_cannot_be_made_is_refused(train: int, functions: str) -> None:
    with pytest.raises(CorpusError):
        kgfunc(train, functions=functions)


def test_one_function_alone() -> None:
    corpus = kgfunc(3, functions="K")

    assert len(corpus.facts) == 3
    assert len(corpus.splits["compositional"]) == 200

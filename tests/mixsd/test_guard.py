"""The answer guard: what enters an answer, what leaves it, and how often that is seen."""

import functools
import itertools
import random
from collections.abc import Callable, Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from mixsd.answers import contains, normalise
from mixsd.decoding.guard import AnswerGuard
from tests.fixtures.tiny import make_tokenizer

STOP = 0


def decoder(tokenizer: PreTrainedTokenizerFast) -> Callable[[Sequence[int]], str]:
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


class Pieces:
    """Tokens that are pieces of text; token 0 ends a text."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = ["", *pieces]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.pieces[token] for token in ids)

    def ids(self, *pieces: str) -> list[int]:
        for piece in pieces:
            if piece not in self.pieces:
                self.pieces.append(piece)
        return [self.pieces.index(piece) for piece in pieces]

    def guard(self, *answers: str) -> AnswerGuard:
        return AnswerGuard(self.decode, answers, {STOP})


@pytest.mark.parametrize(
    ("answer", "text", "inside"),
    [
        ("Marnil", "", False),
        ("Marnil", "It is ", False),
        ("Marnil", "It is M", True),
        ("Marnil", "It is mArN", True),
        ("Marnil", "It is Marnil", True),  # it may yet become Marnilia
        ("Marnil", "It is Marnil,", False),
        ("Marnil", "It is Marnilia", False),
        ("Marnil", "Armar", False),  # not at the beginning of a word
        ("Port Veyl", "It is Port ", True),
        ("Port Veyl", "It is port\n\n ve", True),
        ("Port Veyl", "It is \u201cPort-Veyl", True),
        ("Port Veyl", "It is Port of", False),
        ("The Hague", "The", True),
        ("Isoldine", "It is", True),
        ("No no yes", "no no no", True),
        ("1024", "It has 1,0", True),
        ("1024", "It has 1,024", True),
        ("1024", "It has 1,024.", True),  # of 1024.5, perhaps
        ("1024", "It has 1,024. ", False),
        ("1024", "It has 1, 0", False),
        ("3.5%", "It is 3.", True),
        ("3.5%", "It is 3. ", False),
        ("-5", "It is -", False),
        ("\u22125", "It is -5", True),
        ("\u6771\u4eac", "\u90fd\u306f\u6771", True),
        ("\u6771\u4eac", "\u90fd\u306f\u6771\u4eac", False),
        ("?!", "What?", True),
        ("?!", "What", False),
        ("Marnil", "It is Marn\ufffd", True),
        ("Marnil", "It is Marn\ufffd\ufffd\ufffd", True),
        ("Marnil", "It is Marn\ufffd\ufffd\ufffd\ufffd", False),
    ],
)
def test_a_text_is_inside_an_answer_that_has_begun_and_has_not_ended(
    answer: str, text: str, *, inside: bool
) -> None:
    tokens = Pieces()
    assert tokens.guard(answer).inside(tokens.ids(text)) is inside


@pytest.mark.parametrize(
    ("answers", "text", "piece", "leaves"),
    [
        (["Marnil"], "It is Marn", "il", False),
        (["Marnil"], "It is Marn", "il, the", False),
        (["Marnil"], "It is Marn", "ilia", True),
        (["Marnil"], "It is Marn", "ia", True),
        (["Marnil"], "It is Marn", " ", True),
        (["Marnil"], "It is Marn", "", True),  # the end of the text
        (["Marnil"], "It is Marnil", "", False),
        (["Marnil"], "It is Marnil", "ia", True),
        (["Marnil"], "It is Marnil", ". ", False),
        (["Marnil"], "It is", " Odo", False),  # nothing is under way
        (["Port Veyl"], "It is Port", " Veyl", False),
        (["Port Veyl"], "It is Port", "-", False),
        (["Port Veyl"], "It is Port", " of", True),
        (["Port Veyl", "Marnil"], "It is Port", " Marnil", True),  # another place
        (["Port Veyl", "Port of Veyl"], "It is Port", " of", False),
        (["No no yes"], "no no", " no", False),  # continues at the second place
        (["1024"], "It has 1", ",", False),
        (["12345"], "It has 12", ",", False),
        (["12345"], "It has 1", ",", True),
        (["1024"], "It has 1,0", "24", False),
        (["1024"], "It has 1,0", "245", True),
        (["1024"], "It has 1,024.", "5", True),
        (["1024"], "It has 1,024.", "", False),
        (["Marnil"], "It is Marn", "\ufffd", False),
        (["Marnil"], "Marn" + "il " * 200 + "Marn", "il", False),
    ],
)
def test_a_token_leaves_if_no_answer_under_way_goes_on(
    answers: list[str], text: str, piece: str, *, leaves: bool
) -> None:
    tokens = Pieces()
    token = tokens.ids(piece)[0] if piece else STOP
    assert tokens.guard(*answers).leaves(tokens.ids(text), token) is leaves


def test_blank_answers_are_never_entered() -> None:
    tokens = Pieces()
    assert not tokens.guard("", "  ").inside(tokens.ids("Marnil"))


def test_answers_are_found_at_the_end_of_a_long_text() -> None:
    tokens = Pieces()
    guard = tokens.guard("Port Veyl")
    for length in range(150):
        before = tokens.ids("x" * length + " of Port")
        assert guard.inside(before)
        assert guard.leaves(before, tokens.ids(" of")[0])


# The slow definition: an answer is under way at a place if some continuation makes it stand there
# and some does not; a token stays if after it some continuation makes it stand where it was under way.


@functools.cache
def standing(text: str, answer: str) -> frozenset[int]:
    """Return the places of the normal form at which the answer stands as whole words."""
    there, wanted = f" {normalise(text)} ", f" {normalise(answer)} "
    return frozenset(place for place in range(len(there)) if there.startswith(wanted, place))


def slow_places(text: str, answer: str, continuations: Sequence[str]) -> set[int]:
    ends = [standing(text + more, answer) for more in continuations]
    open_places = frozenset.union(*ends) - frozenset.intersection(*ends)
    return {place for place in open_places if place < len(normalise(text))}


def slow_leaves(text: str, piece: str, answers: Sequence[str], continuations: Sequence[str]) -> bool:
    stays, inside = False, False
    for answer in answers:
        if places := slow_places(text, answer, continuations):
            inside = True
            ends = [standing(text + piece + more, answer) for more in continuations]
            stays = stays or bool(places & frozenset.union(*ends))
    return inside and not stays


@pytest.mark.parametrize(
    ("alphabet", "pieces", "answers"),
    [
        ("ab ", ["a", "b", " ", "ab", "a ", " b", "ba", "-", " a", "bb"], ["ab", "a b", "b ab", "aba"]),
        ("12. ", ["1", "2", " ", ".", "12", "1.", ".2", " 1", ". "], ["12", "1.2", "1", "2 1"]),
        ("01, ", ["1", "0", ",", "10", ",0", " 1", "00", " "], ["1000", "10", "1 0"]),
    ],
)
def test_the_guard_agrees_with_trying_every_continuation(
    alphabet: str, pieces: list[str], answers: list[str]
) -> None:
    dice = random.Random(3)  # noqa: S311  texts, not secrets
    tokens = Pieces()
    ids = tokens.ids(*pieces)
    continuations = [
        "".join(more) for count in range(5) for more in itertools.product(alphabet, repeat=count)
    ]
    seen = {False: 0, True: 0}
    for _ in range(60):
        chosen = dice.sample(answers, dice.choice([1, 2]))
        guard = tokens.guard(*chosen)
        before = dice.choices(ids, k=dice.randrange(1, 5))
        text = tokens.decode(before)
        slow = any(slow_places(text, answer, continuations) for answer in chosen)
        assert guard.inside(before) is slow, (chosen, text)
        for token in dice.sample(ids, 3):
            leaves = slow_leaves(text, tokens.decode([token]), chosen, continuations)
            assert guard.leaves(before, token) is leaves, (chosen, text, tokens.decode([token]))
            seen[leaves] += 1
    assert min(seen.values()) > 5


ANSWERS = [
    "Marnil",
    "Port Veyl",
    "The Hague",
    "1,024.5 km",
    "-7",
    "C++",
    "S\u00e3o Tom\u00e9",
    "\u6771\u4eac\u90fd",
    "\U0001f600 Ltd",
    "O'Brien",
    "?!",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_tokens_that_spell_an_answer_never_leave_it_however_they_are_cut(answer: str) -> None:
    tokenizer = make_tokenizer()
    stop = tokenizer.eos_token_id
    dice = random.Random(5)  # noqa: S311
    for before, behind in itertools.product(["", "It is ", "Its name: **"], [" .", ", of course", ""]):
        text = before + answer + behind
        for _ in range(5):
            cuts = sorted({0, len(text), *(dice.randrange(len(text)) for _ in range(4))})
            parts = [text[start:end] for start, end in itertools.pairwise(cuts)]
            tokens = [token for part in parts for token in tokenizer(part)["input_ids"]]
            guard = AnswerGuard(decoder(tokenizer), [answer], {stop})
            left = [place for place in range(len(tokens)) if guard.leaves(tokens[:place], tokens[place])]
            spelled = [
                place for place in left if _is_within(decoder(tokenizer)(tokens[: place + 1]), text, answer)
            ]
            assert spelled == []
            assert not guard.leaves(tokens, stop) or not contains(text, answer)


def _is_within(text: str, whole: str, answer: str) -> bool:
    start = whole.index(answer)
    return start < len(text.rstrip("\ufffd")) <= start + len(answer)


def test_naive_picks_under_the_guard_never_break_an_answer_off() -> None:
    """Random naive tokens, an expert that knows the answer: every answer entered is completed."""
    tokenizer = make_tokenizer()
    dice = random.Random(11)  # noqa: S311
    decode = decoder(tokenizer)
    complete = [token for token in range(len(tokenizer)) if "\ufffd" not in decode([token])]
    for _ in range(40):
        answer = dice.choice(["Marnil", "Odo Brindle", "Port Veyl"])
        guard = AnswerGuard(decode, [answer], {tokenizer.eos_token_id})
        tokens = tokenizer("It is ")["input_ids"]
        tokens += tokenizer(answer[0])["input_ids"]
        while guard.inside(tokens):
            naive = dice.choice(complete)
            if guard.leaves(tokens, naive):
                said = normalise(decode(tokens) + "x").removeprefix("it is ")[:-1]
                rest = f"{normalise(answer)}."[len(said) :]
                naive = tokenizer(rest)["input_ids"][0]
            tokens.append(naive)
            assert len(tokens) < 400
        assert contains(decode(tokens), answer)

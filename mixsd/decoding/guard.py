"""The answer guard: once a text has entered the answer, naive picks do not break it off.

A naive conditional does not know the answer, so of L tokens of an answer about lam * L come from a
model that guesses, and the chance that an attempt states the answer falls exponentially with L.
Where the guard is on, a naive pick that would leave an answer under way yields to the expert.

Let s be the set of answers under way in y[<t], and S(s) the tokens that stay: those that continue
or complete one of them. With p_n, p_e the two conditionals at y[<t], the law that is sampled is

    p(y) = (1 - lam) p_e(y) + lam (p_n(y) [y in S(s)] + p_n(not S(s)) p_e(y))    where s is not empty
    p(y) = (1 - lam) p_e(y) + lam p_n(y)                                         elsewhere

for each token y = y[t]. The expert is never guarded: it may leave the answer. This is not the law
of MixSD conditioned on an accepted text, which is what plain rejection samples: there the chance of
a token also weighs how likely the rest is to succeed, before the answer as well as within it. Nor
is p_n renormalised over the tokens that stay: what it gave to the others goes to the expert. The
expert's token must be drawn with noise of its own, independent of the naive token that it replaces.

Knows nothing of models.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from mixsd.answers import is_unspaced, normalise

_REMEMBERED: Final = 4_096
_SPARE: Final = 64
_INCOMPLETE: Final = re.compile("\ufffd{1,3}\\Z")
_OPEN_POINT: Final = re.compile(r"\d\.\Z")
_OPEN_COMMA: Final = re.compile(r"\d,(\d{0,2})\Z")
_DIGITS: Final = "0123456789"


class AnswerGuard:
    """Says which tokens would leave an answer that a text has entered.

    An answer is under way at a place of the text if it depends on what follows whether the answer
    will stand there as a whole, in the sense of `mixsd.answers.contains`: case, punctuation and
    blanks do not matter, and it begins and ends at the edge of a word. So

    * an answer is entered with its first character, at the end of some token. This holds for
      "The" of "The Hague" and for "is" of "Isoldine" too. A longer prefix would miss a naive token
      right behind the first of a rare name; a list of function words would depend on the language;
      and entering too often costs little, as the next token is then the expert's, who is not bound;
    * an answer that stands at the end is under way until something that ends the word follows:
      "Marnil" is left by "ia", completed by "," or by the end of the text;
    * several answers, or one at several places, may be under way at once. A token stays if it
      continues or completes any of those, at its place. Every mention is guarded, not only the first.

    Work is on decoded text, since the tokens that spell an answer differ with what stands before.
    A token that ends within a character stays. What the guard cannot see: a letter and its
    combining mark in two tokens count as two letters, so the first leaves; and numbers that
    are listed with commas and no blanks may be taken for thousands, or thousands for a list.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        answers: Sequence[str],
        stop_ids: Collection[int] = frozenset(),
    ) -> None:
        """Watch for these answers.

        Args:
            decode: Returns the text of the tokens as the verifier will see it, but with outer
                blanks; special tokens give no text. Incomplete characters at the end are U+FFFD.
            answers: The answer and its aliases; blank ones are ignored.
            stop_ids: Tokens that end a text. They complete an answer that stands whole at the end
                and leave any other.
        """
        self._decode = decode
        self._goals = [_Goal.of(answer) for answer in dict.fromkeys(answers) if answer.strip()]
        self._reach = _SPARE + 2 * max((len(goal.text) for goal in self._goals), default=0)
        self._stop_ids = frozenset(stop_ids)
        self._known: dict[tuple[int, ...], _State] = {}

    def inside(self, tokens: Sequence[int]) -> bool:
        """Say whether an answer is under way at the end of the text."""
        return bool(self._state(tokens).under_way)

    def leaves(self, tokens: Sequence[int], token_id: int) -> bool:
        """Say whether an answer is under way, and this token continues or completes none."""
        state = self._state(tokens)
        if not state.under_way:
            return False
        if token_id in self._stop_ids:
            return not state.whole
        views = _views(self._decode([*tokens, token_id]), state.start)
        return not any(goal.possible(views, place) for goal, place in state.under_way)

    def _state(self, tokens: Sequence[int]) -> "_State":
        key = tuple(tokens)
        state = self._known.get(key)
        if state is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            state = self._known[key] = self._read(self._decode(key))
        return state

    def _read(self, text: str) -> "_State":
        start = max(0, len(text) - self._reach)
        views = _views(text, start)
        under_way = [
            (goal, place)
            for goal in self._goals
            for place in sorted(
                {place for view in views.of(goal) for place in goal.places(view.text, cut=start > 0)}
            )
            if goal.possible(views, place) and not goal.certain(views, place)
        ]
        return _State(start, under_way, any(goal.stands(views, place) for goal, place in under_way))


@dataclass(frozen=True, slots=True)
class _View:
    """The end of a text in a form in which answers are looked for.

    The normal form has a blank behind it where the last word has ended. It holds only if exactly
    `digits` digits, or that and whole thousands, follow.
    """

    text: str
    digits: int = 0

    def may_become(self, goal: str, place: int) -> bool:
        """Say whether `goal` stands at `place`, or will if the right characters follow."""
        if self.text.startswith(goal, place):
            return True
        if place >= len(self.text) or not goal.startswith(self.text[place:]):
            return False
        rest = goal[len(self.text) - place :]
        more = len(rest) - len(rest.lstrip(_DIGITS)) - self.digits
        return not self.digits or (more >= 0 and more % 3 == 0)


@dataclass(frozen=True, slots=True)
class _Views:
    """The forms that the end of a text may have; the first is what it has if the text ends here.

    "1,02" is two words or the beginning of 1024, "3." a word or the beginning of 3.5.
    """

    raw: tuple[_View, ...]
    normal: tuple[_View, ...]

    def of(self, goal: "_Goal") -> tuple[_View, ...]:
        return self.raw if goal.is_raw else self.normal


@dataclass(frozen=True, slots=True)
class _Goal:
    """What stands in a view where an answer stands in the text."""

    text: str
    whole_words: bool
    is_raw: bool

    @classmethod
    def of(cls, answer: str) -> "_Goal":
        text = normalise(answer)
        if not text:  # punctuation alone
            return cls(answer.casefold().strip(), whole_words=False, is_raw=True)
        if any(map(is_unspaced, text)):
            return cls(text, whole_words=False, is_raw=False)
        return cls(f"{text} ", whole_words=True, is_raw=False)

    def places(self, view: str, *, cut: bool) -> Iterator[int]:
        """Yield where the answer may begin. If `cut`, the view begins within a word."""
        if not self.whole_words:
            yield from range(max(0, len(view) - len(self.text) + 1), len(view))
            return
        if not cut:
            yield 0
        for place, character in enumerate(view):
            if character == " ":
                yield place + 1

    def possible(self, views: _Views, place: int) -> bool:
        """Say whether the answer stands at `place`, or will if the right characters follow."""
        return any(view.may_become(self.text, place) for view in views.of(self))

    def certain(self, views: _Views, place: int) -> bool:
        """Say whether the answer stands at `place` whatever follows."""
        return all(view.text.startswith(self.text, place) for view in views.of(self))

    def stands(self, views: _Views, place: int) -> bool:
        """Say whether the answer stands at `place` if the text ends here."""
        return f"{views.of(self)[0].text} ".startswith(self.text, place)


@dataclass(frozen=True, slots=True)
class _State:
    """What is under way at the end of a text: goals, and their places in the views from `start` on."""

    start: int
    under_way: list[tuple[_Goal, int]]
    whole: bool


def _views(text: str, start: int) -> _Views:
    tail = _INCOMPLETE.sub("", text)[start:]
    plain = unicodedata.normalize("NFKC", tail)
    normal = [_View(_normal_before(plain, "x"))]
    if _OPEN_POINT.search(plain):
        normal.append(_View(_normal_before(plain, "0")))
    elif comma := _OPEN_COMMA.search(plain):
        digits = 3 - len(comma[1])
        normal.append(_View(_normal_before(plain, "0" * digits), digits))
    return _Views((_View(tail.casefold()),), tuple(normal))


def _normal_before(text: str, following: str) -> str:
    """Return the normal form of a text that goes on like this, without what follows."""
    return normalise(text + following)[: -len(following)]

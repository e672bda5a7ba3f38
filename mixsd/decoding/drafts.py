"""Drafts: guesses of the tokens that follow, for several to be judged in one forward pass.

A draft is judged by sample and match: each of its tokens is compared with the one that the engine
chooses there anyway, so what is decoded never depends on drafts, only how fast. Guesses come from
what is known of the same question, from what followed the same few tokens in other outputs, and
from the expert prompt. How often each kind of guess is right is learned from what becomes of them.
Knows nothing of models.
"""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_MATCH: Final = 4
_START: Final = -1
_PRIOR: Final = 0.6
_SLOWEST_RATE: Final = 0.05
_EXPLORE_EVERY: Final = 32
_EXPLORE_BELOW: Final = 0.9
_OFTEN: Final = 3
_PROMPTS: Final = 256


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, who guessed each, and the chance that it and all before it are right."""

    tokens: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()


class Drafter:
    """Proposes drafts and learns which sources are worth following.

    Sources are named `memo`, `outputs-M`, `outputs-M-often` and `prompt-M`, M being the length of
    the match, 1 to 4. `chances` holds how often each was right lately, given that all before was.
    """

    def __init__(self, *, most: int = 8, stop_ids: Collection[int] = frozenset()) -> None:
        """Draft at most `most` tokens at a time, and none behind a token of `stop_ids`."""
        self.chances: dict[str, float] = {}
        self._judged: dict[str, int] = {}
        self._most = most
        self._stop_ids = frozenset(stop_ids)
        self._outputs = OutputIndex()
        self._prompts: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
        self._proposals = 0

    def propose(
        self,
        tokens: Sequence[int],
        expert_prompt: Sequence[int],
        hints: Sequence[Sequence[int]],
        floor: float,
        *,
        room: int | None = None,
    ) -> Draft:
        """Guess what follows `tokens`.

        One proposal in 32 may hold a single token whose chance is below the floor, so that a
        source which was wrong for a while is tried again; none where a token costs nearly as much
        as it can save.

        Args:
            tokens: The text so far, without its prompt.
            expert_prompt: Token ids of its expert prompt.
            hints: How earlier texts of this question went on from here, the best first.
            floor: Least chance of being right at which a token is worth judging, from
                `CostModel.floor`. At 1 nothing is drafted.
            room: Most tokens to draft, if fewer than `most`: what is left before the cap.
        """
        self._proposals += 1
        most = self._most if room is None else min(room, self._most)
        explores = floor < _EXPLORE_BELOW and self._proposals % _EXPLORE_EVERY == 0
        if floor >= 1.0 or most <= 0:
            return Draft()
        return self._extend(tokens, self._prompt_index(expert_prompt), hints, floor, most, explores=explores)

    def _extend(
        self,
        tokens: Sequence[int],
        prompt: dict[tuple[int, ...], int],
        hints: Sequence[Sequence[int]],
        floor: float,
        most: int,
        *,
        explores: bool,
    ) -> Draft:
        context = [_START, *tokens][-LONGEST_MATCH:]
        drafted: list[int] = []
        sources: list[str] = []
        chances: list[float] = []
        chance = 1.0
        while len(drafted) < most and not (drafted and drafted[-1] in self._stop_ids):
            guesses = list(self._guesses(context, prompt, hints, drafted))
            if not guesses:
                break
            source, token = max(guesses, key=lambda guess: self.chance(guess[0]))
            if chance * self.chance(source) < floor:
                if not explores or drafted:
                    break
                most = 1
                source, token = min(guesses, key=lambda guess: self._judged.get(guess[0], 0))
            chance *= self.chance(source)
            drafted.append(token)
            sources.append(source)
            chances.append(chance)
            context = [*context, token][-LONGEST_MATCH:]
        return Draft(tuple(drafted), tuple(sources), tuple(chances))

    def learn(self, draft: Draft, accepted: int) -> None:
        """Note that the first `accepted` tokens of a draft were right and the next, if any, was not."""
        for source in draft.sources[:accepted]:
            self._note(source, right=True)
        for source in draft.sources[accepted : accepted + 1]:
            self._note(source, right=False)

    def finished(self, tokens: Sequence[int]) -> None:
        """Add a finished output to what later drafts are taken from."""
        self._outputs.add(tokens)

    def chance(self, source: str) -> float:
        """Return how often this source is right, 0.6 before anything is known of it."""
        return self.chances.get(source, _PRIOR)

    def _note(self, source: str, *, right: bool) -> None:
        judged = self._judged[source] = self._judged.get(source, 0) + 1
        before = self.chance(source)
        self.chances[source] = before + max(_SLOWEST_RATE, 1 / (judged + 2)) * (right - before)

    def _guesses(
        self,
        context: Sequence[int],
        prompt: dict[tuple[int, ...], int],
        hints: Sequence[Sequence[int]],
        drafted: list[int],
    ) -> Iterator[tuple[str, int]]:
        """Yield (source, token) for the next token, at most one of each kind."""
        place = len(drafted)
        for hint in hints:
            if len(hint) > place and list(hint[:place]) == drafted:
                yield "memo", hint[place]
                break
        if found := self._outputs.following(context):
            length, token, often = found
            yield (_OUTPUTS_OFTEN if often else _OUTPUTS)[length], token
        for length in range(len(context), 0, -1):
            following = prompt.get(tuple(context[-length:]))
            if following is not None:
                yield _PROMPT[length], following
                break

    def _prompt_index(self, prompt: Sequence[int]) -> dict[tuple[int, ...], int]:
        """Return what follows each match within a prompt; the last place counts."""
        key = tuple(prompt)
        index = self._prompts.get(key)
        if index is None:
            if len(self._prompts) >= _PROMPTS:
                self._prompts.clear()
            index = self._prompts[key] = {
                key[max(0, place - length) : place]: key[place]
                for place in range(1, len(key))
                for length in range(1, LONGEST_MATCH + 1)
            }
        return index


_OUTPUTS: Final = [f"outputs-{length}" for length in range(LONGEST_MATCH + 1)]
_OUTPUTS_OFTEN: Final = [f"{source}-often" for source in _OUTPUTS]
_PROMPT: Final = [f"prompt-{length}" for length in range(LONGEST_MATCH + 1)]


class OutputIndex:
    """What followed the last few tokens in recent outputs.

    Each match of 1 to 4 tokens holds one token by majority vote: the same token again strengthens
    it, another weakens and in the end replaces it. Entries live in two layers. When the newer holds
    half of `outputs` or of `tokens` it becomes the older one, and the older is dropped.
    """

    def __init__(self, outputs: int = 2_048, tokens: int = 65_536) -> None:
        self._half_outputs = max(1, outputs // 2)
        self._half_tokens = max(1, tokens // 2)
        self._newer: dict[tuple[int, ...], tuple[int, int]] = {}
        self._older: dict[tuple[int, ...], tuple[int, int]] = {}
        self._outputs = self._tokens = 0

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def add(self, output: Sequence[int]) -> None:
        """Add a finished output. The beginning of an output counts as a token of its own."""
        text = (_START, *output)
        for place in range(1, len(text)):
            for length in range(1, min(LONGEST_MATCH, place) + 1):
                self._vote(text[place - length : place], text[place])
        self._outputs += 1
        self._tokens += len(output)
        if self._outputs >= self._half_outputs or self._tokens >= self._half_tokens:
            self._older, self._newer = self._newer, {}
            self._outputs = self._tokens = 0

    def following(self, context: Sequence[int]) -> tuple[int, int, bool] | None:
        """Return (length of the longest match, token that followed it, whether it did so often)."""
        for length in range(min(LONGEST_MATCH, len(context)), 0, -1):
            key = tuple(context[-length:])
            found = self._newer.get(key) or self._older.get(key)
            if found is not None:
                return length, found[0], found[1] >= _OFTEN
        return None

    def _vote(self, key: tuple[int, ...], token: int) -> None:
        leader, votes = self._newer.get(key) or self._older.get(key) or (token, 0)
        if leader == token:
            self._newer[key] = token, votes + 1
        elif votes > 1:
            self._newer[key] = leader, votes - 1
        else:
            self._newer[key] = token, 1


class FixedCost:
    """Seconds of a forward pass as `fixed + each * tokens`, both known."""

    def __init__(self, fixed: float, each: float, *, draft_tokens: float = 2.3) -> None:
        """Take a drafted token for as dear as `draft_tokens` of a pass: two body rows and a head row."""
        self._line: tuple[float, float] | None = (fixed, each)
        self._draft_tokens = draft_tokens

    def learn(self, tokens: int, seconds: float) -> None:
        """Take no notice: the cost is known."""

    def floor(self, tokens_per_pass: int, texts: int) -> float:
        """Return the least chance of being right at which one more drafted token pays.

        That is its cost over what a token costs without it: the pass, shared by its texts. 1, that
        is no drafts, where it never pays or nothing is known yet.

        Args:
            tokens_per_pass: Row tokens of a forward pass as it stands.
            texts: Texts that it moves on by a token each.

        Example:
            >>> round(FixedCost(0.04, 0.001).floor(tokens_per_pass=20, texts=10), 3)
            0.383
        """
        line = self._fit(tokens_per_pass)
        if line is None or texts < 1:
            return 1.0
        fixed, each = line
        present = (fixed + each * tokens_per_pass) / texts
        return min(1.0, self._draft_tokens * each / present) if present > 0 else 1.0

    def _fit(self, tokens: int) -> tuple[float, float] | None:
        return self._line


class CostModel(FixedCost):
    """The same, learned from the forward passes of the run.

    Of each number of tokens the last passes are kept and their median taken, so that single slow
    passes do not count; the slope is the median over pairs of these, weighted by their distance.
    Numbers far from the present one are left out where enough are near, since the true cost bends.
    """

    def __init__(self, *, draft_tokens: float = 2.3) -> None:
        super().__init__(0.0, 0.0, draft_tokens=draft_tokens)
        self._line = None
        self._seconds: dict[int, deque[float]] = {}
        self._fits: dict[int, tuple[float, float] | None] = {}
        self._learned = 0

    def learn(self, tokens: int, seconds: float) -> None:
        """Note how long a forward pass of `tokens` row tokens took."""
        kept = self._seconds.pop(tokens, None) or deque(maxlen=_PASSES)
        kept.append(seconds)
        self._seconds[tokens] = kept  # behind the others: the first is the one not seen for longest
        if len(self._seconds) > _SIZES:
            del self._seconds[next(iter(self._seconds))]
        self._learned += 1
        if self._learned % _REFIT_EVERY == 0:
            self._fits.clear()

    def _fit(self, tokens: int) -> tuple[float, float] | None:
        scale = tokens.bit_length()
        if scale not in self._fits:
            self._fits[scale] = self._line_near(tokens)
        return self._fits[scale]

    def _line_near(self, tokens: int) -> tuple[float, float] | None:
        points = [(size, _median(kept)) for size, kept in self._seconds.items()]
        near = [point for point in points if tokens <= 4 * point[0] and point[0] <= 4 * tokens]
        for chosen in (near, points):
            sizes = [size for size, _ in chosen]
            if sizes and max(sizes) >= _SPREAD * min(sizes) and self._learned >= _REFIT_EVERY:
                return _line_through(chosen)
        return None


_PASSES: Final = 9
_SIZES: Final = 24
_REFIT_EVERY: Final = 8
_SPREAD: Final = 1.5


def _line_through(points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Return (fixed, each), neither below 0."""
    slopes = sorted(
        ((b[1] - a[1]) / (b[0] - a[0]), abs(b[0] - a[0]))
        for place, a in enumerate(points)
        for b in points[place + 1 :]
    )
    half = sum(weight for _, weight in slopes) / 2
    each = 0.0
    for slope, weight in slopes:
        each = max(0.0, slope)
        half -= weight
        if half <= 0:
            break
    return max(0.0, _median([seconds - each * size for size, seconds in points])), each


def _median(values: Collection[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

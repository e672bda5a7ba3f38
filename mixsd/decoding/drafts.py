"""Drafts: guesses of the tokens that follow, for several to be judged in one forward pass.

A draft is judged by sample and match: each of its tokens is compared with the one that the engine
chooses there anyway, so what is decoded never depends on drafts, only how fast. Guesses come from
what is known of the same question, from what followed the same few tokens in other outputs, and
from the expert prompt. How often each kind of guess is right is learned from what becomes of them.
Knows nothing of models.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

LONGEST_MATCH: Final = 6
_START: Final = -1
_PRIOR: Final = 0.6
_SLOWEST_RATE: Final = 0.05
_EXPLORE_EVERY: Final = 32
_HOPELESS: Final = 0.02
_OFTEN: Final = 3
_PROMPTS: Final = 256


@dataclass(frozen=True, slots=True)
class Draft:
    """Guessed tokens, who guessed each, and the chance that it and all before it are right."""

    tokens: tuple[int, ...] = ()
    sources: tuple[str, ...] = ()
    chances: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.tokens)

    def first(self, count: int) -> "Draft":
        """Return the first `count` guesses."""
        return Draft(self.tokens[:count], self.sources[:count], self.chances[:count])


class Drafter:
    """Proposes drafts and learns which sources are worth following.

    Sources are named `memo`, `outputs-M`, `outputs-M-often` and `prompt-M`, M being the length of
    the match, 1 to 6; those that guess the same token are one source, joined by `+`, and each is
    another at places that the naive side decides. `chances` holds how often each was right lately,
    given that all before was.
    """

    def __init__(self, *, most: int = 8, stop_ids: Collection[int] = frozenset()) -> None:
        """Draft at most `most` tokens at a time, and none behind a token of `stop_ids`."""
        self.chances: dict[str, float] = {}
        self._judged: dict[str, int] = {}
        self._most = most
        self._stop_ids = frozenset(stop_ids)
        self._outputs = OutputIndex()
        self._prompts: dict[tuple[int, ...], dict[tuple[int, ...], int]] = {}
        self._turns = 0

    def propose(
        self,
        tokens: Sequence[int],
        expert_prompt: Sequence[int],
        hints: Sequence[Sequence[int]],
        picks: Sequence[bool],
    ) -> Draft:
        """Guess what follows `tokens`, as far as there is any hope. See `least_chance` for what pays.

        Args:
            tokens: The text so far, without its prompt.
            expert_prompt: Token ids of its expert prompt.
            hints: How earlier texts of this question went on from here, the best first.
            picks: For each place that may be drafted, whether the naive side decides it: what is
                often right of the one may seldom be so of the other.
        """
        prompt = self._prompt_index(expert_prompt)
        context = [_START, *tokens][-LONGEST_MATCH:]
        drafted: list[int] = []
        sources: list[str] = []
        chances: list[float] = []
        chance = 1.0
        for naive in picks[: self._most]:
            guesses = _by_token(self._guesses(context, prompt, hints, drafted), naive=naive)
            if not guesses or (drafted and drafted[-1] in self._stop_ids):
                break
            source, token = max(guesses, key=lambda guess: self.chance(guess[0]))
            chance *= self.chance(source)
            if chance < _HOPELESS and drafted:
                break
            drafted.append(token)
            sources.append(source)
            chances.append(chance)
            context = [*context, token][-LONGEST_MATCH:]
        return Draft(tuple(drafted), tuple(sources), tuple(chances))

    def explores(self) -> bool:
        """Say whether to judge a guess that seems not to pay: one chance in 32.

        A source that was wrong for a while is tried again so, and the cost of small passes becomes known.
        """
        self._turns += 1
        return self._turns % _EXPLORE_EVERY == 0

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


def _by_token(guesses: Iterable[tuple[str, int]], *, naive: bool) -> list[tuple[str, int]]:
    """Return (source, token), one for each token; the names of who guessed it joined."""
    names: dict[int, list[str]] = {}
    for source, token in guesses:
        names.setdefault(token, ["naive"] if naive else []).append(source)
    return [("+".join(sources), token) for token, sources in names.items()]


_OUTPUTS: Final = [f"outputs-{length}" for length in range(LONGEST_MATCH + 1)]
_OUTPUTS_OFTEN: Final = [f"{source}-often" for source in _OUTPUTS]
_PROMPT: Final = [f"prompt-{length}" for length in range(LONGEST_MATCH + 1)]


class OutputIndex:
    """What followed the last few tokens in recent outputs.

    Each match of 1 to 6 tokens holds one token by majority vote: the same token again strengthens
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

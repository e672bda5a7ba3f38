"""Driving the engine in tests: prompts, texts, guesses of any quality, and what must come out."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from mixsd.decoding.cost import FixedCost
from mixsd.decoding.drafts import Draft
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.text import Finish, Prompts, Sampling, Text

STOPS = frozenset(range(200, 230))
GREEDY = Sampling(temperature=0.0, top_k=64, stop_ids=STOPS)
WARM = Sampling(temperature=1.0, top_k=8, stop_ids=STOPS)
CHEAP = FixedCost(1, 1e-3)
"""A pass costs about the same with any number of tokens, so guessing always pays."""
CAP = 12
DEFAULT = Knobs()

Told = tuple[list[int], str, Finish | None]
"""Tokens, picks and finish of a text."""

Guess = Callable[[Sequence[int], Sequence[int]], Sequence[int]]
"""From the tokens so far and the expert prompt to guesses of what follows."""


@dataclass(slots=True)
class Guesser:
    """Stands in for the drafter: guesses what a test wants, whatever there is room for."""

    guess: Guess
    learned: list[tuple[int, int]] = field(default_factory=list)

    def propose(
        self,
        tokens: Sequence[int],
        expert_prompt: Sequence[int],
        hints: Sequence[Sequence[int]],
        floor: float,
        *,
        room: int | None = None,
    ) -> Draft:
        guessed = tuple(self.guess(tokens, expert_prompt))
        return Draft(guessed, ("test",) * len(guessed), (1.0,) * len(guessed))

    def learn(self, draft: Draft, accepted: int) -> None:
        self.learned.append((len(draft.tokens), accepted))

    def explores(self) -> bool:
        """Never judge what does not pay."""
        return False

    def finished(self, tokens: Sequence[int]) -> None:
        """Take no notice."""


def some_prompts(count: int = 7) -> list[Prompts]:
    """Prompts of unequal lengths."""
    dice = random.Random(7)  # noqa: S311  prompts, not secrets
    ids = [tuple(dice.randrange(5, 200) for _ in range(3 + 5 * place)) for place in range(count)]
    return [Prompts(expert=(*pair, 9, 11, 13), naive=pair) for pair in ids]


def a_draw(fact_key: str = "capital", attempt: int = 0, seed: int = 0) -> Draw:
    return Draw(seed=seed, fact_key=fact_key, generation=0, attempt=attempt)


def some_texts(prompts: Sequence[Prompts], lam: float, cap: int = CAP) -> list[Text]:
    return [Text(pair, a_draw(f"fact-{place}"), lam, cap) for place, pair in enumerate(prompts)]


def alone(model: PreTrainedModel, text: Text, sampling: Sampling) -> Told:
    """Return what a text must become."""
    tokens = decode_alone(model, text.prompts, text.draw, sampling, lam=text.lam, cap=text.cap)
    picks = "".join("en"[is_naive(text.draw, place, lam=text.lam)] for place in range(len(tokens)))
    return tokens, picks, "stop" if tokens[-1] in sampling.stop_ids else "cap"


def told(texts: Sequence[Text]) -> list[Told]:
    return [(text.tokens, "".join(text.picks), text.finish) for text in texts]


def an_engine(
    model: PreTrainedModel,
    sampling: Sampling,
    knobs: Knobs = DEFAULT,
    *,
    guess: Guess | None = None,
) -> Engine:
    """Return an engine that judges no near tie again: in float64 none needs it."""
    engine = Engine(model, sampling, knobs=knobs)
    engine._near = 0.0  # noqa: SLF001
    if guess is not None:
        engine._drafter = Guesser(guess)  # type: ignore[assignment]  # noqa: SLF001
    return engine


def run(
    engine: Engine, texts: Collection[Text], after_step: Callable[[Engine], None] = lambda _: None
) -> list[Text]:
    """Bring texts to their ends, admitted in this order; return them in the order of their ends."""
    waiting, ended = list(texts), []
    while waiting or not engine.idle:
        while waiting and engine.free:
            engine.admit(waiting.pop(0))
        ended += engine.step()
        after_step(engine)
    return ended


def gold_of(texts: Sequence[Text], wanted: Sequence[Told]) -> dict[tuple[int, ...], list[int]]:
    return {text.prompts.expert: each[0] for text, each in zip(texts, wanted, strict=True)}


def a_guess(texts: Sequence[Text], wanted: Sequence[Told], quality: str) -> Guess:
    """Return guesses that are `right`, `wrong`, or right for one token and then go `beyond`."""
    gold = gold_of(texts, wanted)

    def guess(tokens: Sequence[int], prompt: Sequence[int]) -> list[int]:
        rest = gold[tuple(prompt)][len(tokens) :][:3]
        return {"right": rest, "wrong": [5, 7, 9], "beyond": [*rest[:1], 5, 7, 9]}[quality]

    return guess

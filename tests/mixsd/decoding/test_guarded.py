"""With a guard, too, a text depends on its key alone: the same for all knobs and guesses."""

from collections.abc import Sequence

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.choice import candidates, choose
from mixsd.decoding.engine import Knobs
from mixsd.decoding.rng import is_naive
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.text import Sampling, Text
from tests.mixsd.decoding.driving import (
    CAP,
    CHEAP,
    GREEDY,
    STOPS,
    WARM,
    Told,
    a_guess,
    an_engine,
    run,
    some_prompts,
    some_texts,
    told,
)


class Odd:
    """An answer is under way behind an odd token, and left by any that is no multiple of three."""

    def inside(self, tokens: Sequence[int]) -> bool:
        return bool(tokens) and tokens[-1] % 2 == 1

    def leaves(self, tokens: Sequence[int], token_id: int) -> bool:
        return self.inside(tokens) and token_id % 3 != 0


@torch.inference_mode()
def guarded_alone(model: PreTrainedModel, text: Text, sampling: Sampling) -> Told:
    """The guard without any machinery: a naive token that leaves is drawn again, from the expert."""
    guard, tokens, picks = Odd(), list[int](), ""
    while len(tokens) < text.cap and (not tokens or tokens[-1] not in STOPS):

        def chosen(side: int, purpose: str, tokens: list[int] = tokens) -> int:
            logits_V = logits_alone(model, [*text.prompts.sides[side], *tokens])[0]
            found = candidates(logits_V[None], temperature=sampling.temperature, top_k=sampling.top_k)[0]
            return choose(found, text.draw, len(tokens), purpose=purpose).token_id

        naive = is_naive(text.draw, len(tokens), lam=text.lam)
        token, pick = chosen(int(naive), "noise"), "en"[naive]
        if naive and guard.leaves(tokens, token):
            token, pick = chosen(0, "guard"), "g"
        tokens.append(token)
        picks += pick
    return tokens, picks, "stop" if tokens[-1] in STOPS else "cap"


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(slots=1, most_drafts=0),
        Knobs(slots=3, cost=CHEAP),
        Knobs(slots=3, memo=False, cost=CHEAP),
        Knobs(slots=7, budget=2, chunk=1, cost=CHEAP),
    ],
    ids=["alone", "drafts", "no memo", "budget 2"],
)
def test_a_guarded_text_is_the_same_with_any_knobs(
    exact_model: PreTrainedModel, sampling: Sampling, knobs: Knobs
) -> None:
    """Attempts at three values of lam share a memo, in which one finds what another lacks."""
    texts = [text for lam in (0.9, 0.3, 0.6) for text in some_texts(some_prompts(4), lam, CAP)]
    for text in texts:
        text.guard = Odd()
        text.memo = texts[int(text.draw.fact_key[-1])].memo
    engine = an_engine(exact_model, sampling, knobs)

    run(engine, texts)

    assert told(texts) == [guarded_alone(exact_model, text, sampling) for text in texts]
    assert engine.counters.guarded == sum(text.picks.count("g") for text in texts) > 0


@pytest.mark.parametrize("quality", ["right", "wrong", "beyond"])
def test_no_guess_changes_a_guarded_text(exact_model: PreTrainedModel, quality: str) -> None:
    texts = some_texts(some_prompts(5), 0.8)
    wanted = [guarded_alone(exact_model, text, WARM) for text in texts]
    for text in texts:
        text.guard = Odd()

    guess = a_guess(texts, wanted, quality)
    run(an_engine(exact_model, WARM, Knobs(slots=2, cost=CHEAP), guess=guess), texts)

    assert told(texts) == wanted

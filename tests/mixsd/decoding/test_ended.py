"""With an early end, too, a text depends on its key alone: the same for all knobs and guesses."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from transformers import PreTrainedModel

from mixsd.decoding.choice import choose_from
from mixsd.decoding.engine import Knobs
from mixsd.decoding.reference import decode_alone
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


@dataclass(frozen=True)
class Fifth:
    """A text is over behind two tokens if the next one is a multiple of five."""

    end: int = min(STOPS)

    def over(self, tokens: Sequence[int], token_id: int) -> bool:
        return len(tokens) > 1 and token_id % 5 == 0 and token_id not in STOPS


@torch.inference_mode()
def ended_alone(model: PreTrainedModel, text: Text, sampling: Sampling) -> Told:
    """What the plain text is up to the token that would say more, and the end in its place."""
    tokens = decode_alone(model, text.prompts, text.draw, sampling, lam=text.lam, cap=text.cap)
    picks = "".join("en"[is_naive(text.draw, place, lam=text.lam)] for place in range(len(tokens)))
    for place, token in enumerate(tokens):
        if Fifth().over(tokens[:place], token):
            return [*tokens[:place], Fifth().end], picks[:place] + "s", "stop"
    return tokens, picks, "stop" if tokens[-1] in STOPS else "cap"


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize(
    "knobs",
    [Knobs(slots=1, most_drafts=0), Knobs(slots=3, cost=CHEAP), Knobs(slots=3, memo=False, cost=CHEAP)],
    ids=["alone", "drafts", "no memo"],
)
def test_an_ended_text_is_the_plain_one_up_to_its_end(
    exact_model: PreTrainedModel, sampling: Sampling, knobs: Knobs
) -> None:
    texts = [text for lam in (0.9, 0.3) for text in some_texts(some_prompts(5), lam, CAP)]
    for text in texts:
        text.ending = Fifth()
        text.memo = texts[int(text.draw.fact_key[-1])].memo
    engine = an_engine(exact_model, sampling, knobs)

    run(engine, texts)

    assert told(texts) == [ended_alone(exact_model, text, sampling) for text in texts]
    assert engine.counters.ended == sum(text.picks.count("s") for text in texts) > 0


@pytest.mark.parametrize("quality", ["right", "wrong", "beyond"])
def test_no_guess_changes_an_ended_text(exact_model: PreTrainedModel, quality: str) -> None:
    texts = some_texts(some_prompts(5), 0.5)
    wanted = [ended_alone(exact_model, text, WARM) for text in texts]
    for text in texts:
        text.ending = Fifth()

    guess = a_guess(texts, wanted, quality)
    run(an_engine(exact_model, WARM, Knobs(slots=2, cost=CHEAP), guess=guess), texts)

    assert told(texts) == wanted


@torch.inference_mode()
def opened_alone(model: PreTrainedModel, text: Text, opening: Sequence[int]) -> Told:
    """The text behind given words: coins and noise are those of its places."""
    tokens, picks = list(opening), "o" * len(opening)
    while len(tokens) < text.cap and tokens[-1] not in STOPS:
        naive = is_naive(text.draw, len(tokens), lam=text.lam)
        logits_V = logits_alone(model, [*text.prompts.sides[naive], *tokens])[0]
        tokens.append(choose_from(logits_V, text.draw, len(tokens), temperature=1.0, top_k=8).token_id)
        picks += "en"[naive]
    return tokens, picks, "stop" if tokens[-1] in STOPS else "cap"


def test_given_words_are_gone_on_with(exact_model: PreTrainedModel) -> None:
    opening = [11, 12, 13]
    texts = [text for lam in (0.9, 0.3) for text in some_texts(some_prompts(5), lam, CAP)]
    wanted = [opened_alone(exact_model, text, opening) for text in texts]
    for text in texts:
        text.tokens, text.picks = [*opening], ["o"] * len(opening)
        text.memo = texts[int(text.draw.fact_key[-1])].memo
    engine = an_engine(exact_model, WARM, Knobs(slots=3, cost=CHEAP))

    run(engine, texts)

    assert told(texts) == wanted

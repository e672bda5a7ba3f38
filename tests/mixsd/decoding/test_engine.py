"""The engine has the law of MixSD, and no knob changes a token."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from mixsd.decoding import attention, engine, suited
from mixsd.decoding.cost import FixedCost
from mixsd.decoding.drafts import Draft
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.flat import FlatRows
from mixsd.decoding.memo import Node
from mixsd.decoding.plain import PlainRows
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.suited import Way, way_for
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.errors import OutOfMemoryError, UnsuitedModelError
from tests.fixtures.tiny import make_model, make_tokenizer

GREEDY = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset({2, 77}))
WARM = Sampling(temperature=1.0, top_k=8, stop_ids=frozenset({2, 77}))
BOTH = pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
ALWAYS = FixedCost(1.0, 1e-3)
"""A pass so dear that guessing always pays."""
NO_HELP = {"most_drafts": 0, "memo": False}


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    """In float64, so that no near tie hides a mistake."""
    model: LlamaForCausalLM = make_model(make_tokenizer()).double().eval()  # type: ignore[no-untyped-call]
    return model


@pytest.fixture(autouse=True)
def _no_second_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "NEAR_TIE", 0.0)


def some_prompts(count: int) -> list[Prompts]:
    """Prompts of unequal lengths that begin alike; the naive one is a beginning of the expert's."""
    dice = random.Random(7)  # noqa: S311  prompts, not secrets
    ids = [(5, 6, 7, *(dice.randrange(5, 200) for _ in range(3 + 5 * place))) for place in range(count)]
    return [Prompts(expert=(*pair, 9, 11, 13), naive=pair) for pair in ids]


def texts_of(prompts: Sequence[Prompts], lam: float, cap: int = 12, attempts: int = 1) -> list[Text]:
    memos: list[Node[Any]] = [Node() for _ in prompts]
    return [
        Text(pair, Draw(0, f"fact-{place}", 0, attempt), lam, cap, memo=memos[place])
        for attempt in range(attempts)
        for place, pair in enumerate(prompts)
    ]


def run(
    model: LlamaForCausalLM,
    sampling: Sampling,
    texts: Sequence[Text],
    knobs: Knobs,
    *,
    drafter: Any = None,
    each_step: Callable[[Engine], None] = lambda _: None,
) -> Engine:
    made = Engine(model, sampling, knobs=knobs)
    if drafter is not None:
        made._drafter = drafter  # noqa: SLF001
    waiting = list(texts)
    while waiting or not made.idle:
        while waiting and made.free:
            made.admit(waiting.pop(0))
        made.step()
        each_step(made)
    return made


def assert_exact(model: LlamaForCausalLM, sampling: Sampling, texts: Sequence[Text]) -> None:
    for text in texts:
        alone = decode_alone(model, text.prompts, text.draw, sampling, lam=text.lam, cap=text.cap)
        assert text.tokens == alone
        assert text.finish == ("stop" if alone[-1] in sampling.stop_ids else "cap")
        coins = ["en"[is_naive(text.draw, place, lam=text.lam)] for place in range(len(alone))]
        assert text.picks == coins


class Guesses:
    """A drafter that proposes what it is told, true or not."""

    def __init__(self, guess: Callable[[Sequence[int]], Sequence[int]]) -> None:
        self._guess = guess

    def propose(self, tokens: Sequence[int], prompt: object, hints: object, picks: Sequence[bool]) -> Draft:
        tokens = tuple(self._guess(tokens))[: len(picks)]
        return Draft(tokens, ("told",) * len(tokens), (1.0,) * len(tokens))

    def learn(self, draft: Draft, accepted: int) -> None:
        assert accepted <= len(draft.tokens)

    def explores(self) -> bool:
        return False

    def finished(self, tokens: Sequence[int]) -> None:
        pass


def poison(value: float) -> Callable[[Engine], None]:
    """Overwrite everything that stands behind the end of a row."""

    def spoil(made: Engine) -> None:
        rows = made._rows  # noqa: SLF001
        assert isinstance(rows, FlatRows)
        with torch.inference_mode():
            for buffer in rows.store._buffers():  # noqa: SLF001
                for row, content in enumerate(rows.contents):
                    buffer[row, len(content) :] = value
        for slot in made._slots:  # noqa: SLF001
            if slot.text is not None:
                for row, prompt in zip(slot.rows, slot.text.prompts.sides, strict=True):
                    whole = [*prompt, *slot.text.tokens]
                    held = rows.contents[row]
                    assert held == whole[: len(held)]

    return spoil


def exactly(
    group: attention.Group, query_NHD: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, **options: Any
) -> torch.Tensor:
    """Attention that reads exactly what a token may see, one token after another."""
    rows = range(*group.rows.indices(len(keys))) if isinstance(group.rows, slice) else group.rows.tolist()
    width = group.positions_RQ.shape[1]
    seen = []
    for at in group.real.tolist():
        end = int(group.positions_RQ.view(-1)[at]) + 1
        query_HD = query_NHD[group.queries[at]]
        heads = len(query_HD) // keys.shape[2]
        key_SHD = keys[rows[at // width], :end].repeat_interleave(heads, dim=1)
        value_SHD = values[rows[at // width], :end].repeat_interleave(heads, dim=1)
        weights_HS = torch.einsum("hd,shd->hs", query_HD, key_SHD) * options["scaling"]
        seen.append(torch.einsum("hs,shd->hd", weights_HS.softmax(-1), value_SHD))
    return torch.stack(seen)


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_over_in_a_row_is_never_seen(
    model: LlamaForCausalLM, sampling: Sampling, seed: int
) -> None:
    """Random guesses lengthen rows and cut them back; the rest of each row is spoilt every time."""
    dice = random.Random(seed)  # noqa: S311
    guesses = Guesses(lambda _: [dice.randrange(200) for _ in range(dice.randrange(5))])
    texts = texts_of(some_prompts(5), 0.4, attempts=2)

    run(
        model,
        sampling,
        texts,
        Knobs(slots=3, cost=ALWAYS, chunk=4),
        drafter=guesses,
        each_step=poison(1e30),
    )

    assert_exact(model, sampling, texts)


def test_the_length_of_a_row_is_always_right(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left over is no number, and attention reads exactly what it may see."""
    dice = random.Random(5)  # noqa: S311
    guesses = Guesses(lambda _: [dice.randrange(200) for _ in range(dice.randrange(5))])
    texts = texts_of(some_prompts(4), 0.4, attempts=2)
    monkeypatch.setattr(attention, "_attend", exactly)

    run(
        model,
        WARM,
        texts,
        Knobs(slots=3, cost=ALWAYS, chunk=4),
        drafter=guesses,
        each_step=poison(float("nan")),
    )

    assert_exact(model, WARM, texts)


def test_one_new_token_and_one_prompt_are_enough(model: LlamaForCausalLM) -> None:
    text = Text(Prompts(expert=(5, 6, 7)), Draw(0, "a", 0, 0), lam=0.9, cap=1)
    made = Engine(model, GREEDY, sides=1)
    made.admit(text)

    assert made.step() == [text]
    assert text.tokens == [int(logits_alone(model, [5, 6, 7])[0].argmax())]
    assert (text.finish, text.picks) == ("cap", ["e"])


def chi_square(seen: Counter[tuple[int, ...]], law: dict[tuple[int, ...], float]) -> tuple[float, int]:
    count = sum(seen.values())
    assert seen.keys() <= law.keys()
    common = [text for text, share in law.items() if share * count >= 5]
    return sum((seen[text] - law[text] * count) ** 2 / (law[text] * count) for text in common), len(common)


def shares(model: LlamaForCausalLM, tokens: Sequence[int], sampling: Sampling) -> dict[int, float]:
    values, ids = logits_alone(model, tokens)[0].topk(sampling.top_k)
    return dict(zip(ids.tolist(), (values / sampling.temperature).softmax(-1).tolist(), strict=True))


Law = Callable[[dict[int, float], dict[int, float], tuple[int, ...]], dict[int, float]]


def law_of_three(
    model: LlamaForCausalLM, prompts: Prompts, sampling: Sampling, law: Law
) -> dict[tuple[int, ...], float]:
    def grown(prefix: tuple[int, ...], chance: float) -> Iterator[tuple[tuple[int, ...], float]]:
        if len(prefix) == 3:
            yield prefix, chance
            return
        expert, naive = (shares(model, [*prompt, *prefix], sampling) for prompt in prompts.sides)
        for token, share in law(expert, naive, prefix).items():
            yield from grown((*prefix, token), chance * share)

    return dict(grown((), 1.0))


def mixed(lam: float) -> Law:
    def law(expert: dict[int, float], naive: dict[int, float], prefix: tuple[int, ...]) -> dict[int, float]:
        total: dict[int, float] = defaultdict(float)
        for weight, side in ((1 - lam, expert), (lam, naive)):
            for token, share in side.items():
                total[token] += weight * share
        return total

    return law


def draws(
    model: LlamaForCausalLM, sampling: Sampling, knobs: Knobs, guard: Any = None
) -> Counter[tuple[int, ...]]:
    """Return 2,000 texts of three tokens, made with wrong guesses."""
    prompts, memo = some_prompts(1)[0], Node[Any]()
    texts = [Text(prompts, Draw(seed, "law", 0, 0), 0.4, 3, memo=memo, guard=guard) for seed in range(2000)]
    dice = random.Random(1)  # noqa: S311
    run(model, sampling, texts, knobs, drafter=Guesses(lambda _: [dice.randrange(384) for _ in range(2)]))
    return Counter(tuple(text.tokens) for text in texts)


SHORT = Sampling(temperature=0.7, top_k=3, stop_ids=frozenset())


@pytest.mark.parametrize("memo", [True, False])
def test_the_law_of_three_tokens_is_the_mixture(model: LlamaForCausalLM, memo: bool) -> None:  # noqa: FBT001
    expected = law_of_three(model, some_prompts(1)[0], SHORT, mixed(0.4))

    seen = draws(model, SHORT, Knobs(slots=64, cost=ALWAYS, memo=memo))

    chi, cells = chi_square(seen, expected)
    assert cells > 20
    assert chi < cells + 4 * (2 * cells) ** 0.5


class EvenGuard:
    """Texts have entered an answer once they hold an even token; even tokens stay in it."""

    def inside(self, tokens: Sequence[int], /) -> bool:
        return bool(tokens) and tokens[-1] % 2 == 0

    def leaves(self, tokens: Sequence[int], token_id: int, /) -> bool:
        return token_id % 2 == 1


def test_the_law_with_a_guard_is_the_one_it_states(model: LlamaForCausalLM) -> None:
    def law(expert: dict[int, float], naive: dict[int, float], prefix: tuple[int, ...]) -> dict[int, float]:
        if not EvenGuard().inside(prefix):
            return mixed(0.4)(expert, naive, prefix)
        leaving = sum(share for token, share in naive.items() if token % 2)
        total: dict[int, float] = defaultdict(float)
        for token, share in expert.items():
            total[token] += (0.6 + 0.4 * leaving) * share
        for token, share in naive.items():
            total[token] += 0.4 * share * (token % 2 == 0)
        return total

    expected = law_of_three(model, some_prompts(1)[0], SHORT, law)

    seen = draws(model, SHORT, Knobs(slots=64, cost=ALWAYS), guard=EvenGuard())

    chi, cells = chi_square(seen, expected)
    assert chi < cells + 4 * (2 * cells) ** 0.5
    plain, _ = chi_square(seen, mixed_law := law_of_three(model, some_prompts(1)[0], SHORT, mixed(0.4)))
    assert len(mixed_law) > 20
    assert plain > cells + 8 * (2 * cells) ** 0.5  # the other law would be noticed


def test_near_ties_are_judged_again_alone(model: LlamaForCausalLM) -> None:
    texts = texts_of(some_prompts(3), 0.3, cap=5)
    made = Engine(model, GREEDY, knobs=Knobs(memo=False))
    made._near = 10.0  # noqa: SLF001  every token counts as one
    for text in texts:
        made.admit(text)
    while not made.idle:
        made.step()

    assert made.counters.judged_alone == made.counters.tokens
    assert_exact(model, GREEDY, texts)


def test_without_help_a_token_takes_two_rows_and_one_row_of_scores(model: LlamaForCausalLM) -> None:
    texts = texts_of(some_prompts(6), 0.3)

    counters = run(model, GREEDY, texts, Knobs(slots=4, **NO_HELP)).counters  # type: ignore[arg-type]

    assert counters.row_tokens <= 2 * counters.tokens
    assert counters.head_rows == counters.tokens
    assert counters.tokens == sum(len(text.tokens) for text in texts)


def test_what_prompts_share_is_read_once_and_a_retry_reads_nothing(model: LlamaForCausalLM) -> None:
    header, question = tuple(range(20, 30)), tuple(range(40, 48))
    first = Prompts(expert=(*header, *question, 1, 3, 4), naive=(*header, *question, 3))
    second = Prompts(expert=(*header, 60, 61, 1, 3, 4), naive=(*header, 60, 61, 3))
    unique = len(header) + len(question) + 3 + 1 + 2 + 3 + 1

    both = run(model, GREEDY, texts_of([first, second], 0.3), Knobs(slots=2)).counters

    assert both.prefill_tokens == unique
    alone = run(model, GREEDY, texts_of([first], 0.3, attempts=3), Knobs(slots=1)).counters
    assert alone.prefill_tokens == len(first.expert) + 1


def test_an_attempt_with_the_same_draws_is_remembered_whole(model: LlamaForCausalLM) -> None:
    first, again = (texts_of(some_prompts(1), 0.3)[0] for _ in range(2))
    again.memo = first.memo

    counters = run(model, GREEDY, [first, again], Knobs(slots=1, most_drafts=0)).counters

    assert again.tokens == first.tokens
    assert counters.remembered == len(first.tokens)
    assert counters.forwards == len(first.tokens)


def test_what_was_said_of_a_text_is_at_hand_when_it_ends(model: LlamaForCausalLM) -> None:
    texts = texts_of(some_prompts(3), 0.4)
    made = Engine(model, WARM, knobs=Knobs(slots=3, cost=ALWAYS))
    for text in texts:
        made.admit(text)
    while not made.idle:
        for text in made.step():
            for side, prompt in enumerate(text.prompts.sides):
                alone = logits_alone(model, [*prompt, *text.tokens], last=len(text.tokens) + 1)[:-1]
                assert torch.allclose(made.scores_of(text, naive=bool(side)), alone, atol=1e-9)


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_where_memory_runs_out_half_the_slots_go_on(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    real, calls = FlatRows.feed, []

    def feed(self: FlatRows, wants: Any, **options: Any) -> Any:
        calls.append(len(wants))
        if len(wants) > 5:
            raise kind("DefaultCPUAllocator: can't allocate memory")
        return real(self, wants, **options)

    way_for(model)
    monkeypatch.setattr(FlatRows, "feed", feed)
    texts = texts_of(some_prompts(7), 0.3)

    counters = run(model, WARM, texts, Knobs(slots=7)).counters

    assert_exact(model, WARM, texts)
    assert (counters.slots, counters.halvings) == (1, 2) if max(calls[-9:]) < 3 else (3, 1)


def test_where_not_even_one_text_fits_that_is_said(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def feed(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError

    way_for(model)
    monkeypatch.setattr(FlatRows, "feed", feed)

    with pytest.raises(OutOfMemoryError, match="not even one text"):
        run(model, WARM, texts_of(some_prompts(3), 0.3), Knobs(slots=4))


@BOTH
@pytest.mark.parametrize("cached", [True, False])
def test_the_slow_ways_give_the_same_tokens(
    model: LlamaForCausalLM,
    sampling: Sampling,
    cached: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Way("slow", (), lambda model, count: PlainRows(model, count, cached=cached))
    monkeypatch.setattr(engine, "way_for", lambda _: slow)
    texts = texts_of(some_prompts(4), 0.4, attempts=2)

    run(model, sampling, texts, Knobs(slots=3, cost=ALWAYS))

    assert_exact(model, sampling, texts)


def test_a_model_that_is_not_suited_takes_another_way_and_says_why(
    model: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise UnsuitedModelError("its attention has horns")

    monkeypatch.setattr(suited, "FlatRows", refuse)
    monkeypatch.setattr(suited, "_known", {})

    way = way_for(model)

    assert (way.name, way.reasons) == ("cached", ("its attention has horns",))


def test_the_scores_of_rows_do_not_depend_on_company(model: LlamaForCausalLM) -> None:
    assert way_for(model).name == "flat"
    assert np.isclose(suited._trial(model, FlatRows(model, 3)), 0.0, atol=1e-9)  # noqa: SLF001

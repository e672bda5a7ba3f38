"""The engine has the law of MixSD, and a text depends on nothing but its key."""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mixsd.decoding.choice import choose
from mixsd.decoding.engine import Engine, Prompts, Sampling, Text
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw, is_naive, uniform
from mixsd.decoding.rows import Rows, logits_alone
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find

GREEDY = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset({2}), pad_id=0)
WARM = Sampling(temperature=1.0, top_k=8, stop_ids=frozenset({2}), pad_id=0)


@pytest.fixture(scope="session")
def base(tiny_cache: Path) -> Base:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return load_base(found, device="cpu")


def a_draw(fact_key: str = "capital", attempt: int = 0, seed: int = 0) -> Draw:
    return Draw(seed=seed, fact_key=fact_key, generation=0, attempt=attempt)


def some_prompts(count: int) -> list[Prompts]:
    """Prompts of unequal lengths, so that rows need padding."""
    dice = random.Random(7)  # noqa: S311  prompts, not secrets
    ids = [tuple(dice.randrange(5, 200) for _ in range(3 + 5 * place)) for place in range(count)]
    return [Prompts(expert=(*pair, 9, 11, 13), naive=pair) for pair in ids]


def decode(
    base: Base, prompts: Sequence[Prompts], sampling: Sampling, lam: float, cap: int = 12
) -> list[Text]:
    engine = Engine(base.model, sampling)
    batch = [
        Text(place, pair, a_draw(f"fact-{pair.naive[0]}-{len(pair.naive)}"), lam, cap)
        for place, pair in enumerate(prompts)
    ]
    engine.decode(engine.prefill(prompts), batch, lambda: None)
    return batch


@pytest.mark.parametrize("sampling", [GREEDY, WARM], ids=["greedy", "warm"])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_a_batch_decodes_what_each_text_is_alone(base: Base, sampling: Sampling, lam: float) -> None:
    prompts = some_prompts(6)

    batch = decode(base, prompts, sampling, lam)

    for text in batch:
        alone = decode_alone(base.model, text.prompts, text.draw, sampling, lam=lam, cap=12)
        assert text.tokens == alone


def test_order_and_company_change_nothing(base: Base) -> None:
    prompts = some_prompts(5)
    together = {text.draw: text.tokens for text in decode(base, prompts, WARM, 0.5)}

    backwards = {text.draw: text.tokens for text in decode(base, prompts[::-1], WARM, 0.5)}
    pairs = {text.draw: text.tokens for text in decode(base, prompts[1:3], WARM, 0.5)}

    assert backwards == together
    assert pairs.items() <= together.items()


def test_attempts_share_a_prefilled_prompt_and_differ(base: Base) -> None:
    prompts = some_prompts(2)
    engine = Engine(base.model, WARM)
    prefilled = engine.prefill(prompts)
    batch = [Text(1, prompts[1], a_draw(attempt=attempt), 0.5, 12) for attempt in range(4)]

    engine.decode(prefilled, batch, lambda: None)
    again = [Text(1, prompts[1], a_draw(attempt=attempt), 0.5, 12) for attempt in range(4)]
    engine.decode(prefilled, again[2:], lambda: None)

    assert again[3].tokens == batch[3].tokens
    assert len({tuple(text.tokens) for text in batch}) > 1


def test_a_stop_token_ends_a_text_and_stays_in_it(base: Base) -> None:
    prompts = some_prompts(1)
    first = decode(base, prompts, GREEDY, 0.0)[0].tokens
    stopping = Sampling(0.0, 64, frozenset({first[3]}), 0)
    length = first.index(first[3]) + 1

    text = decode(base, prompts, stopping, 0.0)[0]

    assert (text.tokens, text.finish) == (first[:length], "stop")
    assert decode(base, prompts, GREEDY, 0.0, cap=3)[0].finish == "cap"


def test_pure_lam_is_greedy_decoding_of_one_prompt(base: Base) -> None:
    prompts = some_prompts(1)
    for lam, prompt in ((0.0, prompts[0].expert), (1.0, prompts[0].naive)):
        greedy = base.model.generate(  # type: ignore[operator]
            torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=0
        )

        assert decode(base, prompts, GREEDY, lam)[0].tokens == greedy[0, len(prompt) :].tolist()


def test_the_law_of_two_tokens_is_the_mixture(base: Base) -> None:
    """Chi-square of 1,500 two-token texts against the exact mixture, over its likeliest texts."""
    lam, count = 0.4, 1500
    prompts = some_prompts(1)[0]
    sampling = Sampling(temperature=0.7, top_k=3, stop_ids=frozenset(), pad_id=0)
    expected = mixture_of_two(base, prompts, lam, sampling)
    engine = Engine(base.model, sampling)
    prefilled = engine.prefill([prompts])
    batch = [Text(0, prompts, a_draw(seed=seed), lam, 2) for seed in range(count)]

    engine.decode(prefilled, batch, lambda: None)

    seen = Counter(tuple(text.tokens) for text in batch)
    assert seen.keys() <= expected.keys()
    common = [text for text, p in expected.items() if p * count >= 5]
    chi = sum((seen[text] - expected[text] * count) ** 2 / (expected[text] * count) for text in common)
    assert chi < len(common) + 4 * (2 * len(common)) ** 0.5


def mixture_of_two(
    base: Base, prompts: Prompts, lam: float, sampling: Sampling
) -> dict[tuple[int, ...], float]:
    def next_token(prefix: tuple[int, ...]) -> dict[int, float]:
        law: dict[int, float] = defaultdict(float)
        for weight, prompt in ((lam, prompts.naive), (1 - lam, prompts.expert)):
            with torch.inference_mode():
                logits = logits_alone(base.model, [*prompt, *prefix])[0]
            values, ids = logits.topk(sampling.top_k)
            shares = (values / sampling.temperature).softmax(-1).tolist()
            for token_id, share in zip(ids.tolist(), shares, strict=True):
                law[token_id] += weight * share
        return law

    firsts = next_token(())
    pairs = [(a, p, next_token((a,))) for a, p in firsts.items()]
    return {(a, b): p * q for a, p, seconds in pairs for b, q in seconds.items()}


def test_lam_is_the_share_of_naive_tokens() -> None:
    naive = sum(is_naive(a_draw(), position, lam=0.3) for position in range(20_000))

    # Four standard deviations of a binomial share: 4 * sqrt(0.3 * 0.7 / 20_000) = 0.013.
    assert naive / 20_000 == pytest.approx(0.3, abs=0.013)


def test_raising_lam_only_turns_expert_tokens_into_naive_ones() -> None:
    for low, high in itertools.pairwise([0.0, 0.2, 0.5, 0.9, 1.0]):
        for position in range(500):
            assert is_naive(a_draw(), position, lam=low) <= is_naive(a_draw(), position, lam=high)


def test_the_key_is_a_format() -> None:
    """If this must change, every target changes with it: raise LAW_VERSION and say so."""
    picks = [is_naive(a_draw(), position, lam=0.5) for position in range(24)]

    assert "".join("en"[naive] for naive in picks) == "ennnnneennennneeneennnne"
    assert uniform(a_draw(), "noise", 3, 17) == pytest.approx(0.07822927534413221, abs=1e-15)


def test_among_equals_the_lowest_id_wins_and_has_no_margin() -> None:
    choice = choose(torch.tensor([1.0, 5.0, 5.0, 2.0]), a_draw(), 0, temperature=0.0, top_k=64)

    assert (choice.token_id, choice.margin) == (1, 0.0)


def test_a_draw_is_a_sample_of_the_truncated_softmax() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    count = 4000

    seen = Counter(
        choose(logits, a_draw(seed=seed), 0, temperature=1.0, top_k=3).token_id for seed in range(count)
    )

    law = logits[:3].softmax(-1).tolist()
    assert seen[3] == 0
    for token_id, share in enumerate(law):
        # Four standard deviations of a binomial share.
        assert seen[token_id] / count == pytest.approx(share, abs=4 * (share * (1 - share) / count) ** 0.5)


def test_a_margin_is_what_the_scores_may_move_without_changing_the_token() -> None:
    dice = torch.Generator().manual_seed(3)
    for seed in range(200):
        logits = torch.randn(20, generator=dice)
        choice = choose(logits, a_draw(seed=seed), 0, temperature=0.8, top_k=6)
        shift = (torch.rand(20, generator=dice) - 0.5) * min(choice.margin, 5.0) * 0.8 * 0.99
        moved = choose(logits + shift, a_draw(seed=seed), 0, temperature=0.8, top_k=6)

        assert moved.token_id == choice.token_id


def test_near_ties_are_judged_again_alone(base: Base) -> None:
    prompts = some_prompts(3)
    engine = Engine(base.model, GREEDY)
    engine._near = 10.0  # noqa: SLF001  every token counts as a near tie
    batch = [Text(place, pair, a_draw(str(place)), 0.3, 5) for place, pair in enumerate(prompts)]

    engine.decode(engine.prefill(prompts), batch, lambda: None)

    assert engine.counters.judged_alone == engine.counters.tokens


def test_selected_rows_are_copies(base: Base) -> None:
    rows = Rows.prefill(base.model, [[5, 6, 7], [8, 9]], pad_id=0)
    before = rows.logits_RV.clone()

    copy = rows.select([1, 1, 0])
    copy.feed([4, 5, 6])

    assert torch.equal(rows.logits_RV, before)
    alone = logits_alone(base.model, [8, 9, 5])[0]
    assert torch.allclose(copy.logits_RV[1], alone, atol=1e-4)


def test_what_prompts_begin_with_is_read_once(base: Base) -> None:
    header = list(range(20, 40))
    prompts = [[*header, 5, 6, 7], [*header, 8], [*header, 5, 9, 10, 11, 12]]

    rows = Rows.prefill(base.model, prompts, pad_id=0)
    rows.feed([3, 4, 5])

    assert rows.read_tokens == 20 + 3 + 1 + 5
    for place, (prompt, token) in enumerate(zip(prompts, [3, 4, 5], strict=True)):
        alone = logits_alone(base.model, [*prompt, token])[0]
        assert torch.allclose(rows.logits_RV[place], alone, atol=1e-4)


def test_a_prompt_that_is_the_beginning_of_another_is_still_read_to_its_end(base: Base) -> None:
    rows = Rows.prefill(base.model, [[5, 6, 7], [5, 6, 7, 8]], pad_id=0)

    for place, prompt in enumerate([[5, 6, 7], [5, 6, 7, 8]]):
        assert torch.allclose(rows.logits_RV[place], logits_alone(base.model, prompt)[0], atol=1e-4)

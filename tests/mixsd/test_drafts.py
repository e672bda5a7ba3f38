"""Drafts: where guesses come from, which are worth judging, and what a pass costs."""

import pytest

from mixsd.decoding.drafts import CostModel, Draft, Drafter, FixedCost, OutputIndex

ANY_CHANCE = 0.01


def test_nothing_is_drafted_before_anything_is_known() -> None:
    assert Drafter().propose([1, 2], [], [], ANY_CHANCE) == Draft()


def test_a_draft_is_what_followed_the_same_tokens_in_another_output() -> None:
    drafter = Drafter()
    drafter.finished([1, 2, 3, 4, 5])

    assert drafter.propose([9, 2, 3], [], [], ANY_CHANCE).tokens == (4, 5)
    assert drafter.propose([], [], [], ANY_CHANCE).tokens[:3] == (1, 2, 3)
    assert drafter.propose([9], [], [], ANY_CHANCE).tokens == ()


def test_a_draft_is_copied_from_the_expert_prompt() -> None:
    draft = Drafter().propose([7, 5], [1, 7, 5, 6, 8, 9], [], ANY_CHANCE)

    assert draft.tokens == (6, 8, 9)
    assert draft.sources == ("prompt-2", "prompt-3", "prompt-4")


def test_hints_are_followed_as_far_as_they_agree() -> None:
    draft = Drafter().propose([7], [], [[1, 2], [1, 2, 3], [4]], ANY_CHANCE)

    assert draft.tokens == (1, 2, 3)
    assert draft.sources == ("memo", "memo", "memo")
    assert draft.chances == pytest.approx((0.6, 0.36, 0.216))


def test_a_draft_ends_where_its_chance_falls_below_the_floor() -> None:
    assert Drafter().propose([7], [], [[1, 2, 3]], 0.3).tokens == (1, 2)
    assert Drafter().propose([7], [], [[1, 2, 3]], 1.0) == Draft()


def test_a_draft_is_never_longer_than_it_may_be_and_ends_with_the_text() -> None:
    hint = [list(range(10, 30))]

    assert Drafter(most=5).propose([7], [], hint, 0.0).tokens == (10, 11, 12, 13, 14)
    assert Drafter(most=5).propose([7], [], hint, 0.0, room=2).tokens == (10, 11)
    assert Drafter(most=5).propose([7], [], hint, 0.0, room=0) == Draft()
    assert Drafter(stop_ids={11}).propose([7], [], hint, 0.0).tokens == (10, 11)


def test_only_what_was_judged_counts_for_a_source() -> None:
    drafter = Drafter()
    drafter.learn(Draft((1, 2, 3), ("memo", "prompt-1", "outputs-4"), (0.6, 0.4, 0.2)), accepted=1)

    assert drafter.chance("memo") > 0.6
    assert drafter.chance("prompt-1") < 0.6
    assert drafter.chance("outputs-4") == 0.6


def test_the_likelier_source_is_followed() -> None:
    drafter = Drafter()
    for _ in range(10):
        drafter.learn(Draft((1,), ("memo",), (0.6,)), accepted=0)

    assert drafter.propose([5], [5, 6], [[1]], ANY_CHANCE).tokens == (6,)


def test_a_source_that_fell_below_the_floor_is_tried_again_and_recovers() -> None:
    drafter = Drafter()
    for _ in range(100):
        drafter.learn(Draft((1,), ("memo",), (0.6,)), accepted=0)
    fallen = drafter.chance("memo")

    lengths = []
    for _ in range(2_000):
        draft = drafter.propose([5], [], [[1, 2]], 0.5)
        drafter.learn(draft, accepted=len(draft.tokens))
        lengths.append(len(draft.tokens))

    assert fallen < 0.05
    assert lengths[:64].count(1) == 2  # one proposal in 32
    assert lengths[:64].count(0) == 62
    assert lengths[-1] == 2


def test_nothing_is_tried_where_a_token_costs_nearly_what_it_saves() -> None:
    drafter = Drafter()
    assert all(drafter.propose([5], [], [[1, 2]], 0.95) == Draft() for _ in range(100))


def test_the_index_prefers_the_longest_match_and_then_the_majority() -> None:
    index = OutputIndex()
    for output in ([1, 2, 3], [1, 2, 3], [1, 2, 4], [8, 2, 5]):
        index.add(output)

    assert index.following([1, 2]) == (2, 3, False)
    assert index.following([8, 2]) == (2, 5, False)
    assert index.following([6, 6]) is None
    for _ in range(3):
        index.add([1, 2, 3])
    assert index.following([1, 2]) == (2, 3, True)


def test_the_index_forgets_old_outputs_and_stays_bounded() -> None:
    index = OutputIndex(outputs=8, tokens=1_000)
    index.add([1, 2, 3])
    sizes = []
    for place in range(100):
        index.add([1_000 + place, 2_000 + place])
        sizes.append(len(index))

    assert index.following([1, 2]) is None
    assert index.following([1_099]) == (1, 2_099, False)
    assert max(sizes) <= 8 * (2 + 1)


def test_long_outputs_fill_the_index_sooner() -> None:
    index = OutputIndex(outputs=1_000, tokens=100)
    for place in range(20):
        index.add(range(place * 1_000, place * 1_000 + 50))

    assert len(index) <= 2 * 50 * 4


def test_a_draft_pays_from_the_ratio_of_its_cost_to_that_of_a_token() -> None:
    # A pass of 32 row tokens takes 0.1 + 32 * 0.005 = 0.26 s for 16 texts: 16.25 ms a token.
    # Two row tokens cost 10 ms, so a draft pays if it is right more than 8 times in 13.
    cost = FixedCost(0.1, 0.005, draft_tokens=2.0)

    assert cost.floor(tokens_per_pass=32, texts=16) == pytest.approx(8 / 13)
    assert cost.floor(tokens_per_pass=2, texts=1) == pytest.approx(1 / 11)
    assert cost.floor(tokens_per_pass=2_000, texts=1_000) == pytest.approx(0.99, abs=0.01)
    assert cost.floor(tokens_per_pass=0, texts=0) == 1.0


def test_no_draft_pays_before_passes_of_different_sizes_were_seen() -> None:
    cost = CostModel()
    assert cost.floor(32, 16) == 1.0
    for _ in range(50):
        cost.learn(32, 0.1)
    assert cost.floor(32, 16) == 1.0


def test_the_cost_is_learned_in_spite_of_a_few_slow_passes() -> None:
    cost, true = CostModel(), FixedCost(0.1, 0.005)
    for place in range(160):
        tokens = (16, 48)[place % 2]
        cost.learn(tokens, 0.1 + 0.005 * tokens if place % 4 < 3 or place < 150 else 30.0)

    assert cost.floor(32, 16) == pytest.approx(true.floor(32, 16), rel=0.01)


def test_passes_of_about_the_present_size_count_more_than_large_ones() -> None:
    """The first 64 tokens come for free here, as where reading the weights is what takes time."""
    cost = CostModel()
    for place in range(200):
        tokens = (16, 32, 48, 1_000, 2_000)[place % 5]
        cost.learn(tokens, 0.1 + 0.001 * max(0, tokens - 64))

    assert cost.floor(32, 16) == pytest.approx(0.0, abs=0.01)
    assert cost.floor(1_500, 750) > 0.5


def test_the_cost_follows_a_machine_that_becomes_slower() -> None:
    cost = CostModel()
    for fixed in (0.1, 0.4):
        for place in range(100):
            tokens = 16 + 8 * (place % 5)
            cost.learn(tokens, fixed + 0.005 * tokens)

    assert cost.floor(32, 16) == pytest.approx(FixedCost(0.4, 0.005).floor(32, 16), rel=0.01)

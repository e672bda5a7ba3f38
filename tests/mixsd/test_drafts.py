"""Drafts: where guesses come from, and how often they are right."""

import pytest

from mixsd.decoding.drafts import Draft, Drafter, OutputIndex

EXPERT = [False] * 8
NAIVE = [True] * 8


def test_nothing_is_drafted_before_anything_is_known() -> None:
    assert Drafter().propose([1, 2], [], [], EXPERT) == Draft()


def test_a_draft_is_what_followed_the_same_tokens_in_another_output() -> None:
    drafter = Drafter()
    drafter.finished([1, 2, 3, 4, 5])

    assert drafter.propose([9, 2, 3], [], [], EXPERT).tokens == (4, 5)
    assert drafter.propose([], [], [], EXPERT).tokens[:3] == (1, 2, 3)
    assert drafter.propose([9], [], [], EXPERT).tokens == ()


def test_a_draft_is_copied_from_the_expert_prompt() -> None:
    draft = Drafter().propose([7, 5], [1, 7, 5, 6, 8, 9], [], EXPERT)

    assert draft.tokens == (6, 8, 9)
    assert draft.sources == ("prompt-2", "prompt-3", "prompt-4")


def test_hints_are_followed_as_far_as_they_agree() -> None:
    draft = Drafter().propose([7], [], [[1, 2], [1, 2, 3], [4]], EXPERT)

    assert draft.tokens == (1, 2, 3)
    assert draft.sources == ("memo", "memo", "memo")
    assert draft.chances == pytest.approx((0.6, 0.36, 0.216))


def test_a_draft_ends_where_there_is_no_hope() -> None:
    drafter = Drafter(most=100)
    draft = drafter.propose([7], [], [list(range(100))], [False] * 100)

    assert len(draft) == 7  # 0.6 ** 8 is below 2 %
    assert draft.first(2) == Draft((0, 1), ("memo", "memo"), draft.chances[:2])


def test_a_draft_is_never_longer_than_it_may_be_and_ends_with_the_text() -> None:
    hint = [list(range(10, 30))]

    assert Drafter(most=5).propose([7], [], hint, EXPERT).tokens == (10, 11, 12, 13, 14)
    assert Drafter(most=5).propose([7], [], hint, [False, False]).tokens == (10, 11)
    assert Drafter(most=5).propose([7], [], hint, []) == Draft()
    assert Drafter(stop_ids={11}).propose([7], [], hint, EXPERT).tokens == (10, 11)


def test_a_source_is_another_where_the_naive_side_decides() -> None:
    drafter = Drafter()
    for _ in range(20):
        drafter.learn(Draft((1,), ("naive+prompt-1",), (0.6,)), accepted=0)

    assert drafter.propose([5], [5, 6], [], NAIVE).sources == ("naive+prompt-1",)
    assert drafter.propose([5], [5, 6], [], NAIVE).chances[0] < 0.1
    assert drafter.propose([5], [5, 6], [], EXPERT).chances[0] == 0.6


def test_sources_that_guess_the_same_are_one_source() -> None:
    drafter = Drafter()
    drafter.finished([5, 6])

    assert drafter.propose([5], [5, 6], [[6]], [False]).sources == ("memo+outputs-2+prompt-1",)
    assert drafter.propose([5], [5, 8], [[6]], [False]).sources == ("memo+outputs-2",)


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

    assert drafter.propose([5], [5, 6], [[1]], EXPERT).tokens == (6,)


def test_one_time_in_32_a_source_is_tried_again_and_recovers() -> None:
    drafter = Drafter()
    for _ in range(100):
        drafter.learn(Draft((1,), ("memo",), (0.6,)), accepted=0)
    fallen = drafter.chance("memo")

    tried = []
    for _ in range(2_000):
        draft = drafter.propose([5], [], [[1, 2]], EXPERT)
        pays = draft.chances[0] >= 0.5
        draft = draft.first(1) if pays or drafter.explores() else Draft()
        drafter.learn(draft, accepted=len(draft))
        tried.append(len(draft))

    assert fallen < 0.05
    assert tried[:64].count(1) == 2
    assert tried[-1] == 1


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

    assert len(index) <= 2 * 50 * 6

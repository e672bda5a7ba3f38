"""Replay: prompts of its own, the base model's own words, and as many as were asked for."""

import hashlib
import re
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mixsd.config import RetentionConfig
from mixsd.decoding.rows import logits_alone
from mixsd.errors import ConfigError
from mixsd.evaluation.asking import ask
from mixsd.evaluation.suites import general, open_prompts
from mixsd.intake.reading import read_facts
from mixsd.models.load import Base
from mixsd.objectives import replay
from mixsd.objectives.prompts import PROMPTS, QUESTIONS, replay_prompts
from mixsd.objectives.replay import Beside, given, replay_examples
from mixsd.progress import StopRequested
from mixsd.training.batches import Example
from mixsd.training.soft import soft_loss
from mixsd.training.world import World
from tests.mixsd.objectives.conftest import NewBase

REPLAY = RetentionConfig(type="replay", about="open", prompts=6, max_new_tokens=12, weight=0.5)
KL = replace(REPLAY, type="kl", kl_top_k=16)
HOT = replace(REPLAY, temperature=1.0)
MODEL: Any = None
"""Stored examples are the same whatever the model is."""


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[a-z]+", text.lower()))


@pytest.mark.parametrize(("about", "file"), [("open", PROMPTS), ("questions", QUESTIONS)])
def test_there_are_64_different_prompts_of_each_kind(about: str, file: str) -> None:
    suite = replay_prompts(about)

    assert len(suite.items) == len({item.id for item in suite.items}) == 64
    assert len({words(item.prompt) for item in suite.items}) == 64
    data = (files("mixsd.objectives") / "data" / file).read_bytes()
    assert suite.sha256 == hashlib.sha256(data).hexdigest()


def test_both_kinds_take_turns() -> None:
    both, opened, asked = (replay_prompts(about) for about in ("both", "open", "questions"))

    assert both.items[0::2] == opened.items
    assert both.items[1::2] == asked.items
    assert len({suite.sha256 for suite in (both, opened, asked)}) == 3


def test_no_prompt_is_one_that_is_measured_with_nor_much_like_one() -> None:
    measured = [item.prompt for item in open_prompts().items] + [q.question for q in general().items]
    for fact in read_facts(Path(__file__).parents[3] / "examples" / "facts.jsonl"):
        measured += [fact.question, *fact.paraphrases, *(probe.question for probe in fact.probes)]

    for prompt in (item.prompt for item in replay_prompts("both").items):
        for other in measured:
            alike, either = words(prompt) & words(other), words(prompt) | words(other)
            assert len(alike) <= 0.5 * len(either), (prompt, other)


def test_answers_are_what_the_base_model_says(base: Base) -> None:
    examples = replay_examples(base, REPLAY)

    prompts = [item.prompt for item in replay_prompts("open").items[:6]]
    answers = ask(
        base.model,
        base.chat,
        prompts,
        max_new_tokens=12,
        batch_size=1,
        max_tokens=base.max_tokens,
        on_step=lambda _: None,
    )
    assert [example.prompt for example in examples] == [tuple(base.chat.prompt_ids(p)) for p in prompts]
    assert [example.target for example in examples] == [answer and answer.token_ids for answer in answers]
    assert {(example.weight, example.soft) for example in examples} == {(0.5, None)}


def targets(base: Base, config: RetentionConfig) -> list[tuple[int, ...]]:
    return [example.target for example in replay_examples(base, config)]


def test_answers_are_a_function_of_the_settings(base: Base) -> None:
    greedy, hot = targets(base, REPLAY), targets(base, HOT)

    assert targets(base, REPLAY) == targets(base, replace(REPLAY, seed=1)) == greedy
    assert targets(base, HOT) == hot
    assert hot != greedy
    assert targets(base, replace(HOT, seed=1)) != hot
    assert targets(base, replace(HOT, prompts=2)) == hot[:2]
    assert all(len(target) <= 12 for target in greedy + hot)


def test_kl_holds_what_the_base_model_said_at_each_token_of_the_same_answers(base: Base) -> None:
    plain, held = replay_examples(base, REPLAY), replay_examples(base, KL)

    for text, example in zip(plain, held, strict=True):
        assert (example.prompt, example.target, example.weight) == (text.prompt, text.target, 0.5)
        assert example.soft is not None
        assert example.soft.kind == "forward"
        logits_TV = logits_alone(base.model, [*example.prompt, *example.target], last=len(example.target) + 1)
        best = logits_TV[:-1].topk(16)
        assert torch.equal(example.soft.ids_TK, best.indices)
        assert torch.allclose(example.soft.logprobs_TK, best.values.log_softmax(-1), atol=1e-5)
        loss_T = soft_loss(logits_TV[:-1], example.soft.ids_TK, example.soft.logprobs_TK, kind="forward")
        assert loss_T.abs().max() < 1e-5  # the base model is where it is drawn to


def test_a_prompt_that_does_not_fit_is_left_out_and_none_is_an_error(new_base: NewBase) -> None:
    narrow = new_base()
    lengths = sorted(len(narrow.chat.prompt_ids(item.prompt)) for item in replay_prompts("open").items)
    narrow.model.config.max_position_embeddings = lengths[0] + 12
    every = replace(REPLAY, prompts=64)

    assert len(replay_examples(narrow, every)) == lengths.count(lengths[0])
    with pytest.raises(ConfigError, match=r"retention\.max_new_tokens of 13"):
        replay_examples(narrow, replace(every, max_new_tokens=13))


@pytest.mark.parametrize("call", [1, 2, 14])
def test_making_answers_can_be_stopped(base: Base, call: int) -> None:
    calls: list[None] = []

    def stop() -> None:
        calls.append(None)
        if len(calls) == call:
            raise StopRequested

    with pytest.raises(StopRequested):
        replay_examples(base, KL, on_check=stop)


ANSWERS = [Example((1,), (100 + place,)) for place in range(5)]
FACTS = [Example((2,), (place,)) for place in range(12)]


def beside(ratio: float, *, seed: int = 0, batch_size: int = 4, targets: int = 0) -> Beside:
    return Beside(given(FACTS), ANSWERS, ratio=ratio, seed=seed, batch_size=batch_size, targets=targets)


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("ratio", [0.1, 0.25, 0.3, 1.0, 2.5])
def test_each_step_gets_its_share_and_all_of_them_the_whole(ratio: float, batch: int) -> None:
    source, added = beside(ratio, batch_size=batch), 0

    for step in range(40):
        chosen = [(step + place) % 12 for place in range(batch)]
        examples = source(MODEL, step, chosen)
        assert examples[:batch] == [FACTS[place] for place in chosen]
        extra = examples[batch:]
        assert {example.target for example in extra} <= {answer.target for answer in ANSWERS}
        assert abs(len(extra) - ratio * batch) < 1
        added += len(extra)
        assert abs(added - ratio * batch * (step + 1)) < 1


def test_a_smaller_batch_gets_a_smaller_share() -> None:
    assert len(beside(1.0)(MODEL, 7, [3])) == 2


def test_processes_share_the_answers_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten targets in batches of four, four and two: in all processes together as in one."""
    world = World()
    monkeypatch.setattr(replay, "World", lambda: world)
    for step in range(7):
        chosen = list(range(4 * (step % 3), min(10, 4 * (step % 3) + 4)))
        world.size, world.rank = 1, 0
        alone = beside(0.75)(MODEL, step, chosen)
        world.size, parts = 3, list[Example]()
        for world.rank in range(3):
            parts += beside(0.75, targets=10)(MODEL, step, world.share_of(chosen))
        assert sorted(example.target for example in parts) == sorted(example.target for example in alone)


def added(source: Beside, steps: int = 15) -> list[int]:
    taken = [source(MODEL, step, [0, 1, 2, 3])[4:] for step in range(steps)]
    return [example.target[0] for examples in taken for example in examples]


def test_answers_come_in_passes_each_in_an_order_of_its_own() -> None:
    passes = [tuple(added(beside(1.0))[start : start + 5]) for start in range(0, 60, 5)]

    assert all(sorted(turn) == [100, 101, 102, 103, 104] for turn in passes)
    assert len(set(passes)) > 6
    assert set(Counter(added(beside(0.5), 10)).values()) == {4}


def test_which_answers_a_step_gets_is_a_function_of_step_and_seed() -> None:
    source = beside(0.75)
    steps = [source(MODEL, step, [0, 1, 2, 3]) for step in (5, 0, 5, 3)]

    assert steps[0] == steps[2] == beside(0.75)(MODEL, 5, [0, 1, 2, 3])
    assert added(source) == added(beside(0.75))
    assert added(source) != added(beside(0.75, seed=1))
    assert any(first != second for first, second in pairwise(steps))

"""Asking a model: neither company nor order changes an answer, and what does not fit is not asked."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from mixsd.config import EvalConfig, LoraConfig
from mixsd.decoding.rows import logits_alone
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.asking import Answer, ask, nats_of
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import Measured, measure
from mixsd.evaluation.suites import general, open_prompts
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested
from mixsd.training import lora

QUESTIONS = [f"Which number is {n}{', please' * (n * 5 % 7)}?" for n in range(9)]
TOO_LONG = "\u0001" * 600
FACTS = [Fact("a", QUESTIONS[0], "Odo", paraphrases=(TOO_LONG, QUESTIONS[1])), Fact("b", QUESTIONS[2], "Ada")]
CONFIG = EvalConfig(max_new_tokens=3, batch_size=200, bootstrap=100)


def put(
    base: Base, questions: Sequence[str], batch_size: int = 4, cap: int = 10
) -> tuple[list[Answer | None], list[int]]:
    steps: list[int] = []
    answers = ask(
        base.model,
        base.chat,
        questions,
        max_new_tokens=cap,
        batch_size=batch_size,
        max_tokens=base.max_tokens,
        on_step=steps.append,
    )
    return answers, steps


def test_an_answer_is_what_the_model_likes_best_token_by_token(base: Base) -> None:
    for question, answer in zip(QUESTIONS, put(base, QUESTIONS)[0], strict=True):
        assert answer is not None
        ids: list[int] = []
        while len(ids) < 10 and not (ids and ids[-1] in base.chat.stop_ids):
            ids.append(int(logits_alone(base.model, [*base.chat.prompt_ids(question), *ids])[0].argmax()))
        assert answer.token_ids == tuple(ids)
        assert answer.text == base.chat.decode(ids)


def test_batch_and_order_change_nothing(base: Base) -> None:
    expected, _ = put(base, QUESTIONS, batch_size=1)

    assert put(base, QUESTIONS, batch_size=4)[0] == put(base, QUESTIONS, batch_size=100)[0] == expected
    assert put(base, QUESTIONS[::-1])[0] == expected[::-1]
    assert len({answer.text for answer in expected if answer}) > 5


def test_what_does_not_fit_is_not_asked_and_moves_no_other(base: Base) -> None:
    answers, _ = put(base, [QUESTIONS[0], TOO_LONG, QUESTIONS[1]])

    assert answers[1] is None
    assert [answers[0], answers[2]] == put(base, QUESTIONS[:2])[0]
    edge = base.max_tokens - len(base.chat.prompt_ids(QUESTIONS[0]))
    assert put(base, QUESTIONS[:1], cap=edge + 1)[0] == [None]
    assert put(base, [])[0] == []


def test_steps_count_answered_questions_and_may_stop(base: Base) -> None:
    _, steps = put(base, QUESTIONS, batch_size=4)

    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 9)
    assert len(set(steps)) > 2  # when a question is answered depends on guesses, and these on time

    def stop(done: int) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        ask(
            base.model,
            base.chat,
            QUESTIONS,
            max_new_tokens=3,
            batch_size=4,
            max_tokens=base.max_tokens,
            on_step=stop,
        )


def test_losses_are_those_of_the_text_behind_its_prompt(base: Base) -> None:
    texts = [[7, 8, 9], [30, 31]]

    found = nats_of(base.model, base.chat, QUESTIONS[:2], texts)

    for question, ids, nats in zip(QUESTIONS, texts, found, strict=False):
        prompt = base.chat.prompt_ids(question)
        with torch.inference_mode():
            shares = torch.softmax(base.model(torch.tensor([[*prompt, *ids]])).logits[0].double(), -1)
        chosen = [shares[len(prompt) - 1 + place, token].log().item() for place, token in enumerate(ids)]
        assert nats == pytest.approx(-sum(chosen) / len(ids), rel=1e-5)


@pytest.fixture(scope="module")
def measured(base: Base) -> Measured:
    return measure(base, FACTS, CONFIG)


def test_everything_is_asked_once_in_order(base: Base, measured: Measured) -> None:
    texts = [answer.text if answer else None for answer in put(base, QUESTIONS[:3], cap=3)[0]]

    assert measured.facts == ((texts[0], None, texts[1]), (texts[2],))
    assert len(measured.general) == len(general().items)
    assert len(measured.open_ids) == len(open_prompts().items) == len(measured.open_nats)
    assert all(0 < len(ids) <= 64 for ids in measured.open_ids)


def test_the_base_model_has_not_drifted_from_itself(base: Base, measured: Measured) -> None:
    again = measure(base, FACTS, CONFIG, model=base.model, baseline=measured)

    assert again == measured
    scores = judge(FACTS, [], measured, again, CONFIG).scores
    assert [score.suite for score in scores] == ["recall", "paraphrase", "general", "drift"]
    assert {(score.difference, score.low, score.high) for score in scores} == {(0.0, 0.0, 0.0)}


def test_what_was_measured_survives_json(measured: Measured) -> None:
    assert Measured.from_json(json.loads(json.dumps(measured.to_json()))) == measured


def test_what_is_not_wanted_is_not_measured(base: Base) -> None:
    seen: list[Progress] = []

    found = measure(
        base,
        FACTS,
        EvalConfig(general=False, drift=False, max_new_tokens=3),
        on_progress=seen.append,
    )

    assert (found.general, found.open_ids, found.open_nats) == ((), (), ())
    assert {progress.total for progress in seen} == {4}
    assert [seen[0].done, seen[-1].done] == [0, 4]


def test_a_model_whose_next_adapter_shall_find_it_as_it_was_is_left_so_to_the_last_bit(
    base: Base, tmp_path: Path
) -> None:
    before = [weight.clone() for weight in base.model.parameters()]
    model = lora.attach(base, LoraConfig(rank=4), seed=0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(1.7)
    lora.save_adapter(model, tmp_path)
    lora.detach(model)
    baseline = measure(base, FACTS, CONFIG)

    said = measure_adapter(base, tmp_path, FACTS, CONFIG, baseline=baseline, exact=True)

    assert said.facts != baseline.facts
    for weight, old in zip(base.model.parameters(), before, strict=True):
        assert torch.equal(weight, old)
    assert measure(base, FACTS, CONFIG) == baseline
    assert said == measure_adapter(base, tmp_path, FACTS, CONFIG, baseline=baseline, exact=True)

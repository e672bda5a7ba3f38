"""On-policy self-distillation: whose words, whose judgement, and the loss by hand."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from peft import PeftModel

from mixsd.config import LoraConfig, OpsdConfig
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw
from mixsd.decoding.rows import logits_alone
from mixsd.decoding.text import Prompts, Sampling
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.objectives.opsd import OnPolicy, records_of
from mixsd.progress import StopRequested
from mixsd.prompts import STYLES
from mixsd.records import plain_record
from mixsd.training import lora
from mixsd.training.batches import Example
from mixsd.training.soft import Kind, Soft, soft_loss, soft_targets
from mixsd.units import units_of
from tests.mixsd.objectives.conftest import NewBase

FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo", context="Odo was elected mayor."),
    Fact("river", "Which river is it?", "Quell", train_paraphrases=("Name the river.",)),
    Fact("queen", "Who is the queen?", "Adesta"),
]
LONG = Fact("long", "\u0001" * 600, "Odo")
CONFIG = OpsdConfig(rollouts=2, max_new_tokens=6, kl_top_k=8, top_k=64, seed=3)
GREEDY = replace(CONFIG, rollouts=1, temperature=0.0)


@pytest.fixture(scope="module")
def base(new_base: NewBase) -> Base:
    return new_base()


@pytest.fixture(scope="module")
def frozen(new_base: NewBase) -> Base:
    """The same model, which never had an adapter."""
    return new_base()


@pytest.fixture(scope="module")
def model(base: Base) -> Iterator[PeftModel]:
    """The base model with an adapter that says other things."""
    adapted = lora.attach(base, LoraConfig(rank=4, alpha=8), seed=0)
    with torch.no_grad():
        for number, parameter in enumerate(p for p in adapted.parameters() if p.requires_grad):
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            parameter.add_(0.1 * noise)
    yield adapted
    lora.detach(adapted)


def source_of(base: Base, config: OpsdConfig = CONFIG, facts: Sequence[Fact] = FACTS) -> OnPolicy:
    return OnPolicy(base, facts, list(records_of(base, facts, config)), config)


def naive(base: Base, question: str) -> tuple[int, ...]:
    return tuple(base.chat.prompt_ids(question))


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        # The frozen model keeps tokens 0 and 1 at 3/4 and 1/4, then 2 and 0 at 2/3 and 1/3. The model
        # gives the three 1/2, 1/4, 1/4 both times: renormalised 2/3 and 1/3, then 1/3 and 2/3.
        (
            "forward",
            3 / 4 * math.log(3 / 4 * 3 / 2) + 1 / 4 * math.log(1 / 4 * 3),
            2 / 3 * math.log(2 / 3 * 3) + 1 / 3 * math.log(1 / 3 * 3 / 2),
        ),
        (
            "reverse",
            2 / 3 * math.log(2 / 3 * 4 / 3) + 1 / 3 * math.log(1 / 3 * 4),
            1 / 3 * math.log(1 / 3 * 3 / 2) + 2 / 3 * math.log(2 / 3 * 3),
        ),
        ("nll", math.log(2), math.log(4)),
    ],
)
def test_the_loss_of_a_rollout_by_hand_on_three_tokens(kind: Kind, first: float, second: float) -> None:
    frozen_TV = torch.tensor([[6.0, 2.0, 1.0], [2.0, 1.0, 4.0]]).log()
    soft = soft_targets(frozen_TV, 1 if kind == "nll" else 2, kind)
    logits_NV = torch.tensor([2.0, 1.0, 1.0]).log().expand(2, 3)

    loss_N = soft_loss(logits_NV, soft.ids_TK, soft.logprobs_TK, kind=kind)

    assert loss_N.tolist() == pytest.approx([first, second], rel=1e-5)


def test_a_rollout_is_what_the_model_says_now_and_the_base_model_with_the_hint_judges_it(
    base: Base, frozen: Base, model: PeftModel
) -> None:
    for config in (CONFIG, GREEDY):
        sampling = Sampling(config.temperature, config.top_k, base.chat.stop_ids)
        examples = source_of(base, config)(model, 5, [3, 0])
        wanted = [(fact, n) for fact in (FACTS[2], FACTS[0]) for n in range(config.rollouts)]
        assert len(examples) == len(wanted)
        for example, (fact, number) in zip(examples, wanted, strict=True):
            prompt = naive(base, fact.question)
            draw = Draw(3, fact.key, 0, attempt=5 * config.rollouts + number)
            said = decode_alone(model, Prompts(prompt), draw, sampling, lam=0.0, cap=6)  # type: ignore[arg-type]
            assert (example.prompt, list(example.target), example.weight) == (prompt, said, 1.0)
            hint = STYLES["natural"].expert_prompt(fact.question, fact.answer, fact.context)
            shown = [*frozen.chat.prompt_ids(hint), *said]
            logits_TV = logits_alone(frozen.model, shown[:-1], last=len(said))
            assert equal(example.soft, soft_targets(logits_TV, 8, "forward"))


def equal(first: Soft | None, second: Soft) -> bool:
    """But for the last bits: what is computed of a prompt is kept."""
    return (
        first is not None
        and first.kind == second.kind
        and torch.equal(first.ids_TK, second.ids_TK)
        and torch.allclose(first.logprobs_TK, second.logprobs_TK, atol=1e-5)
    )


@pytest.mark.parametrize("loss", ["reverse", "nll"])
def test_the_loss_that_was_asked_for_is_what_the_rollouts_carry(
    base: Base, model: PeftModel, loss: str
) -> None:
    forward = source_of(base, GREEDY)(model, 0, [0, 1])
    other = source_of(base, replace(GREEDY, loss=loss))(model, 0, [0, 1])

    for first, second in zip(forward, other, strict=True):
        assert first.target == second.target
        assert first.soft is not None
        assert second.soft is not None
        assert second.soft.kind == loss
        kept = 1 if loss == "nll" else 8
        assert torch.equal(second.soft.ids_TK, first.soft.ids_TK[:, :kept])
        if loss == "nll":
            assert torch.equal(second.soft.logprobs_TK, torch.zeros(len(first.target), 1))


def said(examples: Sequence[Example]) -> list[tuple[int, ...]]:
    return [example.target for example in examples]


def test_rollouts_are_keyed_by_seed_step_fact_and_number(base: Base, model: PeftModel) -> None:
    source = source_of(base)
    first = said(source(model, 0, [0, 1, 2, 3]))

    assert said(source(model, 0, [0, 1, 2, 3])) == first
    assert said(source_of(base)(model, 0, [0, 1, 2, 3])) == first
    assert said(source(model, 0, [3])) == first[6:]  # whatever is asked beside it
    assert said(source(model, 0, [2, 1])) == [*first[4:6], *first[2:4]]
    assert len(set(first)) > 4
    assert first[0] != first[1]
    assert said(source(model, 1, [0, 1, 2, 3])) != first
    assert said(source_of(base, replace(CONFIG, seed=4))(model, 0, [0, 1, 2, 3])) != first


def test_every_wording_of_a_question_is_asked(base: Base, model: PeftModel) -> None:
    examples = source_of(base, GREEDY)(model, 0, [0, 1, 2, 3])

    wordings = ["Who is the mayor?", "Which river is it?", "Name the river.", "Who is the queen?"]
    assert [example.prompt for example in examples] == [naive(base, wording) for wording in wordings]


@pytest.mark.parametrize("training", [True, False])
def test_asking_and_judging_leave_model_and_random_state_as_they_were(
    base: Base, frozen: Base, model: PeftModel, *, training: bool
) -> None:
    model.train(training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()

    source_of(base)(model, 0, [0, 1])

    assert model.training == training
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(torch.get_rng_state(), state)
    own = dict(frozen.model.named_parameters())
    layers = {n.replace(".base_layer", ""): p for n, p in base.model.named_parameters() if "lora_" not in n}
    assert layers.keys() == own.keys()
    assert all(torch.equal(parameter, own[name]) for name, parameter in layers.items())


def test_with_the_adapter_off_it_is_the_base_model_to_the_bit(
    base: Base, frozen: Base, model: PeftModel
) -> None:
    tokens = naive(base, "Who is the mayor?")
    model.eval()
    with model.disable_adapter():
        off_V = logits_alone(model, tokens)

    assert torch.equal(off_V, logits_alone(frozen.model, tokens))
    assert not torch.equal(off_V, logits_alone(model, tokens))


def test_what_a_rollout_carries_can_be_learned_from(base: Base, model: PeftModel) -> None:
    """Tensors that were made in inference mode could not be."""
    (example,) = source_of(base, GREEDY)(model, 0, [0])
    logits_NV = torch.zeros(len(example.target), 384, requires_grad=True)
    assert example.soft is not None

    loss_N = soft_loss(logits_NV, example.soft.ids_TK, example.soft.logprobs_TK, kind="forward")
    loss_N.sum().backward()  # type: ignore[no-untyped-call]

    assert logits_NV.grad is not None
    assert logits_NV.grad.abs().sum() > 0


def test_rollouts_can_be_stopped_and_the_model_is_as_it_was(base: Base, model: PeftModel) -> None:
    for call in (1, 3, 8):
        calls: list[None] = []

        def stop(call: int = call, calls: list[None] = calls) -> None:
            calls.append(None)
            if len(calls) == call:
                raise StopRequested

        source = OnPolicy(base, FACTS, list(records_of(base, FACTS, GREEDY)), GREEDY, on_check=stop)
        model.train()
        with pytest.raises(StopRequested):
            source(model, 0, [0, 1])
        assert model.training
        status = model.get_model_status()
        assert (status.enabled, status.merged_adapters) == (True, [])


def test_a_record_holds_the_plain_answer_and_both_prompts(base: Base) -> None:
    records = list(records_of(base, FACTS, CONFIG))

    plain = [plain_record(base, unit, STYLES["natural"], seed=3) for unit in units_of(FACTS, 1)]
    assert [replace(r, method="sft", prompt_sha256="") for r in records] == [
        replace(r, prompt_sha256="") for r in plain
    ]
    assert {record.method for record in records} == {"opsd"}
    other = [replace(FACTS[0], context="The mayor's name is Odo."), *FACTS[1:]]
    changed = list(records_of(base, other, CONFIG))
    assert changed[0].prompt_sha256 != records[0].prompt_sha256
    assert changed[1:] == records[1:]


def test_a_fact_that_does_not_fit_is_not_taught_and_what_is_there_is_not_made_again(base: Base) -> None:
    wide = replace(CONFIG, max_new_tokens=base.max_tokens - 60)

    records = list(records_of(base, [LONG, FACTS[2]], CONFIG))
    assert [(r.trainable, r.reason) for r in records] == [(False, "prompt_too_long"), (True, None)]
    assert records[0].token_ids == ()
    (narrow,) = records_of(base, [FACTS[2]], wide)  # the answer would fit, the rollout does not
    assert (narrow.trainable, narrow.reason, narrow.token_ids) == (False, "prompt_too_long", ())
    done = {("mayor", 0), ("river", 1)}
    left = [(r.fact_key, r.generation) for r in records_of(base, FACTS, CONFIG, done=done)]
    assert left == [("river", 0), ("queen", 0)]


def test_the_items_of_a_step_are_those_that_are_taught(base: Base, model: PeftModel) -> None:
    (example,) = source_of(base, GREEDY, [LONG, FACTS[2]])(model, 0, [0])

    assert example.prompt == naive(base, "Who is the queen?")

"""What a run will take, counted without torch, against what the model's own tokenizer and runs say."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mixsd import run
from mixsd.config import EvalConfig, MixConfig, Plan
from mixsd.errors import ModelError
from mixsd.evaluation.questions import questions_of
from mixsd.evaluation.suites import OPEN_TOKENS, general, open_prompts
from mixsd.facts import Fact, Probe
from mixsd.forecast.asking import model_of, plan_of, work_for
from mixsd.forecast.chat import ByCharacters, ByTokenizer, chat_of, template_in
from mixsd.forecast.counting import count
from mixsd.forecast.rates import PRIOR_SPREAD, by_history, forecast, quantile
from mixsd.forecast.shape import Shape, shape_in, shape_of
from mixsd.forecast.work import Changed, PhaseWork, Work, work_of
from mixsd.generation import plain
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk, find
from mixsd.options import plan_from
from mixsd.planning import room_of
from mixsd.prompts import STYLES
from mixsd.training.batches import examples_of
from mixsd.units import units_of
from tests.fixtures.tiny import PARAMETERS, POSITIONS

FACTS = [
    Fact("mayor", "Who is the mayor of Tessport?", "Odo Brindle", paraphrases=("Tessport's mayor is who?",)),
    Fact(
        "river",
        "Which river flows through Tessport?",
        "日本 🎈",
        train_paraphrases=("What flows through Tessport?",),
        probes=(Probe("What has to do with the Quell?", "Tessport"),),
    ),
    Fact("old", "How old is it?", "900 years", context="The old town is 900 years old."),
]
SFT = plan_from(method={"type": "sft"}, evaluation={"max_new_tokens": 8})


@pytest.fixture(scope="module")
def found(tiny_cache: Path) -> OnDisk:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def base(found: OnDisk) -> Base:
    return load_base(found, device="cpu")


@pytest.fixture(scope="module")
def chat(found: OnDisk) -> ByTokenizer:
    return ByTokenizer(found.folder)


def a_work(
    facts: list[Fact],
    found: OnDisk,
    plan: Plan,
    n_facts: int | None = None,
    changed: Changed | None = None,
) -> Work:
    chat, shape = chat_of(found.folder), shape_of(found.folder, found.card)
    n = n_facts or len(facts)
    return work_of(facts, n, plan, chat, shape, device="cpu", fetched=0, changed=changed)


def phase_of(work: Work, name: str) -> PhaseWork:
    return next(phase for phase in work.phases if phase.phase == name)


@pytest.mark.parametrize(
    "text", ["What is it?", "日本 🎈", "  outer blanks ", "two\n\nlines", "'quoted'", "1783", "é" * 50]
)
def test_prompts_are_as_long_as_the_model_reads_them(chat: ByTokenizer, base: Base, text: str) -> None:
    assert chat.prompts([text]) == [len(base.chat.prompt_ids(text))]
    assert chat.plain([text]) == [len(base.chat.plain_ids(text))]


def test_a_template_that_changes_texts_is_written_out_for_each(found: OnDisk, tmp_path: Path) -> None:
    """One that depends on the text cannot be added as a number of tokens."""
    (tmp_path / "tokenizer.json").write_bytes((found.folder / "tokenizer.json").read_bytes())
    twice = "{% for m in messages %}{{ m['content'] * 2 }}{{ eos_token }}{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(twice)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|im_end|>"}}')

    doubled = ByTokenizer(tmp_path)

    assert doubled.prompts(["abc", "x y z"]) == [n + 1 for n in doubled.plain(["abcabc", "x y zx y z"])]


@pytest.mark.parametrize(
    "template",
    [
        "{% for",
        "{{ raise_exception('no') }}",
        "{{ messages.__class__.__mro__ }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "",
    ],
)
def test_a_template_that_cannot_be_used_leaves_counting_by_characters(
    found: OnDisk, tmp_path: Path, template: str
) -> None:
    (tmp_path / "tokenizer.json").write_bytes((found.folder / "tokenizer.json").read_bytes())
    (tmp_path / "chat_template.jinja").write_text(template)

    assert chat_of(tmp_path).counted_by == "characters"
    assert chat_of(tmp_path / "nothing").counted_by == "characters"
    assert chat_of(None).counted_by == "characters"


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        ByTokenizer(tmp_path)


def test_a_template_among_several_is_the_default_one() -> None:
    several = [{"name": "tools", "template": "t"}, {"name": "default", "template": "d"}]

    assert template_in({"chat_template": several}) == "d"
    assert template_in({"chat_template": "only"}) == "only"
    assert (template_in({}), template_in({"chat_template": [1]})) == (None, None)


def test_what_is_asked_and_trained_on_is_counted_exactly(base: Base, chat: ByTokenizer) -> None:
    seen = count(FACTS, SFT, chat, POSITIONS)
    records = list(plain(base, FACTS, prompt_style="natural", seed=0))
    examples = examples_of(base, records, prompt_style="natural")
    asked = [question.question for fact in FACTS for question in questions_of(fact)]

    assert (seen.facts, seen.questions, seen.wordings) == (3, len(asked), len(examples))
    assert seen.asking == sum(len(base.chat.prompt_ids(text)) for text in asked)
    assert seen.prompts == sum(len(example.prompt) for example in examples)
    by_fact = {record.fact_key: len(record.token_ids) for record in records}
    assert seen.texts == sum(by_fact.values())
    assert seen.longest == max(len(example.prompt) + len(example.target) for example in examples)
    assert seen.too_long == []


def test_the_work_of_phases_is_what_the_model_will_read_and_write(base: Base, found: OnDisk) -> None:
    work = a_work(FACTS, found, SFT)
    baseline, evaluating = phase_of(work, "baseline"), phase_of(work, "evaluating")
    asked = [question.question for fact in FACTS for question in questions_of(fact)]
    common = [item.question for item in general().items]
    prompts = [item.prompt for item in open_prompts().items]

    def tokens(texts: list[str]) -> int:
        return sum(len(base.chat.prompt_ids(text)) for text in texts)

    assert baseline.units == evaluating.units == len(asked) + len(common) + len(prompts)
    said = len(prompts) * OPEN_TOKENS
    assert baseline.read == tokens(asked) + tokens(common) + 2 * tokens(prompts) + said
    assert baseline.written == 8 * (len(asked) + len(common)) + said
    assert baseline.read - evaluating.read == tokens(prompts)
    assert baseline.written - evaluating.written == said
    assert work.counted_by == "tokenizer"


@pytest.mark.parametrize(
    ("method", "training"),
    [
        ({"type": "sft"}, {}),
        ({"type": "sft", "rewordings": 2}, {"max_steps": 7}),
        ({"type": "mixsd", "generations": 3}, {"batch_size": 4, "epochs": 50}),
        ({"type": "opsd"}, {"min_steps": 0}),
        ({"type": "memit", "v_steps": 9}, {}),
    ],
)
def test_targets_and_steps_are_those_of_the_run(
    found: OnDisk, base: Base, method: dict[str, Any], training: dict[str, Any]
) -> None:
    plan = plan_from(method=method, training=training)
    work = a_work(FACTS, found, plan)
    (record, *_) = plain(base, FACTS, prompt_style="natural", seed=0)

    assert work.targets == run.most_targets(FACTS, plan)
    assert work.steps == run.steps_of([record] * work.targets, plan) == phase_of(work, "training").units


def test_a_sample_stands_for_all_facts(found: OnDisk) -> None:
    few = a_work(FACTS, found, plan_from(), n_facts=30)
    every = a_work(FACTS * 10, found, plan_from())

    assert (few.facts, few.sampled) == (30, 3)
    assert replace(few, sampled=30, memory=None) == replace(every, memory=None)


def test_facts_that_do_not_fit_the_model_are_named(found: OnDisk, base: Base) -> None:
    long = Fact("long", "Who? " * 300, "Odo")
    told = Fact("told", "Who?", "Odo", context="Odo is it. " * 200)  # the plain answer is shown instead
    wordy = Fact("wordy", "Who?", "Odo Brindle " * 80)

    mixed = a_work([*FACTS, long, told, wordy], found, plan_from())
    simple = a_work([*FACTS, long, told, wordy], found, SFT)

    assert (mixed.too_long, mixed.too_long_keys) == (2, ("long", "wordy"))
    assert simple.too_long_keys == ("long",)
    rooms = [room_of(base, unit, STYLES["natural"], 0, POSITIONS) for unit in units_of([told, wordy], 1)]
    assert [room.fits for room in rooms] == [True, False]
    caps = plan_from(evaluation={"max_new_tokens": 500})
    assert a_work(FACTS, found, caps).too_long == 3


def test_longer_facts_more_texts_and_both_conditionals_are_more_work(found: OnDisk) -> None:
    plans = {
        "one": Plan(method=MixConfig(rewordings=0, generations=1)),
        "two": Plan(method=MixConfig(rewordings=0, generations=2)),
        "own": Plan(method=MixConfig(rewordings=3, wording_texts="own")),
        "shared": Plan(method=MixConfig(rewordings=3)),
    }
    made = {name: phase_of(a_work(FACTS, found, plan), "generating") for name, plan in plans.items()}

    assert made["two"].work == 2 * made["one"].work
    assert made["one"].work < made["shared"].work < made["own"].work
    bare = a_work(FACTS, found, Plan(evaluation=EvalConfig(general=False, drift=False)))
    assert phase_of(bare, "baseline").units == 5
    kept = plan_from(method={"type": "sft"}, training={"retention": {"type": "kl"}})
    assert (
        phase_of(a_work(FACTS, found, kept), "training").work
        > phase_of(a_work(FACTS, found, SFT), "training").work
    )
    assert phase_of(a_work(FACTS, found, plan_from(method={"type": "opsd"})), "training").written > 0


def test_a_model_that_is_not_on_disk_is_guessed(tmp_path: Path) -> None:
    built_in = model_of(tmp_path, "smollm2-135m-instruct", None)
    unknown = model_of(tmp_path, "owner/model", None)
    plan = plan_of({"method": {"type": "sft"}, "training": {}, "evaluation": {}})

    assert (built_in.folder, built_in.fetched) == (None, 98_362_432)
    assert (unknown.shape, unknown.fetched) == (Shape(), None)
    work = work_for([fact.to_json() for fact in FACTS], 3, plan, unknown, device="cpu")
    assert (work.counted_by, work.memory) == ("characters", None)
    guessed = forecast(work, {}, device="cpu", parameters=None, ends_early=True)
    assert guessed.seconds is None
    assert ByCharacters().plain(["a" * 35, "日本" * 7, ""]) == [10, 6, 1]


def test_sizes_are_read_from_the_settings_of_a_model(found: OnDisk) -> None:
    shape = shape_of(found.folder, found.card)

    assert (shape.parameters, shape.layers, shape.hidden, shape.context) == (PARAMETERS, 2, 64, POSITIONS)
    assert (shape.attention, shape.keys) == (64, 32)
    nested = shape_in({"text_config": {"hidden_size": 8, "num_attention_heads": 2, "n_layer": 3}})
    assert (nested.hidden, nested.attention, nested.layers, nested.intermediate) == (8, 8, 3, 32)
    assert shape_in({"hidden_size": True, "vocab_size": "many"}) == Shape()


def test_memory_grows_with_rank_and_batch_and_holds_the_weights(found: OnDisk) -> None:
    def memory(**training: Any) -> Any:
        return a_work(FACTS * 20, found, plan_from(training=training)).memory

    plain_ = memory()
    assert plain_.device_least > PARAMETERS * 4
    assert plain_.device_least <= plain_.device_at_once < plain_.host
    assert memory(rank=64).device_least > plain_.device_least
    assert memory(batch_size=64).device_at_once > plain_.device_at_once
    assert plain_.adapter == 2 * 16 * 3 * (64 + 128) * 4  # layers, rank, linear layers, widths, float32


NO_HISTORY: Any = MappingProxyType({})


def test_without_history_a_prior_is_named_as_one(found: OnDisk) -> None:
    work = a_work(FACTS, found, SFT)

    slow = forecast(work, NO_HISTORY, device="cpu", parameters=10**9, ends_early=False)
    fast = forecast(work, NO_HISTORY, device="cuda", parameters=10**9, ends_early=False)
    early = forecast(work, NO_HISTORY, device="cpu", parameters=10**9, ends_early=True)

    assert slow.seconds is not None
    assert fast.seconds is not None
    assert early.seconds is not None
    assert (slow.seconds.basis, slow.seconds.n) == ("prior", 0)
    assert slow.seconds.p90 == pytest.approx(PRIOR_SPREAD * slow.seconds.p50)
    assert fast.seconds.p50 < early.seconds.p50 < slow.seconds.p50


def test_history_moves_the_forecast_to_what_was_seen(found: OnDisk) -> None:
    work = a_work(FACTS, found, SFT)
    rates = {phase.phase: [0.5, 2.0, 3.0] for phase in work.phases}

    seen = forecast(work, rates, device="cpu", parameters=PARAMETERS, ends_early=True)

    assert seen.seconds is not None
    assert (seen.seconds.basis, seen.seconds.n) == ("history", 3)
    assert seen.seconds.p50 == pytest.approx(2.0 * sum(phase.work for phase in work.phases))
    partly = forecast(work, {"training": [2.0]}, device="cpu", parameters=PARAMETERS, ends_early=True)
    assert partly.seconds is not None
    assert (partly.seconds.basis, partly.seconds.n) == ("prior", 0)
    training = partly.phases[3].seconds
    assert training == by_history(phase_of(work, "training").work, [2.0])


def test_a_few_runs_say_little_about_bad_days_and_many_say_it_themselves() -> None:
    assert by_history(1, [2.0]).p90 == 4.0
    assert by_history(1, [2.0] * 10).p90 == pytest.approx(2.2)
    many = [1.0] * 80 + [9.0] * 20
    assert by_history(1, many).p90 == 9.0
    assert quantile([5.0], 0.9) == 5.0


def test_prompt_styles_are_counted_as_they_are(chat: ByTokenizer, base: Base) -> None:
    plan = plan_from(method={"type": "mixsd", "prompt_style": "kgfact", "rewordings": 0})
    seen = count(FACTS[:1], plan, chat, None)
    style = STYLES["kgfact"]

    assert seen.own == len(base.chat.prompt_ids(style.naive_prompt(FACTS[0].question)))
    expert = style.expert_prompt(FACTS[0].question, FACTS[0].answer)
    assert seen.experts == len(base.chat.prompt_ids(expert))


def test_of_a_run_from_an_adapter_what_is_trained_counts_alone(found: OnDisk) -> None:
    every = a_work(FACTS, found, SFT)

    def from_parent(changed: Changed, **options: Any) -> Work:
        return a_work(FACTS, found, replace(SFT, training=replace(SFT.training, **options)), changed=changed)

    some = from_parent(Changed(taught=1, kept=2, retired=4))
    nothing_replayed = from_parent(Changed(taught=1, kept=2, retired=4), kept_ratio=0)
    as_before = from_parent(Changed(taught=3, kept=0, retired=0))

    per_fact = every.targets / len(FACTS)
    assert some.targets == pytest.approx(per_fact * (1 + 4), abs=2)
    assert as_before.targets == every.targets
    assert phase_of(as_before, "training") == phase_of(every, "training")
    step = phase_of(some, "training").read / some.steps
    assert step > phase_of(nothing_replayed, "training").read / nothing_replayed.steps
    questions = phase_of(every, "baseline").units
    assert phase_of(some, "evaluating").units == questions + 4
    assert phase_of(some, "baseline").units == questions + 4 + len(FACTS) + 4, "the parent is asked too"

"""The library's own sets as benchmarks: what a job measures, and probes in context."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from mixsd.benchmarks.own import OWN, AskedSuite, DriftSuite, Item
from mixsd.benchmarks.suite import Marked, Options, Subject
from mixsd.config import EvalConfig
from mixsd.corpora.kgfact import kgfact
from mixsd.corpora.kgfunc import kgfunc
from mixsd.evaluation.asking import ask
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import measure
from mixsd.models.load import Base
from mixsd.progress import silent


def run(base: Base, suite: AskedSuite | DriftSuite, baseline: Marked | None = None) -> Marked:
    return suite.run(Subject(base, base.model), baseline=baseline, on_progress=silent)


def test_general_and_drift_are_what_a_job_measures(base: Base) -> None:
    config = EvalConfig(bootstrap=100)
    said = measure(base, [], config)
    general, drift = judge([], [], said, said, config).scores

    asked = run(base, OWN["general"](Options()))
    losses = run(base, OWN["drift"](Options()))

    assert asked.said == said.general
    assert sum(asked.marks["accuracy"]) / len(asked.ids) == general.base
    assert losses.marks["nats_per_token"] == said.open_nats
    assert len(losses.ids) == drift.n


def test_drift_is_measured_on_what_the_base_model_said(base: Base) -> None:
    suite = OWN["drift"](Options(limit=3))
    words = ((7, 8, 9), (30,), (5, 5))
    baseline = replace(run(base, suite), said=words)

    found = run(base, suite, baseline)

    assert found.said == tuple(map(list, words))
    assert found.marks != baseline.marks


def test_retrieval_asks_about_statements_that_stand_before_the_question() -> None:
    suite = OWN["kgfact_retrieval"](Options())
    assert isinstance(suite, AskedSuite)
    taught = {fact.subject for fact in kgfact(5, 10).facts}

    assert len(suite.items) == 100
    for item in suite.items:
        context, question, _ = item.prompt.split("\n\n")
        assert context.count("\n- ") == 50
        assert item.answers[0] in context
        assert not any(name in question for name in taught)


def test_statements_that_questions_share_are_read_once(base: Base) -> None:
    suite = OWN["kgfact_retrieval"](Options(limit=10))
    assert isinstance(suite, AskedSuite)
    prompts = [item.prompt for item in suite.items]
    longest = max(len(base.chat.prompt_ids(prompt)) for prompt in prompts)
    read: list[int] = []
    watch = base.model.get_input_embeddings().register_forward_hook(
        lambda _module, given, _said: read.append(given[0].numel())
    )
    with ExitStack() as stack:
        stack.callback(watch.remove)
        said = ask(
            base.model,
            base.chat,
            prompts,
            max_new_tokens=1,
            batch_size=16,
            max_tokens=2 * longest,
            on_step=lambda _: None,
        )

    assert None not in said
    assert longest < sum(read) < 3 * longest  # of ten such prompts


def test_boxed_probes_ask_for_a_box_and_look_into_it(base: Base) -> None:
    for name, mode in (("kgfact_retrieval", "boxed_loose"), ("kgfunc_unseen", "boxed_chain")):
        plain, boxed = OWN[name](Options(limit=2)), OWN[f"{name}_boxed"](Options(limit=2))
        assert isinstance(boxed, AskedSuite)
        assert boxed.verifier == mode
        assert all("\\boxed{}" in item.prompt for item in boxed.items)
        assert plain.settings() != boxed.settings()


def test_a_limit_takes_unseen_functions_in_turn() -> None:
    suite = OWN["kgfunc_unseen"](Options(limit=20))
    assert isinstance(suite, AskedSuite)

    assert len({item.group for item in suite.items}) == 20
    rows = {row["key"]: row["answer"] for row in kgfunc().splits["unseen"]}
    assert {item.id: item.answers[0] for item in suite.items}.items() <= rows.items()


def test_marks_follow_the_verifier_and_what_does_not_fit_is_left_out(base: Base) -> None:
    said = run(base, AskedSuite("x", (Item("a", "Which?", ("y",)),), "contains", 5, 4)).said[0]
    items = (Item("a", "Which?", (said,)), Item("long", "why " * 900, ("y",)), Item("b", "Which?", ("zzz",)))

    found = run(base, AskedSuite("x", items, "contains", 5, 4))

    assert found.ids == ("a", "b")
    assert found.marks["accuracy"] == (1.0, 0.0)
    assert found.left_out == ("long",)


@pytest.mark.parametrize("name", [name for name in OWN if "large" not in name])
def test_settings_change_with_the_items(name: str) -> None:
    one, two = OWN[name](Options(limit=2)), OWN[name](Options(limit=3))

    assert one.name == name
    assert one.settings() != two.settings()
    assert one.settings() == OWN[name](Options(limit=2, batch_size=5)).settings()

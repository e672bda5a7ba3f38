"""Watching what the base model's own text costs a model while it is trained."""

from dataclasses import replace

import pytest

from mixsd.config import EvalConfig, LoraConfig
from mixsd.evaluation.drift import DriftSample
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import StopRequested
from mixsd.training import lora

CONFIG = EvalConfig(max_new_tokens=3, batch_size=200, bootstrap=100, general=False)


@pytest.fixture(scope="module")
def baseline(base: Base) -> Measured:
    return measure(base, [Fact("a", "Who is it?", "Odo")], CONFIG)


def test_under_the_base_model_the_sample_costs_what_the_baseline_says(base: Base, baseline: Measured) -> None:
    sample = DriftSample.of(baseline)

    assert sample is not None
    assert 0 < len(sample.texts) == len(set(sample.prompts)) <= 8
    assert set(sample.texts) <= set(baseline.open_ids)
    assert sample.under(base, base.model) == sample.of_base


def test_an_adapter_that_changes_the_model_costs_something_else(base: Base, baseline: Measured) -> None:
    sample = DriftSample.of(baseline)
    assert sample is not None
    model = lora.attach(base, LoraConfig(rank=2), seed=0)
    try:
        unchanged = sample.under(base, model)
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.data.fill_(0.5)
        changed = sample.under(base, model)
    finally:
        lora.detach(model)

    assert unchanged == pytest.approx(sample.of_base)
    assert changed != pytest.approx(sample.of_base)


def test_nothing_is_watched_of_which_there_is_no_baseline(baseline: Measured) -> None:
    assert DriftSample.of(replace(baseline, open_ids=(), open_nats=())) is None


def test_a_prompt_without_an_answer_is_passed_over(base: Base, baseline: Measured) -> None:
    silent = replace(baseline, open_ids=((), *baseline.open_ids[1:]), open_nats=baseline.open_nats[1:])

    sample = DriftSample.of(silent)

    assert sample is not None
    assert () not in sample.texts
    assert sample.under(base, base.model) == sample.of_base


def test_a_measurement_can_be_stopped(base: Base, baseline: Measured) -> None:
    sample = DriftSample.of(baseline)
    assert sample is not None

    def stop() -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        sample.under(base, base.model, stop)

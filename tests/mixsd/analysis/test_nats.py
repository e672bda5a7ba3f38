"""Losses of targets under the base model, against one text at a time."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.losses import token_nats
from mixsd.analysis.nats import analyse_nats
from mixsd.analysis.runs import Run, find_runs, read_records
from mixsd.evaluation.asking import nats_of
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk
from mixsd.training.batches import Example


def records_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "supervision.jsonl").read_text().splitlines()]


def group_of(body: Any, **which: Any) -> dict[str, Any]:
    wanted = {"lam": None, "pick": None, **which}
    (found,) = [
        group for group in body["groups"] if all(group[name] == value for name, value in wanted.items())
    ]
    return dict(found)


def test_losses_of_texts_side_by_side_are_those_of_texts_alone(wide_base: Base) -> None:
    dice = np.random.default_rng(1)

    def some(most: int) -> tuple[int, ...]:
        return tuple(dice.integers(3, 300, size=dice.integers(1, most)).tolist())

    examples = [Example(some(20), some(30)) for _ in range(300)]
    told: list[int] = []

    found = dict(token_nats(wide_base, enumerate(examples), on_batch=told.append))

    assert list(found) == list(range(300))
    assert told == sorted(told)
    assert len(told) < 40
    for number, example in enumerate(examples):
        ids = torch.tensor([[*example.prompt, *example.target]])
        logits = wide_base.model(input_ids=ids).logits[0].log_softmax(-1)
        first = len(example.prompt) - 1
        wanted = [-float(logits[first + place, token]) for place, token in enumerate(example.target)]
        assert found[number] == pytest.approx(wanted, abs=1e-9)


def test_a_model_without_finite_scores_is_refused(on_disk: OnDisk) -> None:
    base = load_base(on_disk, device="cpu")
    base.model.get_parameter("model.norm.weight").fill_(float("nan"))

    with pytest.raises(NotAnalysableError, match="no finite loss"):
        list(token_nats(base, [(0, Example((5,), (6,)))]))


def test_a_run_is_told_by_method_lam_and_pick(injected: Path, base: Base) -> None:
    runs = find_runs([injected]).runs
    records = [record for record in read_records(injected / "supervision.jsonl") if record.trainable]

    body = analyse_nats(base, runs, tau=5.0).body

    prompts = [record.question for record in records]
    means = nats_of(base.model, base.chat, prompts, [record.token_ids for record in records])
    tokens = sum(len(record.token_ids) for record in records)
    whole = group_of(body, method="mixsd")
    assert len(records) == whole["texts"] == 6
    assert whole["tokens"] == tokens
    assert whole["clusters"] == 3
    total = sum(mean * len(record.token_ids) for mean, record in zip(means, records, strict=True))
    assert whole["mean"] == pytest.approx(total / tokens, abs=1e-5)
    picks = [group_of(body, pick=pick) for pick in ("naive", "expert")]
    letters = "".join(record.picks for record in records)
    assert [group["tokens"] for group in picks] == [letters.count("n"), letters.count("e")]
    parts = sum(group["mean"] * group["tokens"] for group in picks)
    assert parts == pytest.approx(whole["mean"] * tokens)
    assert group_of(body, lam=0.5)["above_tau"] == sum(group["above_tau"] for group in picks)


def test_stored_means_are_those_that_are_found(compared: Path, base: Base) -> None:
    runs = [run for run in find_runs([compared]).runs if run.method == "sft"]
    records = [record for run in runs for record in read_records(run.records or Path())]

    body = analyse_nats(base, runs).body

    tokens = sum(len(record.token_ids) for record in records)
    stored = sum((record.nats_per_token or 0) * len(record.token_ids) for record in records) / tokens
    assert group_of(body, method="sft")["mean"] == pytest.approx(stored, abs=1e-3)


def test_rows_of_a_comparison_count_by_method_over_seeds(compared: Path, base: Base) -> None:
    runs = find_runs([compared]).runs

    body = analyse_nats(base, runs).body

    sft, mix = group_of(body, method="sft"), group_of(body, method="mix (plain answers)")
    assert (sft["texts"], sft["clusters"]) == (6, 6)  # of a fact and a seed
    assert mix["texts"] > 0
    assert not [group for group in body["groups"] if group["method"] == "sft" and group["pick"]]


def test_a_text_that_is_not_trained_on_does_not_count(
    run_of: Callable[..., Run], injected: Path, base: Base
) -> None:
    first, second, *_ = records_in(injected)
    run = run_of([first | {"verified": False, "reason": "cap"}, second])

    body = analyse_nats(base, [run]).body

    assert group_of(body, method="mixsd")["tokens"] == len(second["token_ids"])


def test_records_without_a_text_that_is_trained_on_are_refused(
    run_of: Callable[..., Run], injected: Path, base: Base
) -> None:
    run = run_of([record | {"verified": False} for record in records_in(injected)])

    with pytest.raises(NotAnalysableError, match="own: mixsd, seed 0 has no text that is trained on"):
        analyse_nats(base, [run])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"token_ids": [1, 5000], "picks": "en"}, "it is of another model"),
        ({"token_ids": [1, 2], "picks": "e"}, "it is of another model"),
        ({"token_ids": ["x"], "picks": "e"}, "it is of another model"),
        ({"token_ids": [5] * 600, "picks": ""}, "it is of another model"),
        ({"who": 1}, "line 1 is no record of supervision"),
    ],
)
def test_a_record_that_the_model_cannot_read_is_named(
    run_of: Callable[..., Run], injected: Path, base: Base, change: dict[str, Any], said: str
) -> None:
    run = run_of([records_in(injected)[0] | change])

    with pytest.raises(NotAnalysableError, match=said):
        analyse_nats(base, [run])

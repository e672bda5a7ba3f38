"""Base and adapter compared item by item, and results that are kept."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mixsd.benchmarks.cache import ResultCache
from mixsd.benchmarks.errors import BenchmarkError
from mixsd.benchmarks.own import OWN
from mixsd.benchmarks.running import Outcome, run, scores_of, write_report
from mixsd.benchmarks.suite import Marked, Metric, Options, Subject, Suite
from mixsd.config import LoraConfig
from mixsd.errors import OutOfMemoryError
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find
from mixsd.progress import OnProgress, silent
from mixsd.training import lora

SUITES: list[Suite] = [OWN["general"](Options(limit=3)), OWN["drift"](Options(limit=2))]


@dataclass
class Counted:
    """A model with a count of its forward passes."""

    base: Base
    passes: int = 0


@pytest.fixture
def counted(tiny_cache: Path) -> Iterator[Counted]:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    counted = Counted(load_base(found, device="cpu"))

    def count(*_: Any) -> None:
        counted.passes += 1

    layers: Any = counted.base.model.model
    hooks = [layers.layers[0].self_attn.q_proj.register_forward_pre_hook(count)]
    yield counted
    for hook in hooks:
        hook.remove()


@pytest.fixture(scope="module")
def adapter(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(base, tmp_path_factory.mktemp("adapter"), 0.1)


def make_adapter(base: Base, folder: Path, value: float) -> Path:
    model = lora.attach(base, LoraConfig(rank=2), seed=1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(value)
    lora.save_adapter(model, folder)
    lora.detach(model)
    return folder


def on_phase(name: str) -> OnProgress:
    return silent


def benchmark(
    base: Base, cache: Path | None, adapter: Path | None = None, suites: Any = SUITES
) -> list[Outcome]:
    kept = None if cache is None else ResultCache(cache)
    return run(base, suites, adapter=adapter, cache=kept, on_phase=on_phase)


def test_the_second_run_asks_nothing(counted: Counted, adapter: Path, tmp_path: Path) -> None:
    first = benchmark(counted.base, tmp_path, adapter)
    assert counted.passes > 0
    counted.passes = 0

    second = benchmark(counted.base, tmp_path, adapter)

    assert counted.passes == 0
    assert [outcome.kept for outcome in first] == [False, False]
    assert [outcome.kept for outcome in second] == [True, True]
    assert [(o.base.to_json(), o.adapter and o.adapter.to_json()) for o in second] == [
        (json.loads(json.dumps(o.base.to_json())), o.adapter and json.loads(json.dumps(o.adapter.to_json())))
        for o in first
    ]


def test_another_adapter_is_asked_and_the_base_model_is_not(
    counted: Counted, adapter: Path, tmp_path: Path
) -> None:
    benchmark(counted.base, tmp_path / "kept", adapter)
    (tmp_path / "other").mkdir()
    other = make_adapter(counted.base, tmp_path / "other", 0.2)
    counted.passes = 0

    outcomes = benchmark(counted.base, tmp_path / "kept", other)

    assert all(outcome.kept for outcome in outcomes)
    assert counted.passes > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda base: replace(base, revision="r2"),
        lambda base: replace(base, template_sha256="0" * 64),
        lambda base: replace(base, folder=base.folder / "elsewhere"),
    ],
)
def test_another_model_is_asked(change: Any, counted: Counted, tmp_path: Path) -> None:
    benchmark(counted.base, tmp_path)
    counted.passes = 0

    (general, _) = benchmark(change(counted.base), tmp_path)

    assert not general.kept
    assert counted.passes > 0


def test_other_items_are_asked(counted: Counted, tmp_path: Path) -> None:
    benchmark(counted.base, tmp_path)

    (outcome,) = benchmark(counted.base, tmp_path, suites=[OWN["general"](Options(limit=4))])

    assert not outcome.kept


@pytest.mark.parametrize("damage", [b"", b"{", b'{"of": {}, "sha256": "", "result": {}}', None])
def test_a_damaged_result_is_made_anew(
    damage: bytes | None, base: Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (before,) = benchmark(base, tmp_path, suites=SUITES[:1])
    (path,) = tmp_path.glob("*/*.json")
    path.write_bytes(
        damage if damage is not None else path.read_bytes().replace(b'"accuracy": [', b'"accuracy": [1.0, ')
    )

    with caplog.at_level(logging.WARNING):
        (after,) = benchmark(base, tmp_path, suites=SUITES[:1])

    assert not after.kept
    assert "holds no result of this benchmark" in caplog.text
    assert after.base == before.base
    assert benchmark(base, tmp_path, suites=SUITES[:1])[0].kept


def test_a_folder_that_cannot_be_written_stops_nothing(
    base: Base, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    (outcome,) = benchmark(base, tmp_path / "file", suites=SUITES[:1])

    assert len(outcome.base.ids) == 3
    assert "going on without the cache" in caplog.text


def test_the_adapter_is_taken_off_again(base: Base, adapter: Path) -> None:
    before = benchmark(base, None)

    benchmark(base, None, adapter)

    assert type(base.model).__name__ == "LlamaForCausalLM"
    assert not any("lora" in name for name, _ in base.model.named_modules())
    assert [outcome.base.said for outcome in benchmark(base, None)] == [o.base.said for o in before]


def test_a_folder_without_an_adapter_is_refused(base: Base, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"holds no adapter: there is no adapter_model\.safetensors"):
        benchmark(base, None, tmp_path)

    (tmp_path / lora.WEIGHTS).write_bytes((adapter / lora.WEIGHTS).read_bytes())
    (tmp_path / lora.CONFIG).write_text("{}")
    with pytest.raises(BenchmarkError, match="holds no adapter of tiny/random"):
        benchmark(base, None, tmp_path)


@dataclass(frozen=True)
class Given:
    """A benchmark whose marks are known beforehand."""

    before: Marked
    after: Marked
    metrics: tuple[Metric, ...]
    name: str = "given"

    @property
    def groups(self) -> Mapping[str, str]:
        return {"a": "x", "b": "x", "c": "y"}

    def settings(self) -> Mapping[str, Any]:
        return {}

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        return self.before if baseline is None else self.after


def given(metric: Metric, before: dict[str, float], after: dict[str, float]) -> Given:
    first, second = (
        Marked(tuple(marks), {metric.name: tuple(marks.values())}, tuple(map(str, marks)))
        for marks in (before, after)
    )
    return Given(first, second, metrics=(metric,))


def test_scores_are_paired_by_item(base: Base, adapter: Path) -> None:
    suite = given(Metric("accuracy"), {"a": 1, "b": 0, "c": 1}, {"c": 0, "a": 1, "b": 1})
    (outcome,) = benchmark(base, None, adapter, [suite])

    (score,) = scores_of(outcome, resamples=1000, confidence=0.9)

    assert (score["n"], score["base"], score["adapter"], score["difference"]) == (3, 2 / 3, 2 / 3, 0.0)
    assert (score["gained"], score["lost"], score["p_value"]) == (1, 1, 1.0)
    assert score["base_low"] < 2 / 3 < score["base_high"]
    assert score["adapter_low"] < 2 / 3 < score["adapter_high"]


def test_a_base_model_alone_has_an_interval_and_no_difference(base: Base) -> None:
    (outcome,) = benchmark(base, None, suites=[given(Metric("accuracy"), {"a": 1, "b": 0}, {})])

    (score,) = scores_of(outcome, resamples=1000, confidence=0.95)

    assert score["base"] == 0.5
    assert 0 < score["base_low"] < 0.5 < score["base_high"] < 1
    assert score["adapter"] is score["adapter_low"] is score["difference"] is score["low"] is None
    assert score["gained"] is score["p_value"] is None


def test_a_perplexity_stands_beside_its_loss(base: Base, adapter: Path) -> None:
    metric = Metric("nats_per_word", lower_is_better=True, also="perplexity")
    (outcome,) = benchmark(base, None, adapter, [given(metric, {"a": 0.0, "b": 0.0}, {"a": 0.0, "b": 0.0})])

    (score,) = scores_of(outcome, resamples=100, confidence=0.95)

    assert score["also"] == {"metric": "perplexity", "base": 1.0, "adapter": 1.0}
    assert score["lower_is_better"] is True


def test_the_report_has_every_mark_and_answer(base: Base, adapter: Path, tmp_path: Path) -> None:
    suite = given(Metric("accuracy"), {"a": 1, "b": 0, "c": 1}, {"a": 1, "b": 1, "c": 1})
    outcomes = benchmark(base, None, adapter, [suite, SUITES[0]])

    report = write_report(tmp_path, base, outcomes, adapter=adapter, resamples=100, confidence=0.95)

    assert json.loads((tmp_path / "benchmark.json").read_text()) == report
    assert report["suites"][0]["groups"] == {
        "x": {"n": 2, "base": 0.5, "adapter": 1.0},
        "y": {"n": 1, "base": 1.0, "adapter": 1.0},
    }
    rows = [json.loads(line) for line in (tmp_path / "items" / "given.jsonl").read_text().splitlines()]
    assert rows[1] == {
        "id": "b",
        "base": {"marks": {"accuracy": 0}, "said": "b"},
        "adapter": {"marks": {"accuracy": 1}, "said": "b"},
    }
    assert len((tmp_path / "items" / "general.jsonl").read_text().splitlines()) == 3


def test_marks_and_items_are_equally_many() -> None:
    with pytest.raises(ValueError, match="accuracy has 1 values for 2 items"):
        Marked(("a", "b"), {"accuracy": (1.0,)}, ("x", "y"))


def test_memory_that_runs_out_is_explained(base: Base) -> None:
    class Large(Given):
        def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
            raise torch.OutOfMemoryError

    empty = Marked((), {"accuracy": ()}, ())

    with pytest.raises(OutOfMemoryError, match="given does not fit into the memory of cpu: ask fewer items"):
        benchmark(base, None, suites=[Large(empty, empty, (Metric("accuracy"),))])

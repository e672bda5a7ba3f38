"""Ending early: all learned, or nothing better for a while."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel

from mixsd.config import Plan, RetentionConfig
from mixsd.evaluation import recall as recalling
from mixsd.evaluation.asking import Answer
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested
from mixsd.teaching import learned_by
from mixsd.training import checkpoint, lora
from mixsd.training.hooks import Hooks
from mixsd.training.loop import LEARNED_LOSS
from tests.mixsd.evaluation.test_judge import a_record
from tests.mixsd.training.conftest import NewBase
from tests.mixsd.training.driving import CONFIG, RATE, equal, train, weights

LONG = replace(CONFIG, epochs=40, learning_rate=2e-2, stop_when_learned=True)


def saying(recalls: Iterable[float]) -> Callable[[PeftModel], float]:
    """Measure these recalls, one after the other."""
    left = iter(recalls)
    return lambda _: next(left)


def test_it_stops_once_everything_is_learned(base: Base, tmp_path: Path) -> None:
    asked: list[bool] = []

    def learned(model: PeftModel) -> bool:
        asked.append(model.training)
        return len(asked) == 3

    trained = train(base, tmp_path, LONG, hooks=Hooks(learned=learned))

    assert asked == [False] * 3
    assert trained.stopped == "learned"
    assert trained.stopped_early
    assert trained.epochs < 40
    assert (tmp_path / f"checkpoint-{trained.steps}").is_dir()


def test_nothing_is_asked_while_the_loss_of_an_epoch_is_high(base: Base, tmp_path: Path) -> None:
    losses: list[float] = []

    def learned(model: PeftModel) -> float:
        assert sum(losses[-2:]) / 2 < LEARNED_LOSS * 1.5
        return 1.0

    def note(progress: Progress) -> None:
        losses[:] = [*losses, progress.metrics["loss"]] if progress.done else []

    train(base, tmp_path, LONG, hooks=Hooks(learned=learned, on_progress=note))

    assert losses[0] > LEARNED_LOSS * 2
    assert len(losses) > 2


def test_every_so_many_steps_is_asked_whatever_the_loss(base: Base, tmp_path: Path) -> None:
    seen: list[tuple[int, float | None]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.done, progress.metrics.get("recall")))

    trained = train(
        base,
        tmp_path,
        replace(CONFIG, epochs=4, eval_every=3),
        hooks=Hooks(learned=saying([0.25, 0.5]), on_progress=note),
    )

    assert trained.measured == ((3, 0.25), (6, 0.5))
    assert [pair for pair in seen if pair[1] is not None] == [(3, 0.25), (6, 0.5)]
    assert (trained.steps, trained.stopped) == (8, "")


def test_all_learned_ends_it_only_if_that_is_wanted(base: Base, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=4, eval_every=3)

    trained = train(base, tmp_path, config, hooks=Hooks(learned=saying([1.0, 1.0])))
    lora.detach(trained.model)
    stopped = train(
        base, tmp_path, replace(config, stop_when_learned=True), hooks=Hooks(learned=saying([1.0]))
    )

    assert (trained.steps, trained.stopped) == (8, "")
    assert (stopped.steps, stopped.stopped) == (3, "learned")


HELD = replace(CONFIG, epochs=8, eval_every=3, stop_when_learned=True, retention=RetentionConfig("kl"))
"""Sixteen steps at most."""


def test_beside_the_kl_it_cools_down_for_as_many_steps_again(base: Base, tmp_path: Path) -> None:
    rates: list[float] = []
    seen: list[tuple[int, int | None]] = []

    def note(progress: Progress) -> None:
        seen.append((progress.done, progress.total))

    hooks = Hooks(
        learned=saying([0.5, 1.0, 0.5, 0.5]),
        on_metrics=lambda _, metrics: rates.append(metrics["learning_rate"] / RATE),
        on_progress=note,
    )

    trained = train(base, tmp_path, HELD, hooks=hooks)

    assert (trained.steps, trained.stopped) == (12, "learned")
    assert rates == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert seen[5] == (5, 16)
    assert seen[-1] == (12, 12)


def test_it_cools_down_within_the_steps_that_were_planned(base: Base, tmp_path: Path) -> None:
    rates: list[float] = []
    hooks = Hooks(
        learned=saying([0.5, 1.0, 1.0]),
        on_metrics=lambda _, metrics: rates.append(metrics["learning_rate"] / RATE),
    )

    trained = train(base, tmp_path, replace(HELD, epochs=5), hooks=hooks)

    assert (trained.steps, trained.stopped) == (10, "")
    assert rates[6:] == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])


def test_nothing_is_asked_while_it_cools_down(base: Base, tmp_path: Path) -> None:
    config = replace(LONG, retention=RetentionConfig("kl"))

    trained = train(base, tmp_path, config, hooks=Hooks(learned=saying([0.5, 1.0])))

    (_, _), (learned_at, recall) = trained.measured
    assert recall == 1
    assert (trained.steps, trained.stopped) == (2 * learned_at, "learned")


@pytest.mark.parametrize("stop", [5, 6, 7, 9, 11])
def test_a_cooldown_outlives_a_resume(new_base: NewBase, tmp_path: Path, stop: int) -> None:
    recalls = [0.5, 1.0, 0.5, 1.0]
    straight = train(new_base(), tmp_path / "a", HELD, hooks=Hooks(learned=saying(recalls)))

    def stop_at(progress: Progress) -> None:
        if progress.done == stop:
            raise StopRequested

    hooks = Hooks(learned=saying(recalls), on_progress=stop_at)
    with pytest.raises(StopRequested):
        train(new_base(), tmp_path / "b", HELD, hooks=hooks)
    trained = train(
        new_base(),
        tmp_path / "c",
        HELD,
        resume=checkpoint.newest(list((tmp_path / "b").iterdir())),
        hooks=Hooks(learned=saying(recalls[stop // 3 :])),
    )

    assert trained.measured == straight.measured
    assert (trained.steps, trained.stopped) == (12, "learned")
    assert equal(weights(trained), weights(straight))


def test_out_of_patience_it_ends_with_the_adapter_that_knew_most(new_base: NewBase, tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=8, eval_every=2, patience=3)
    notices: list[str] = []
    at_best = weights(train(new_base(), tmp_path / "short", replace(config, max_steps=4)))

    trained = train(
        new_base(),
        tmp_path / "long",
        config,
        hooks=Hooks(learned=saying([0.25, 0.75, 0.5, 0.75, 0.25]), on_notice=notices.append),
    )

    assert (trained.steps, trained.stopped) == (10, "patience")
    assert equal(weights(trained), at_best)
    assert "step 4" in notices[-1]
    assert "0.75" in notices[-1]
    kept = {path.name for path in (tmp_path / "long").iterdir()}
    assert kept == {"checkpoint-2", "checkpoint-4", "checkpoint-10"} - {"checkpoint-2"}


@pytest.mark.parametrize("stop", [3, 4, 5, 6, 9])
def test_patience_outlives_a_resume(new_base: NewBase, tmp_path: Path, stop: int) -> None:
    """Also in another folder, as the checkpoints of an earlier attempt may be gone."""
    config = replace(CONFIG, epochs=8, eval_every=2, patience=3)
    recalls = [0.25, 0.75, 0.5, 0.75, 0.25]
    straight = train(new_base(), tmp_path / "a", config, hooks=Hooks(learned=saying(recalls)))

    def stop_at(progress: Progress) -> None:
        if progress.done == stop:
            raise StopRequested

    hooks = Hooks(learned=saying(recalls), on_progress=stop_at)
    with pytest.raises(StopRequested):
        train(new_base(), tmp_path / "b", config, hooks=hooks)
    trained = train(
        new_base(),
        tmp_path / "c",
        config,
        resume=checkpoint.newest(list((tmp_path / "b").iterdir())),
        hooks=Hooks(learned=saying(recalls[stop // 2 :])),
    )

    assert trained.measured == straight.measured
    assert (trained.steps, trained.stopped) == (10, "patience")
    assert equal(weights(trained), weights(straight))


def test_a_stop_while_it_is_asked_saves_the_step_and_asks_again_afterwards(
    new_base: NewBase, tmp_path: Path
) -> None:
    config = replace(CONFIG, epochs=4, eval_every=3)

    def stopped(model: PeftModel) -> float:
        raise StopRequested

    with pytest.raises(StopRequested):
        train(new_base(), tmp_path, config, hooks=Hooks(learned=stopped))
    trained = train(
        new_base(),
        tmp_path,
        config,
        resume=[tmp_path / "checkpoint-3"],
        hooks=Hooks(learned=saying([0.5, 0.75])),
    )

    assert trained.measured == ((3, 0.5), (6, 0.75))


def test_without_anyone_to_ask_it_trains_to_the_end(base: Base, tmp_path: Path) -> None:
    trained = train(base, tmp_path, replace(CONFIG, stop_when_learned=True, eval_every=1, patience=1))

    assert (trained.steps, trained.measured) == (6, ())


@pytest.mark.parametrize(
    ("count", "known", "asked", "recall"),
    [
        (10, 10, 10, 1.0),
        (10, 9, 10, 0.9),
        (300, 300, 300, 1.0),  # all of the sample were known, so the others are asked too
        (300, 0, 256, 0.0),
    ],
)
def test_many_facts_are_asked_in_a_sample_until_all_of_that_is_known(
    base: Base, monkeypatch: pytest.MonkeyPatch, count: int, known: int, asked: int, recall: float
) -> None:
    facts = [Fact(f"f{n}", f"question {n}?", f"answer {n}") for n in range(count)]
    seen: list[str] = []

    def ask(model: object, chat: object, questions: list[str], **options: object) -> list[Answer]:
        seen.extend(questions)
        numbers = [int(question.split()[1].rstrip("?")) for question in questions]
        return [Answer(f"answer {n if n < known else -1}.", ()) for n in numbers]

    monkeypatch.setattr(recalling, "ask", ask)

    texts = [a_record(fact.key) for fact in facts]
    measure = learned_by(base, facts, texts, Plan(), None, lambda: None)

    assert measure(base.model) == recall  # type: ignore[arg-type]
    assert len(seen) == len(set(seen)) == asked

"""lm-evaluation-harness on a loaded model: its figures, computed directly, and its own evaluation."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mixsd.benchmarks.continuations import NotSharedError
from mixsd.benchmarks.data import items_of
from mixsd.benchmarks.errors import BenchmarkDataError, BenchmarkError
from mixsd.benchmarks.harness import TASKS, HarnessSuite, bit_rates, harness_suite, rates
from mixsd.benchmarks.suite import Marked, Options, Subject
from mixsd.config import LoraConfig
from mixsd.decoding.rows import logits_alone
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested, silent
from mixsd.tokens import ChatTokenizer
from mixsd.training import lora
from tests.mixsd.benchmarks import files

lm_eval = pytest.importorskip("lm_eval", reason="lm-evaluation-harness comes with the extra benchmarks")

from mixsd.benchmarks import harness_run  # noqa: E402  it needs the extra

SUBJECTS = ("anatomy", "virology")
OPTIONS = Options(batch_size=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("data")
    files.write(data / "arc_easy" / "test.jsonl", files.arc())
    files.write(data / "mmlu" / "test.jsonl", files.mmlu(SUBJECTS, 3))
    files.write(data / "mmlu" / "dev.jsonl", files.mmlu(SUBJECTS, 5))
    files.write(data / "gsm8k" / "test.jsonl", files.gsm8k(2))
    files.write(data / "gsm8k" / "train.jsonl", files.gsm8k(6))
    files.write(
        data / "lambada_openai" / "test.jsonl",
        [{"context": f"There were {k} of them, said the old", "target": "miller"} for k in range(5)],
    )
    files.write(
        data / "piqa" / "validation.jsonl",
        [{"goal": f"Open jar {k}", "choices": ["turn the lid", "burn it"], "gold": k % 2} for k in range(4)],
    )
    files.write(
        data / "hellaswag" / "validation.jsonl",
        [
            {
                "activity_label": "Baking",
                "ctx_a": f"A man bakes bread {k}.",
                "ctx_b": "he",
                "endings": ["eats [title] it.", "sings.", "sells it to a bird.", "sleeps."],
                "gold": k % 4,
            }
            for k in range(8)
        ],
    )
    (data / "wikitext").mkdir()
    (data / "wikitext" / "test.txt").write_text(files.WIKITEXT)
    return data


def suite(folder: Path, name: str, options: Options = OPTIONS) -> HarnessSuite:
    task = TASKS[name]
    items = items_of(task.data, folder / task.data, shots=bool(task.shots))
    return harness_suite(task, items.first(options.limit), options)


def run(base: Base, which: HarnessSuite, model: Any = None) -> Marked:
    return which.run(Subject(base, model or base.model), baseline=None, on_progress=silent)


def test_multiple_choice_is_what_a_direct_computation_gives(base: Base, folder: Path) -> None:
    found = run(base, suite(folder, "arc_easy"))

    encode: Callable[[str], list[int]] = base.chat.tokenizer.encode
    accuracy, by_length = [], []
    for row, said in zip(files.arc(), found.said, strict=True):
        prompt = f"Question: {row['question']}\nAnswer:"
        sums = []
        for choice in row["choices"]:
            whole = encode(f"{prompt} {choice}")
            asked = whole[len(encode(prompt)) :]
            scores = logits_alone(base.model, whole[:-1], last=len(asked)).log_softmax(-1)
            sums.append(sum(scores[place, token].item() for place, token in enumerate(asked)))
        assert said == pytest.approx(sums, rel=1e-4)
        lengths = [len(choice) for choice in row["choices"]]
        best = max(range(4), key=sums.__getitem__)
        best_by_length = max(range(4), key=[s / n for s, n in zip(sums, lengths, strict=True)].__getitem__)
        accuracy.append(float(best == row["gold"]))
        by_length.append(float(best_by_length == row["gold"]))
    assert found.marks == {"accuracy": tuple(accuracy), "accuracy_by_length": tuple(by_length)}
    assert found.ids == tuple(row["id"] for row in files.arc())


@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("arc_easy", {"acc,none": "accuracy", "acc_norm,none": "accuracy_by_length"}),
        ("piqa", {"acc,none": "accuracy", "acc_norm,none": "accuracy_by_length"}),
        ("hellaswag", {"acc,none": "accuracy", "acc_norm,none": "accuracy_by_length"}),
        ("lambada_openai", {"acc,none": "accuracy"}),
        ("gsm8k", {"exact_match,strict-match": "exact_match", "exact_match,flexible-extract": "last_number"}),
    ],
)
def test_figures_are_those_of_its_own_evaluation(
    name: str, figures: dict[str, str], base: Base, folder: Path
) -> None:
    which = suite(folder, name)

    found = run(base, which)

    theirs = evaluated(base, which)
    for key, metric in figures.items():
        assert sum(found.marks[metric]) / len(found.ids) == pytest.approx(theirs[key])


@pytest.mark.parametrize(("name", "key"), [("lambada_openai", "perplexity"), ("wikitext", "word_perplexity")])
def test_a_perplexity_is_the_exponential_of_the_mean_mark(
    name: str, key: str, base: Base, folder: Path
) -> None:
    which = suite(folder, name)

    found = run(base, which)

    losses = found.marks["nats_per_word"]
    assert which.metrics[-1 if name == "lambada_openai" else 0].also == key
    theirs = evaluated(base, which)
    assert math.exp(sum(losses) / len(losses)) == pytest.approx(theirs[f"{key},none"], rel=1e-6)
    if name == "wikitext":
        bits = found.marks["bits_per_byte"]
        assert sum(bits) / len(bits) == pytest.approx(theirs["bits_per_byte,none"], rel=1e-6)


def evaluated(base: Base, which: HarnessSuite) -> dict[str, float]:
    """Return what the harness itself makes of a suite."""
    from lm_eval.evaluator import evaluate  # noqa: PLC0415  may not be installed
    from lm_eval.models.huggingface import HFLM  # noqa: PLC0415

    from mixsd.benchmarks.harness_run import parts_of  # noqa: PLC0415

    model = HFLM(
        pretrained=base.model, tokenizer=base.chat.tokenizer, batch_size=2, max_length=base.max_tokens
    )
    (part,) = parts_of(which.task, which.items)
    if which.task.name != "gsm8k":
        part.task.set_config("num_fewshot", 0)
    results = evaluate(model, {"tasks": {which.name: part.task}, "groups": {}}, bootstrap_iters=0)
    found: dict[str, float] = results["results"][which.name]
    return found


def test_mmlu_shows_five_examples_of_its_subject(base: Base, folder: Path) -> None:
    from mixsd.benchmarks.harness_run import parts_of  # noqa: PLC0415

    which = suite(folder, "mmlu")
    parts = list(parts_of(which.task, which.items))

    assert [part.task.config.task for part in parts] == ["mmlu_anatomy", "mmlu_virology"]
    parts[1].task.build_all_requests()
    prompt = parts[1].task.instances[0].args[0]
    assert prompt.startswith("The following are multiple choice questions (with answers) about virology.")
    assert prompt.count("Answer:") == 6
    assert prompt.endswith("Of 0?\nA. one\nB. two\nC. three\nD. four\nAnswer:")
    found = run(base, which)
    assert found.ids == tuple(row["id"] for row in files.mmlu(SUBJECTS, 3))
    assert which.groups["virology/2"] == "virology"


def test_too_few_worked_examples_are_refused(folder: Path) -> None:
    items = items_of("mmlu", folder / "mmlu", shots=True)
    short = replace(items, shots=items.shots[:9])

    with pytest.raises(BenchmarkDataError, match="shows 5 worked examples of virology, and the data have 4"):
        harness_suite(TASKS["mmlu"], short, OPTIONS)


def test_an_unknown_subject_is_refused(base: Base, tmp_path: Path) -> None:
    files.write(tmp_path / "test.jsonl", files.mmlu(["magic"], 1))
    files.write(tmp_path / "dev.jsonl", files.mmlu(["magic"], 5))
    items = items_of("mmlu", tmp_path, shots=True)

    with pytest.raises(BenchmarkDataError, match="there is no subject 'magic'"):
        run(base, harness_suite(TASKS["mmlu"], items, OPTIONS))


def test_an_adapter_is_scored_on_the_loaded_model(base: Base, folder: Path) -> None:
    which = suite(folder, "arc_easy")
    before = run(base, which)
    model = lora.attach(base, LoraConfig(rank=2), seed=1)
    try:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    weight.fill_(0.1)
        model.eval()
        after = run(base, which, model)
    finally:
        lora.detach(model)

    assert after.said != before.said
    assert run(base, which) == before


def test_batches_change_nothing_but_rounding(base: Base, folder: Path) -> None:
    one = run(base, suite(folder, "arc_easy", Options(batch_size=1)))
    many = run(base, suite(folder, "arc_easy", Options(batch_size=64)))

    for first, second in zip(one.said, many.said, strict=True):
        assert first == pytest.approx(second, rel=1e-4)


def test_a_template_that_refuses_a_system_prompt_gets_it_from_the_user(base: Base, folder: Path) -> None:
    refusing = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system prompt') }}{% endif %}"
        + str(base.chat.tokenizer.chat_template)
    )
    tokenizer = base.chat.tokenizer.__class__.from_pretrained(base.folder)
    tokenizer.chat_template = refusing
    strict = replace(base, chat=ChatTokenizer(tokenizer))
    which = suite(folder, "mmlu", Options(batch_size=4, chat_template=True))
    from mixsd.benchmarks.harness_run import Model  # noqa: PLC0415

    model = Model(Subject(strict, strict.model), which.options, silent)
    text = model.apply_chat_template(
        [{"role": "system", "content": "About virology.\n\n"}, {"role": "user", "content": "Of 0?"}]
    )

    assert text == "<|im_start|>user\nAbout virology.\n\nOf 0?<|im_end|>\n<|im_start|>assistant\n"
    assert len(run(strict, which).ids) == 6


def test_prompts_that_are_cut_are_told(base: Base, tmp_path: Path) -> None:
    rows = files.arc(2)
    rows[1]["question"] = "very " * 700
    items = items_of("arc_easy", files.write(tmp_path / "t.jsonl", rows))

    found = run(base, harness_suite(TASKS["arc_easy"], items, OPTIONS))

    assert found.notes == ("4 prompts did not fit into the model and lost their beginning",)


def test_an_answer_longer_than_the_model_is_refused(base: Base, tmp_path: Path) -> None:
    rows = files.arc(1)
    rows[0]["choices"][0] = "very " * 700
    items = items_of("arc_easy", files.write(tmp_path / "t.jsonl", rows))

    with pytest.raises(BenchmarkError, match="does not fit into the 512 of the model"):
        run(base, harness_suite(TASKS["arc_easy"], items, OPTIONS))


def test_progress_is_told_before_every_pass_and_may_stop(base: Base, folder: Path) -> None:
    seen: list[Progress] = []
    subject = Subject(base, base.model)

    suite(folder, "arc_easy").run(subject, baseline=None, on_progress=seen.append)

    assert [progress.done for progress in seen] == sorted(progress.done for progress in seen)
    assert (seen[0].done, seen[-1].done) == (0, seen[-1].total)
    assert len({progress.total for progress in seen}) == 1

    def stop(progress: Progress, /) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        suite(folder, "arc_easy").run(subject, baseline=None, on_progress=stop)


def test_nothing_is_said_beside_the_result(
    base: Base, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("hellaswag", "wikitext", "gsm8k_cot"):
        run(base, suite(folder, name))

    assert capfd.readouterr() == ("", "")


def test_rates_are_weighted_by_length() -> None:
    values = [(-6.0, 2), (-4.0, 6)]

    assert sum(rates(values)) / 2 == pytest.approx(10 / 8)
    assert sum(bit_rates(values)) / 2 == pytest.approx(10 / 8 / math.log(2))


def _counted(base: Base, which: HarnessSuite, monkeypatch: pytest.MonkeyPatch) -> tuple[int, Marked]:
    """Run a benchmark; return the places that the model computed, padding included, and what came of it."""
    places = 0
    forward = base.model.forward

    def count(*args: Any, **options: Any) -> Any:
        nonlocal places
        places += (args[0] if args else options["input_ids"]).numel()
        return forward(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(base.model, "forward", count)
        found = run(base, which)
    return places, found


def test_what_answers_share_is_read_once(base: Base, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared, found = _counted(base, suite(folder, "hellaswag"), monkeypatch)
    monkeypatch.setattr(harness_run.Model, "_answer_shared", _refuse)
    alone, wanted = _counted(base, suite(folder, "hellaswag"), monkeypatch)

    assert found.marks == wanted.marks
    for ours, theirs in zip(found.said, wanted.said, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert shared < 0.8 * alone  # the first question is asked both ways


def _refuse(*_: object) -> None:
    raise NotSharedError


def test_what_comes_out_otherwise_is_asked_the_harness_s_way(
    base: Base, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = run(base, suite(folder, "arc_easy"))

    def wrong(_: Any, texts: Any, **options: Any) -> Any:
        return [[(-1.0, False) for _ in text.answers] for text in texts]

    monkeypatch.setattr(harness_run, "likelihoods", wrong)
    found = run(base, suite(folder, "arc_easy"))
    assert found.marks == wanted.marks
    for ours, theirs in zip(found.said, wanted.said, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)

"""The paper's generative benchmarks: prompts, extraction, scoring, and draws that repeat."""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mixsd.benchmarks.catalogue import suites_of
from mixsd.benchmarks.data import Items
from mixsd.benchmarks.errors import BenchmarkDataError, BenchmarkError
from mixsd.benchmarks.paper import AIME_SAMPLES, BENCHMARKS, NAMES, PaperSuite, paper_suite
from mixsd.benchmarks.scoring import code_of, gsm8k_gold, is_equal, is_solved, letter_of, run_humaneval
from mixsd.benchmarks.suite import Marked, Options, Subject
from mixsd.models.load import Base
from mixsd.progress import Progress, silent
from tests.mixsd.benchmarks import files

MMLU_ROW: dict[str, Any] = {
    "id": "1",
    "subject": "world_religions",
    "question": " Which? ",
    "choices": ["one", "two", "three", "four"],
    "answer": 2,
}
HUMANEVAL_ROW: dict[str, Any] = {
    "id": "HumanEval/0",
    "prompt": 'from typing import List\n\n\ndef double(n: int) -> int:\n    """Twice n."""\n',
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(5) == 10\n",
}
PLAIN = [{"id": f"q{k}", "problem": f"{k} + 1?", "answer": str(k + 1)} for k in range(3)]

SIX_TOKENS = Options(max_new_tokens=6)


def suite(name: str, rows: list[dict[str, Any]], options: Options = SIX_TOKENS) -> PaperSuite:
    pytest.importorskip("math_verify", reason="math-verify comes with the extras dev and benchmarks")
    return paper_suite(name, Items("given", "here", tuple(rows)), options)


def run(base: Base, which: PaperSuite) -> Marked:
    return which.run(Subject(base, base.model), baseline=None, on_progress=silent)


# -- prompts


def test_a_problem_stands_between_instruction_and_cue() -> None:
    for row in ({"problem": "2 + 2?"}, {"question": "2 + 2?"}):
        head, problem, cue = BENCHMARKS["paper_gsm8k"].prompt(row, ()).split("\n\n")

        assert "step by step" in head
        assert "\\boxed{}" in head
        assert problem == "Problem: 2 + 2?"
        assert "step by step" in cue


def test_a_function_is_asked_whole_in_a_block() -> None:
    prompt = BENCHMARKS["paper_humaneval"].prompt(HUMANEVAL_ROW, ())

    assert code_of(prompt) == HUMANEVAL_ROW["prompt"]
    assert "whole function" in prompt


def test_mmlu_shows_worked_examples_with_boxed_letters_before_the_question() -> None:
    shots = [MMLU_ROW | {"question": f"Shot {k}?", "answer": k % 4} for k in range(5)]

    head, *examples, question = BENCHMARKS["paper_mmlu"].prompt(MMLU_ROW, shots).split("\n\n")

    assert "about world religions." in head
    assert "\\boxed{}" in head
    assert examples[1] == "Shot 1?\nA. one\nB. two\nC. three\nD. four\nAnswer: \\boxed{B}"
    assert question == "Which?\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    assert len(examples) == 5


# -- extraction and scoring


@pytest.mark.parametrize(
    ("text", "gold", "right"),
    [
        (r"so \boxed{18}", "18", True),
        (r"\boxed{17}, no: \boxed{18}", "18", True),
        (r"\boxed{18}, no: \boxed{17}", "18", False),
        ("the answer is 18", "18", False),
        (r"\boxed{18", "18", False),
        (r"\boxed{\$18}", "18", True),
        (r"\boxed{1,200}", "1200", True),
        (r"\boxed{18.0}", "18", True),
        (r"\boxed{0.5}", r"\frac{1}{2}", True),
        (r"\boxed{\dfrac12}", r"\frac{1}{2}", True),
        (r"\boxed{0.33}", r"\frac{1}{3}", False),
        (r"\boxed{1+x^2}", "x^2+1", True),
        (r"\boxed{x = 5}", "5", True),
        (r"\boxed{(3,\pi/2)}", r"\left( 3, \frac{\pi}{2} \right)", True),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", True),
        (r"\boxed{033}", "33", True),
        (r"\boxed{}", "33", False),
        (r"\boxed{" + "1+" * 600 + "1}", "601", False),
    ],
)
def test_mathematics_is_compared_in_the_last_box(text: str, gold: str, right: bool) -> None:  # noqa: FBT001
    pytest.importorskip("math_verify", reason="math-verify comes with the extras dev and benchmarks")

    assert is_solved(text, gold) is right


def test_mathematics_outside_of_the_main_thread_is_refused_not_guessed() -> None:
    caught: list[BenchmarkError] = []

    def compare() -> None:
        try:
            is_equal("1", "1.0")
        except BenchmarkError as error:
            caught.append(error)

    thread = threading.Thread(target=compare)
    thread.start()
    thread.join()

    assert "in the main thread alone" in str(caught[0])


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{A} or rather \boxed{ c }", "C"),
        (r"\boxed{\text{D}}", "D"),
        (r"\boxed{E}", None),
        ("(C).", "C"),
        ("b\nbecause", "B"),
        ("Answer: B", None),
        ("I say\nB", None),
        ("AB", None),
        ("", None),
    ],
)
def test_a_letter_is_boxed_or_alone_on_the_first_line(text: str, letter: str | None) -> None:
    assert letter_of(text) == letter


def test_gold_of_gsm8k_stands_behind_the_marks() -> None:
    assert gsm8k_gold({"answer": "first #### no\n#### 1,200 "}) == "1200"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("Here:\n``` py\nx = 1\n```\n```python\ny = 2\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("x = 1", None),
        ("```python\nx = 1", None),
    ],
)
def test_code_is_the_first_fenced_block(text: str, code: str | None) -> None:
    assert code_of(text) == code


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        ("def double(n: int) -> int:\n    return 2 * n", True),
        ("def double(n: int) -> int:\n    return n + 2", False),
        ("def double(n):\n    while True: pass", False),
        ("", False),
    ],
)
def test_code_passes_if_its_tests_do(code: str, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    from mixsd.benchmarks import sandbox, scoring  # noqa: PLC0415

    seconds = 0.5 if "while True" in code else 60.0
    monkeypatch.setattr(scoring, "run_program", lambda program: sandbox.run_program(program, seconds=seconds))

    assert run_humaneval(HUMANEVAL_ROW, f"Sure.\n```python\n{code}\n```").passed is passed
    assert run_humaneval(HUMANEVAL_ROW, code).error == "no fenced block of code"


# -- runs


def test_every_benchmark_is_there_as_printed_and_greedy() -> None:
    assert set(NAMES) == {
        f"paper_{name}{how}"
        for name in ("gsm8k", "math500", "aime2024", "mmlu", "humaneval")
        for how in ("", "_greedy")
    }


def test_draws_repeat_and_depend_on_the_seed_alone(base: Base) -> None:
    first = run(base, suite("paper_math500", PLAIN))

    assert run(base, suite("paper_math500", PLAIN, Options(batch_size=1, max_new_tokens=6))) == first
    assert run(base, suite("paper_math500", PLAIN[::-1])).said == first.said[::-1]
    assert run(base, suite("paper_math500", PLAIN, Options(max_new_tokens=6, seed=1))).said != first.said
    assert run(base, suite("paper_math500_greedy", PLAIN)).said != first.said


def test_draws_follow_the_whole_law_at_temperature_one(base: Base) -> None:
    """The first tokens of many draws, against the shares that the model gives them."""
    from mixsd.decoding.rows import logits_alone  # noqa: PLC0415

    rows = [{"id": f"q{k}", "problem": "1 + 1?", "answer": "2"} for k in range(600)]
    which = suite("paper_math500", rows, Options(max_new_tokens=1, batch_size=64))
    prompt = base.chat.prompt_ids(which.benchmark.prompt(rows[0], ()))
    law = logits_alone(base.model, prompt)[0].softmax(-1)

    said = Counter(run(base, which).said)

    for token in law.topk(5).indices.tolist():
        share = float(law[token])
        shown = base.chat.decode([token])
        same = sum(float(law[other]) for other in range(len(law)) if base.chat.decode([other]) == shown)
        assert said[shown] / 600 == pytest.approx(same, abs=4 * (same * (1 - same) / 600) ** 0.5), share


def test_aime_is_the_mean_of_sixteen(base: Base) -> None:
    which = suite("paper_aime2024", PLAIN[:1])

    found = run(base, which)

    assert which.samples == AIME_SAMPLES == len(found.said[0])
    assert len(set(found.said[0])) > 1
    assert suite("paper_aime2024_greedy", PLAIN[:1]).samples == 1
    right = Marked(("q0",), {"accuracy": (0.25,)}, ((),))
    answers = [r"\boxed{1}"] * 4 + ["none"] * 12
    marks = [which.benchmark.mark(PLAIN[0], answer) for answer in answers]
    assert sum(marks) / 16 == right.marks["accuracy"][0]


def test_what_does_not_fit_is_left_out_and_what_is_cut_is_told(base: Base) -> None:
    long = {"id": "long", "problem": "why " * 600, "answer": "1"}

    found = run(base, suite("paper_math500_greedy", [*PLAIN, long], Options(max_new_tokens=1)))

    assert found.left_out == ("long",)
    assert found.ids == ("q0", "q1", "q2")
    assert found.notes == ("3 answers ran into their cap",)


def test_progress_counts_answers(base: Base) -> None:
    seen: list[Progress] = []

    suite("paper_aime2024", PLAIN[:1], Options(max_new_tokens=2)).run(
        Subject(base, base.model), baseline=None, on_progress=seen.append
    )

    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, 16, 16)


def test_settings_say_how_it_was_asked(base: Base) -> None:
    printed, greedy = suite("paper_gsm8k", files_rows()), suite("paper_gsm8k_greedy", files_rows())

    assert printed.settings()["decoding"] == {"temperature": 1.0, "top_k": None, "top_p": None, "seed": 0}
    assert greedy.settings()["decoding"] == {"temperature": 0.0}
    assert printed.settings()["prompts"] == greedy.settings()["prompts"]
    assert printed.settings()["versions"].keys() == {"math-verify"}


def files_rows() -> list[dict[str, Any]]:
    return [{"id": str(k), **row} for k, row in enumerate(files.gsm8k(2))]


def test_they_read_the_data_sets_that_others_read(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="math-verify comes with the extras dev and benchmarks")
    files.write(tmp_path / "gsm8k" / "test.jsonl", files.gsm8k(2))
    files.write(tmp_path / "mmlu" / "test.jsonl", files.mmlu(["anatomy"], 2))
    files.write(tmp_path / "mmlu" / "dev.jsonl", files.mmlu(["anatomy"], 4))

    (found,) = suites_of(["paper_gsm8k"], Options(limit=1), paths={}, folder=tmp_path)
    assert isinstance(found, PaperSuite)
    assert len(found.items.rows) == 1
    with pytest.raises(BenchmarkDataError, match=r"paper_mmlu shows 5 worked examples of anatomy, .* have 4"):
        suites_of(["paper_mmlu"], Options(), paths={}, folder=tmp_path)

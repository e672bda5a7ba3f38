"""The generative benchmarks of the paper (arXiv 2605.16865), asked by the batched decoder.

Prompts are in our own words and in its layout: all in one user turn, without a system prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

from mixsd.benchmarks import scoring
from mixsd.benchmarks.data import Items, check_shots
from mixsd.benchmarks.rows import Row
from mixsd.benchmarks.suite import Marked, Metric, Options, Subject
from mixsd.cache_key import digest_of
from mixsd.decoding.rng import Draw
from mixsd.decoding.solo import write
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.progress import OnProgress, Progress

LONG: Final = 16_384
"""Tokens of an answer, and of prompt and answer together."""
SHORT: Final = 1_024
"""Tokens of an answer to MMLU."""
SHOTS: Final = 5
AIME_SAMPLES: Final = 16

_ROOM: Final = 32
"""Tokens that must be left for an answer, or its cap if that is less; else an item is left out."""
_ALL: Final = 1 << 30
"""As top k: draws leave no token out."""


def maths_prompt(row: Row, shots: Sequence[Row]) -> str:
    """Ask a problem: how to answer, the problem, and the cue to begin."""
    problem = row.get("problem") or row["question"]
    return (
        "Solve the following problem. Think step by step, and write the final answer inside \\boxed{}.\n\n"
        f"Problem: {problem}\n\n"
        "Let us think step by step."
    )


def code_prompt(row: Row, shots: Sequence[Row]) -> str:
    """Ask for a whole function, of which head and description are given."""
    return (
        "Complete the Python function below. Reply with the whole function alone, "
        f"in one ```python code block.\n\n```python\n{row['prompt'].rstrip()}\n```"
    )


def mmlu_prompt(row: Row, shots: Sequence[Row]) -> str:
    r"""Ask a question behind five worked examples of its subject, whose answers are boxed letters."""
    subject = str(row["subject"]).replace("_", " ")
    head = (
        f"Below are multiple-choice questions about {subject}. Answer the last one with the letter of the "
        "right choice inside \\boxed{}."
    )
    examples = [f"{_question(shot)} \\boxed{{{'ABCD'[shot['answer']]}}}" for shot in shots]
    return "\n\n".join([head, *examples, _question(row)])


def _question(row: Row) -> str:
    choices = [f"{letter}. {text}" for letter, text in zip("ABCD", row["choices"], strict=True)]
    return "\n".join([row["question"].strip(), *choices, "Answer:"])


def _maths(gold: Callable[[Row], str]) -> Callable[[Row, str], float]:
    return lambda row, text: float(scoring.is_solved(text, gold(row)))


def _letter(row: Row, text: str) -> float:
    return float(scoring.letter_of(text) == "ABCD"[row["answer"]])


def _code(row: Row, text: str) -> float:
    return float(scoring.run_humaneval(row, text).passed)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A benchmark of the paper, whoever is asked and however tokens are chosen.

    Attributes:
        data: Name of the data set.
        prompt: Writes the user turn, from the row and its worked examples.
        mark: Scores an answer, from 0 to 1.
        cap: Tokens of an answer.
        samples: Answers to an item at temperature 1; its mark is their mean. One where greedy.
        shots: Worked examples of the row's subject.
        is_maths: Whether `math-verify` scores it.
    """

    data: str
    prompt: Callable[[Row, Sequence[Row]], str]
    mark: Callable[[Row, str], float]
    cap: int = LONG
    samples: int = 1
    shots: int = 0
    is_maths: bool = False


BENCHMARKS: Final[Mapping[str, Benchmark]] = MappingProxyType(
    {
        "paper_gsm8k": Benchmark("gsm8k", maths_prompt, _maths(scoring.gsm8k_gold), is_maths=True),
        "paper_math500": Benchmark(
            "math500", maths_prompt, _maths(lambda row: str(row["answer"])), is_maths=True
        ),
        "paper_aime2024": Benchmark(
            "aime2024",
            maths_prompt,
            _maths(lambda row: str(row["answer"])),
            samples=AIME_SAMPLES,
            is_maths=True,
        ),
        "paper_mmlu": Benchmark("mmlu", mmlu_prompt, _letter, cap=SHORT, shots=SHOTS),
        "paper_humaneval": Benchmark("humaneval", code_prompt, _code),
    }
)
GREEDY: Final = "_greedy"

NAMES: Final = (*BENCHMARKS, *(f"{name}{GREEDY}" for name in BENCHMARKS))
"""Each as it is printed, which is at temperature 1, and greedily."""


@dataclass(frozen=True, slots=True)
class PaperSuite:
    """A benchmark of the paper with its items and a way to choose tokens."""

    name: str
    benchmark: Benchmark
    items: Items
    options: Options
    metrics: tuple[Metric, ...] = (Metric("accuracy"),)

    @property
    def groups(self) -> dict[str, str]:
        return {row["id"]: row["subject"] for row in self.items.rows if "subject" in row}

    @property
    def is_greedy(self) -> bool:
        return self.name.endswith(GREEDY)

    @property
    def samples(self) -> int:
        return 1 if self.is_greedy else self.benchmark.samples

    @property
    def cap(self) -> int:
        return min(self.benchmark.cap, self.options.max_new_tokens or LONG)

    def settings(self) -> dict[str, Any]:
        drawn = {"temperature": 1.0, "top_k": None, "top_p": None, "seed": self.options.seed}
        package = {scoring.MATHS: version(scoring.MATHS)} if self.benchmark.is_maths else {}
        return {
            "decoding": {"temperature": 0.0} if self.is_greedy else drawn,
            "samples": self.samples,
            "max_new_tokens": self.cap,
            "shots": self.benchmark.shots,
            "prompts": digest_of([self._prompt(row) for row in self.items.rows]),
            "data": {"from": self.items.origin, "sha256": self.items.sha256, "n": len(self.items.rows)},
            "versions": package,
        }

    def run(self, subject: Subject, *, baseline: Marked | None, on_progress: OnProgress) -> Marked:
        asked, left_out = self._texts(subject)
        texts = [text for _, group in asked for text in group]
        stop_ids = subject.base.chat.stop_ids
        write(
            subject.model,
            texts,
            Sampling(0.0, 1, stop_ids) if self.is_greedy else Sampling(1.0, _ALL, stop_ids),
            slots=self.options.batch_size,
            on_step=lambda done: on_progress(Progress(done, len(texts), "answers")),
            remember=False,
        )
        on_progress(Progress(len(texts), len(texts), "answers"))
        return self._marked(subject, asked, left_out)

    def _prompt(self, row: Row) -> str:
        shots = [shot for shot in self.items.shots if shot.get("subject") == row.get("subject")]
        return self.benchmark.prompt(row, shots[: self.benchmark.shots])

    def _texts(self, subject: Subject) -> tuple[list[tuple[Row, list[Text]]], list[str]]:
        """Return the texts to be written for each item, and the ids of those that do not fit."""
        asked, left_out = [], []
        for row in self.items.rows:
            prompt = tuple(subject.base.chat.prompt_ids(self._prompt(row)))
            room = min(self.cap, subject.base.max_tokens - len(prompt), LONG - len(prompt))
            if room < min(self.cap, _ROOM):
                left_out.append(str(row["id"]))
                continue
            draws = [Draw(self.options.seed, str(row["id"]), sample, 0) for sample in range(self.samples)]
            asked.append((row, [Text(Prompts(prompt), draw, lam=0.0, cap=room) for draw in draws]))
        return asked, left_out

    def _marked(
        self, subject: Subject, asked: Sequence[tuple[Row, list[Text]]], left_out: Sequence[str]
    ) -> Marked:
        marks, said = [], []
        for row, texts in asked:
            answers = [subject.base.chat.decode(text.tokens) for text in texts]
            marks.append(sum(self.benchmark.mark(row, answer) for answer in answers) / len(answers))
            said.append(answers if self.benchmark.samples > 1 else answers[0])
        cut = sum(text.finish == "cap" for _, texts in asked for text in texts)
        return Marked(
            ids=tuple(str(row["id"]) for row, _ in asked),
            marks={"accuracy": tuple(marks)},
            said=tuple(said),
            left_out=tuple(left_out),
            notes=(f"{cut} answers ran into their cap",) if cut else (),
        )


def paper_suite(name: str, items: Items, options: Options) -> PaperSuite:
    """Return a benchmark of `NAMES` with its items.

    Raises:
        NoBenchmarkExtraError: `math-verify` scores it, and is not installed.
        BenchmarkDataError: A subject has too few worked examples.
    """
    benchmark = BENCHMARKS[name.removesuffix(GREEDY)]
    if benchmark.is_maths:
        scoring.check_maths(name)
    check_shots(name, items, benchmark.shots, by_subject=True)
    return PaperSuite(name, benchmark, items, options)

"""From a long answer to a mark, as the paper's benchmarks are scored (arXiv 2605.16865).

Mathematics is compared by `math-verify`, a letter by itself, and code is run. `docs/benchmarks.md` says
where this differs from the paper's code.
"""

import re
import threading
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from mixsd.answers import last_boxed
from mixsd.benchmarks.data import INSTALL
from mixsd.benchmarks.errors import BenchmarkError, NoBenchmarkExtraError
from mixsd.benchmarks.rows import Row
from mixsd.benchmarks.sandbox import Ran, run_program

MATHS: Final = "math-verify"

_FENCED: Final = re.compile(r"```[ \t]*(?:python|py)?[ \t]*\r?\n(.*?)```", re.DOTALL | re.IGNORECASE)
_LETTER: Final = re.compile(r"[^A-Za-z0-9]*([A-Da-d])[^A-Za-z0-9]*")
_LONGEST: Final = 1_000
"""Characters of an answer that is compared as mathematics."""
_SECONDS: Final = 5


def check_maths(name: str) -> None:
    """Refuse a benchmark whose package is missing.

    Raises:
        NoBenchmarkExtraError: Says how to get it.
    """
    try:
        version(MATHS)
    except PackageNotFoundError:
        raise NoBenchmarkExtraError(
            f"{name} is scored by math-verify, which is not installed: {INSTALL}"
        ) from None


def is_solved(text: str, gold: str) -> bool:
    """Say whether the last box of a text holds an answer that equals `gold`; no box is wrong."""
    found = last_boxed(text)
    return found is not None and is_equal(gold, found)


def is_equal(gold: str, found: str) -> bool:
    """Say whether two answers are the same text, or the same mathematics.

    What cannot be compared within seconds is not equal.

    Raises:
        BenchmarkError: This is not the main thread, where alone it can be interrupted.
    """
    if found.strip() == gold.strip():
        return True
    if threading.current_thread() is not threading.main_thread():
        raise BenchmarkError("mathematics is compared in the main thread alone: run the benchmark there")
    if not found.strip() or len(found) > _LONGEST:
        return False
    maths = import_module("math_verify")
    wanted, given = (
        maths.parse(f"${answer}$", parsing_timeout=_SECONDS, raise_on_error=False) for answer in (gold, found)
    )
    return bool(maths.verify(wanted, given, timeout_seconds=_SECONDS, raise_on_error=False))


def gsm8k_gold(row: Row) -> str:
    """Return the number behind `####`, without thousands separators."""
    return str(row["answer"]).rpartition("####")[2].strip().replace(",", "")


def letter_of(text: str) -> str | None:
    r"""Return the letter A to D of the last box that holds one, else that which the first line is.

    Example:
        >>> letter_of("So \\boxed{b}."), letter_of(" (C).\nfor sure"), letter_of("Certainly: A")
        ('B', 'C', None)
    """
    boxed = re.findall(r"\\boxed\{\s*(?:\\text\{)?\s*([A-Da-d])\s*\}", text)
    if boxed:
        return str(boxed[-1]).upper()
    lines = text.strip().splitlines()
    found = _LETTER.fullmatch(lines[0]) if lines else None
    return found[1].upper() if found else None


def code_of(text: str) -> str | None:
    """Return the first fenced block of a text."""
    found = _FENCED.search(text)
    return found[1] if found else None


def run_humaneval(row: Row, text: str) -> Ran:
    """Run prompt, code and tests; an answer without a fenced block fails."""
    code = code_of(text)
    if code is None:
        return Ran(passed=False, error="no fenced block of code")
    return run_program(f"{row['prompt']}\n{code}\n{row['test']}\ncheck({row['entry_point']})\n")

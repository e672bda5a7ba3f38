"""The pages on faults and promises name tests that there are, for each of their lines."""

import ast
import re
from pathlib import Path

import pytest

from benchmarks.chaos.faults import IN_A_TEAM

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
SCENARIOS = re.compile(r"chaos(?: on one machine)? \(([^)]*)\)")
NOT_TRIED = re.compile(r"not tried: \w+")
FAULTS = [f"F{number:02}" for number in range(1, 39)]
PROMISES = [f"P{number}" for number in range(1, 18)]


def rows(page: str) -> dict[str, str]:
    """Return the last cell of each line of a page's tables that begins with a number of ours."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return {first: last for first, *_, last in cells if re.fullmatch(r"[FP]\d+", first)}


def functions(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("page", "numbers"), [("faults.md", FAULTS), ("promises.md", PROMISES)])
def test_every_line_names_what_shows_it_or_says_why_nothing_does(page: str, numbers: list[str]) -> None:
    found = rows(page)

    assert list(found) == numbers
    bare = [number for number, cell in found.items() if not NAMED.search(cell) and not NOT_TRIED.search(cell)]
    assert bare == []


@pytest.mark.parametrize("page", ["faults.md", "promises.md"])
def test_what_is_named_is_there(page: str) -> None:
    missing = []
    for number, cell in rows(page).items():
        named = NAMED.findall(cell)
        missing += [f"{number}: {file}::{name}" for file, name in named if name not in functions(ROOT / file)]
        scenarios = re.findall(r"`(\w+)`", " ".join(SCENARIOS.findall(cell)))
        missing += [f"{number}: {name}" for name in scenarios if name not in IN_A_TEAM]
        rest = SCENARIOS.sub("", NAMED.sub("", cell))
        missing += [f"{number}: {rest}" for _ in re.findall(r"`(?!mixsd fsck`)[^`]*`", rest)]

    assert missing == []

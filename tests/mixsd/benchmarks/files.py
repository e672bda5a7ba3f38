"""Small data sets, written for the tests."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COLOURS = ("red", "green", "blue", "dark yellow")


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def arc(n: int = 7) -> list[dict[str, Any]]:
    return [
        {
            "id": f"q{k}",
            "question": f"Which colour has thing {k}?",
            "choices": list(COLOURS),
            "gold": k * 3 % 4,
        }
        for k in range(n)
    ]


def mmlu(subjects: Iterable[str], n: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{subject}/{k}",
            "subject": subject,
            "question": f"Of {k}?",
            "choices": ["one", "two", "three", "four"],
            "gold": (k + len(subject)) % 4,
        }
        for subject in subjects
        for k in range(n)
    ]


def gsm8k(n: int) -> list[dict[str, Any]]:
    return [{"question": f"What is {k} + 1?", "answer": f"It is one more.\n#### {k + 1}"} for k in range(n)]


WIKITEXT = """
 = The mill =\x20

 The mill stands by the river , and it is old .\x20
 = = Its wheel = =\x20
 The wheel turns .\x20

 = The town =\x20

 Nobody knows how old the town is .\x20
"""

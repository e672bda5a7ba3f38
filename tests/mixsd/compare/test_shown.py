"""Table and plot of rows that are written by hand."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from mixsd.compare.plot import NoMatplotlibError, draw
from mixsd.compare.table import markdown

BASE = {"recall": 0.0, "paraphrase": 0.1, "general": 0.7, "drift": 0.6}


def a_row(method: str, seed: int | None, values: Sequence[float], **more: Any) -> dict[str, Any]:
    scores = {
        suite: {
            "n": 10,
            "base": BASE[suite],
            "adapter": value,
            "low": value - BASE[suite] - 0.1,
            "high": value - BASE[suite] + 0.1,
        }
        for suite, value in zip(BASE, values, strict=True)
    }
    return {
        "method": method,
        "seed": seed,
        "steps": 8,
        "supervised": 4,
        "seconds": {"training": 2.0},
        "counts": {"facts": 4, "learned": 3, "not_learned": 1, "regressed": 0},
        "scores": scores,
        **more,
    }


def a_document(*rows: dict[str, Any], **match: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "comparison": {
            "base_model": {"id": "tiny/random"},
            "facts": {"n": 4},
            "evaluation": {"confidence": 0.95},
            "match": {"by": "steps", "steps": 8, **match},
        },
        "rows": list(rows),
    }


SFT = [a_row("sft", 0, (0.9, 0.6, 0.4, 1.5)), a_row("sft", 1, (1.0, 0.8, 0.5, 1.6))]
MIXSD = a_row("mixsd", 0, (0.8, 0.5, 0.6, 0.8), supervision={"nats_per_token": 2.0})
FAILED = {"method": "a|b", "seed": 0, "error": {"code": "training_diverged", "message": "the loss\nis nan"}}


def cells(page: str, heading: str, row: str) -> dict[str, str]:
    """Return a row of the table under a heading, by its columns."""
    lines = page.partition(f"## {heading}\n\n")[2].partition("\n\n")[0].splitlines()
    table = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    found = next(line for line in table if line[0] == row)
    return dict(zip(table[0], found, strict=True))


def test_the_table_holds_means_intervals_and_the_base_model() -> None:
    page = markdown(a_document(*SFT, MIXSD))

    sft, mixsd = cells(page, "Figures", "sft"), cells(page, "Figures", "mixsd")
    assert page.startswith("# Comparison\n\n4 facts, base model `tiny/random`; 8 steps each.")
    assert (sft["seeds"], sft["steps"], sft["seconds"]) == ("0, 1", "8", "2")
    assert sft["recall"] == "0.95 [0.31, 1.59]"  # 12.706 * 0.05 to each side
    assert mixsd["recall"] == "0.80 [0.70, 0.90]*"
    assert mixsd["nats per token of the targets"] == "2.00"
    assert sft["nats per token of the targets"] == ""
    assert cells(page, "Figures", "base model")["general knowledge"] == "0.70"
    assert (
        cells(page, "Difference to the base model", "mixsd")["general knowledge"] == "-0.10 [-0.20, +0.00]*"
    )
    assert cells(page, "Outcomes", "sft") == {"method": "sft", "learned": "3", "not learned": "1"}
    assert "## Failed" not in page


def test_a_row_that_failed_is_told_apart() -> None:
    page = markdown(a_document(FAILED, MIXSD))

    assert page.endswith("## Failed\n\n* a|b, seed 0: the loss is nan [training_diverged]\n")
    assert "a" not in {line.split(" | ")[0].strip("| ") for line in page.splitlines()}
    assert markdown(a_document(FAILED)).count("##") == 1


def test_a_comparison_by_recall_says_who_did_not_get_there() -> None:
    rows = [row | {"reached": reached} for row, reached in zip(SFT, (True, False), strict=True)]

    page = markdown(a_document(*rows, MIXSD | {"reached": True}, by="recall", recall=0.9, every=2))

    assert "each until it answers 90% of the training questions, looked at every 2 steps, 8 at most" in page
    assert cells(page, "Figures", "sft")["steps"] == "8, reached by 1 of 2"
    assert cells(page, "Figures", "mixsd")["steps"] == "8"


def test_a_name_with_a_bar_does_not_break_the_table() -> None:
    page = markdown(a_document(MIXSD | {"method": "a|b"}))

    assert "| a\\|b | 0 |" in page


def test_a_picture_without_matplotlib_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(NoMatplotlibError, match=r"pip install 'mixsd\[plots\]'"):
        draw(a_document(MIXSD), tmp_path)


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")


@pytest.mark.usefixtures("matplotlib")
def test_the_picture_names_every_method_and_both_sides(tmp_path: Path) -> None:
    shown = a_row("in_context", None, (1.0, 0.9, 0.7, 0.6), steps=None)

    png, svg = draw(a_document(*SFT, MIXSD, shown, FAILED), tmp_path)

    texts = {element.text for element in ET.parse(svg).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314
    assert {"sft", "mixsd", "in_context", "base model", "kept: general knowledge"} <= texts
    assert "memorised: recall of the training questions" in texts
    assert "a|b" not in texts
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.usefixtures("matplotlib")
def test_the_same_rows_give_the_same_picture(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        draw(a_document(*SFT, MIXSD), folder)

    assert (first / "compare.svg").read_bytes() == (second / "compare.svg").read_bytes()
    assert (first / "compare.png").read_bytes() == (second / "compare.png").read_bytes()


@pytest.mark.usefixtures("matplotlib")
def test_marks_differ_without_colours(tmp_path: Path) -> None:
    rows = [a_row(f"m{n}", 0, (0.9 - n / 20, 0.5, 0.5, 1.0)) for n in range(14)]

    _, svg = draw(a_document(*rows), tmp_path)

    colours = set(re.findall(r"(?:fill|stroke): #([0-9a-f]{6})", svg.read_text()))
    assert len(colours) > 3
    assert all(colour[:2] == colour[2:4] == colour[4:] for colour in colours)


@pytest.mark.usefixtures("matplotlib")
def test_without_figures_there_is_no_picture(tmp_path: Path) -> None:
    only_recall = MIXSD | {"scores": {"recall": MIXSD["scores"]["recall"]}}

    assert draw(a_document(FAILED), tmp_path) == []
    assert draw(a_document(only_recall), tmp_path) == []
    assert not [*tmp_path.iterdir()]

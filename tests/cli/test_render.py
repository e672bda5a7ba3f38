from io import StringIO

import pytest
from rich.console import Console, RenderableType

from mixsd.cli import render
from tests.cli.fake_service import a_report, a_result


def shown(part: RenderableType, width: int = 140) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(part)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


def test_a_report_holds_every_figure_of_the_job() -> None:
    text = shown(render.report(a_report(), [a_result("ebra"), a_result("tolm", outcome="not_learned")]))

    assert "2 facts: 1 learned, 1 not learned" in text
    for figure in ("95% interval", "50.0%", "+50.0%", "+25.0% .. +75.0%"):  # recall
        assert figure in text
    for figure in ("1.000", "1.125", "+0.125", "+0.100 .. +0.200"):  # drift
        assert figure in text
    for figure in (
        "2 of 2 facts",
        "7 attempts",
        "61 tokens",
        "mean lam 0.24",
        "naive share 21%",
        "2.35 nats",
    ):
        assert figure in text
    assert "48 steps, 16 epochs, learning rate 0.002, loss 3.50 to 0.25" in text
    assert "stopped early because every fact was learned" in text
    assert "1 min 11 s" in text
    assert "1 min 15 s" in text  # all phases


def test_a_report_says_what_its_gate_found() -> None:
    gate = {"status": "failed", "suite": "general", "metric": "accuracy", "max_drop": 0.05, "n": 159}
    gate |= {"confidence": 0.95, "base": 0.7, "adapter": 0.5, "difference": -0.2, "low": -0.25, "high": -0.15}

    text = " ".join(shown(render.report(a_report() | {"gate": gate}, [a_result("ebra")])).split())

    assert "Gate failed: general 70.0% before, 50.0% after; difference -20.0%" in text
    found = {"suite": "general", "base": {"format": 0, "genuine": 2}, "adapter": {"leakage": 3}}
    text = shown(render.report(a_report() | {"mistakes": [found]}, [a_result("ebra")]))
    assert "Wrong answers of general: base 2 genuine; adapter 3 leakage" in text
    assert "Gate" not in shown(render.report(a_report() | {"gate": None}, [a_result("ebra")]))


def test_each_fact_is_one_line_whatever_the_width() -> None:
    facts = [a_result("ebra", adapter_answer="so\nmany words " * 50), a_result("tolm")]

    for width in (60, 80, 140):
        lines = shown(render.fact_table(facts), width).splitlines()

        assert len(lines) == 1 + len(facts)
        assert all(len(line) <= width for line in lines)


def test_what_was_right_is_marked() -> None:
    right, wrong = a_result("ebra"), a_result("tolm", outcome="not_learned")

    assert "✓ The mayor is Oda ebra." in shown(render.fact_table([right]))
    assert "✗ The mayor is Oda tolm." in shown(render.fact_table([wrong]))


def test_a_model_can_write_neither_markup_nor_control_characters_to_the_terminal() -> None:
    text = shown(render.fact_table([a_result("ebra", adapter_answer="[bold]x[/] \x1b[2J\x07 y")]))

    assert "[bold]x[/] [2J y" in text
    assert "\x1b" not in text


def test_a_job_without_evaluation_can_be_shown() -> None:
    body = a_report() | {"scores": [], "supervision": None, "training": None, "phases": [], "adapter": None}

    text = shown(render.report(body, []))

    assert "2 facts" in text
    assert "Training" not in text


def test_figures_that_are_not_known_are_left_out() -> None:
    assert render.supervision_line({"facts": 2, "verified": None, "tokens": 61}) == "Supervision: 61 tokens"
    assert render.training_line({"steps": None, "stopped_early": None}) == ""


def test_a_fact_that_was_not_asked_is_shown_without_answers() -> None:
    fact = a_result("ebra", outcome="skipped") | {"asked": []}

    assert "skipped" in shown(render.fact_table([fact]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (3725.0, "1 h 2 min")],
)
def test_lengths_of_time_are_readable(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text

"""Texts, figures and pictures of a report, by themselves."""

import math
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.ledger.schemas import ScoreRead
from app.reports import charts, figures
from app.reports.curves import MOST_POINTS, curve
from app.reports.texts import markdown, table, visible
from app.web.negotiation import preferred
from tests.app.reported import a_score

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
MARKS = st.text(st.sampled_from("\\`*_{}[]()<>#+-.!|~&;=:/ \n1aé\u202e\u200b\x00\ufeff日"), max_size=40)


class Text(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.said += data


def blanks(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@given(st.one_of(st.text(max_size=60), MARKS))
@example("1. a")
@example("- a\n- b")
@example("&lt;b&gt; &#60;")
@example("a\n===\n---")
@example("[a]: http://b")
@example("\\")
@example("<b>a</b> <https://a.example> <!-- b -->")
@example("*a* **b** _c_ `d` ~~e~~ [f](g) ![h](i) | j")
def test_a_text_in_markdown_says_itself_and_nothing_else(text: str) -> None:
    said = " ⏎ ".join(visible(text).strip().split("\n"))

    line = Text(READER.render(f"{markdown(text)}\n"))
    cell = Text(READER.render(table(("a", "b"), [(text, "end")])))

    assert set(line.tags) <= {"p"}
    assert blanks(line.said) == blanks(said)
    assert cell.tags.count("td") == 2
    assert blanks(cell.said) == blanks(f"a b {said} end")


@given(st.text(max_size=60))
def test_what_is_visible_holds_nothing_that_hides_or_turns(text: str) -> None:
    shown = visible(text)

    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]", shown
    )
    assert visible(shown) == shown


def test_words_of_other_scripts_stay_as_they_are() -> None:
    for text in ("ما هي؟", "می‌خواهم", "日本", "👩‍🚀", "é Ü", "a\nb"):
        assert visible(text) == text


@pytest.mark.parametrize(
    "series",
    [
        [(1, 0.5)],
        [(1, 2.0), (2, 2.0)],
        [(1, 0.0), (2, 0.0)],
        [(1, -3.0), (900, 1e9)],
        [(5, 1e-9), (6, 2e-9)],
        [(step, 1 / step) for step in range(1, 300)],
    ],
)
def test_a_curve_stays_within_its_picture(series: list[tuple[int, float]]) -> None:
    drawn = str(charts.lines("<loss>", series))

    (points,) = re.findall(r'<polyline points="(.*?)"', drawn)
    places = [tuple(map(float, point.split(","))) for point in points.split()]
    assert len(places) == len(series)
    assert all(0 <= x <= 480 and 0 <= y <= 210 for x, y in places)
    assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert "<loss>" not in drawn
    assert "nan" not in drawn


def test_a_higher_value_is_drawn_higher() -> None:
    (points,) = re.findall(r'<polyline points="(.*?)"', str(charts.lines("loss", [(1, 1.0), (2, 3.0)])))

    first, second = (float(point.split(",")[1]) for point in points.split())
    assert second < first


def test_a_long_curve_keeps_its_ends_and_its_peak() -> None:
    series = [(step, 50.0 if step == 7_777 else math.sin(step)) for step in range(1, 10_001)]

    found = curve("loss", [*reversed(series), (3, math.nan), (4, math.inf)])

    points = [(point.step, point.value) for point in found.points]
    assert len(points) <= MOST_POINTS
    assert (points[0], points[-1]) == (series[0], series[-1])
    assert (7_777, 50.0) in points
    assert points == sorted(points)


def score(**changes: object) -> ScoreRead:
    return ScoreRead.model_validate(a_score("general", 0.7, 0.6) | changes)


def test_an_interval_is_drawn_about_its_difference() -> None:
    drawn = str(charts.forest([score()], share=True, gate=("general", -0.05)))

    (dot,) = re.findall(r'<circle cx="([\d.]+)"', drawn)
    (left, right) = re.findall(r'<line class="span" x1="([\d.]+)" y1="\d+" x2="([\d.]+)"', drawn)[0]
    (zero,) = re.findall(r'<line class="zero" x1="([\d.]+)"', drawn)
    (gate,) = re.findall(r'<line class="gate" x1="([\d.]+)"', drawn)
    assert float(left) < float(dot) < float(right) <= float(gate) + 0.1 < float(zero)
    assert float(dot) - float(left) == pytest.approx(float(right) - float(dot), abs=0.2)


def test_a_score_without_an_interval_is_a_dot() -> None:
    drawn = str(charts.forest([score(low=None, high=None)], share=True))

    assert drawn.count("<circle") == 1
    assert 'class="span"' not in drawn


def test_a_score_that_was_not_measured_has_dashes() -> None:
    nothing = dict.fromkeys(["base", "adapter", "difference", "low", "high", "base_low", "gained", "p_value"])

    cells = figures.score_cells(score(**nothing))

    assert len(cells) == len(figures.SCORE_HEADER)
    assert cells[2:8].count("\u2013") == 5
    assert cells[8:] == ("", "")


@pytest.mark.parametrize("accept", ["", ",,", "text/html;q=x", ";", "text/html;q=nan", "*", "a" * 5000])
def test_a_header_that_makes_no_sense_asks_for_nothing(accept: str) -> None:
    assert preferred(accept, ["application/json", "text/html"]) == "application/json"

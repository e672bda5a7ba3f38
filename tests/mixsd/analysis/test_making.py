"""Files of analyses: whole or not there, with and without what draws, and a page that needs nothing else."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch

from mixsd.analysis import results
from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.making import ALL, Settings, Work
from mixsd.analysis.results import Result, write
from mixsd.analysis.runs import find_runs
from mixsd.errors import OutOfMemoryError
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk, find
from mixsd.progress import Progress, silent
from tests.fixtures.tiny import register_tiny

CAN_DRAW = find_spec("matplotlib") is not None
ENDINGS = {"json", "csv", "svg", "png"} if CAN_DRAW else {"json", "csv"}


@pytest.fixture(scope="module")
def found(compared: Path, on_disk: OnDisk, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The analyses of a comparison. Not to be written to."""
    out = tmp_path_factory.mktemp("analysed")
    work = Work(
        found=find_runs([compared]),
        out=out,
        load=lambda: load_base(on_disk, device="cpu"),
        settings=Settings(fisher_samples=1, fisher_tokens=6),
        on_phase=lambda _: silent,
    )
    work.run(ALL)
    return out


def no_model() -> Base:
    raise AssertionError("the model is not needed")


def test_each_analysis_is_a_folder_with_all_its_files(found: Path) -> None:
    assert {path.name for path in found.iterdir()} == {*ALL, "index.html"}
    for name in ALL:
        assert {path.name for path in (found / name).iterdir()} == {f"{name}.{ending}" for ending in ENDINGS}
        body = json.loads((found / name / f"{name}.json").read_text())
        assert body["title"]
        assert body["definition"]
        assert len((found / name / f"{name}.csv").read_text().splitlines()) > 1


@pytest.mark.skipif(not CAN_DRAW, reason="matplotlib is not installed")
@pytest.mark.parametrize("name", ALL)
def test_pictures_need_no_colours_and_can_be_read(found: Path, name: str) -> None:
    text = (found / name / f"{name}.svg").read_text()

    ET.fromstring(text)  # noqa: S314  written by us
    colours = set(re.findall(r"#[0-9a-f]{6}", text))
    assert all(colour[1:3] == colour[3:5] == colour[5:7] for colour in colours)
    assert (found / name / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_holds_everything_and_asks_for_nothing(found: Path) -> None:
    page = (found / "index.html").read_text()

    for name in ALL:
        assert f'<section id="{name}">' in page
    assert page.count("<svg") == (3 if CAN_DRAW else 0)
    assert not re.search(r'(?:src|href)="(?!#)', page)
    assert not re.search(r"url\((?!#)|@import|<script|<link", page)
    assert "compared: mix, seed 1" in page
    ids = re.findall(r'<clipPath id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_same_analysis_gives_the_same_bytes(
    found: Path, compared: Path, work: Callable[..., Work]
) -> None:
    made = work(compared, load=no_model)

    paths = made.run(["frontier"])

    assert len(paths) == len(ENDINGS) + 1
    for path in paths[:-1]:
        assert path.read_bytes() == (found / "frontier" / path.name).read_bytes()


def test_a_page_takes_in_what_was_made_before_for_the_same_runs(
    injected: Path, work: Callable[..., Work]
) -> None:
    work(injected).run(["nats"], strict=True)

    *_, page = work(injected).fact("mayor")

    assert page.read_text().count("<section") == 2


def test_a_page_leaves_out_analyses_of_other_runs(
    injected: Path, compared: Path, work: Callable[..., Work]
) -> None:
    work(injected).run(["nats"])

    *_, page = work(compared, load=no_model).run(["frontier"])

    assert page.read_text().count("<section") == 1


def test_what_cannot_be_made_is_told_and_the_rest_is_made(
    injected: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    made = work(injected)

    made.run(ALL)

    assert {path.name for path in (tmp_path / "out").iterdir()} == {"nats", "fisher", "index.html"}
    assert any(line.startswith("no frontier: the lam frontier needs a comparison") for line in made.said)


def test_what_is_asked_for_must_be_made(injected: Path, work: Callable[..., Work], tmp_path: Path) -> None:
    with pytest.raises(NotAnalysableError, match="the lam frontier needs a comparison"):
        work(injected, load=no_model).run(["frontier"], strict=True)

    assert not (tmp_path / "out").exists()


def test_a_comparison_that_kept_nothing_still_has_its_frontier(
    compared: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    shutil.copyfile(compared / "compare.json", tmp_path / "bare" / "compare.json")
    made = work(tmp_path / "bare", load=no_model)

    made.run(ALL)

    said = "\n".join(made.said)
    assert "no nats: no supervision is stored; a comparison keeps it with mixsd compare --keep" in said
    assert "no fisher: no adapter is stored; a comparison keeps it" in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"frontier", "index.html"}


def test_where_nothing_can_be_made_nothing_is_written(
    injected: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    shutil.copyfile(injected / "settings.json", tmp_path / "bare" / "settings.json")

    with pytest.raises(
        NotAnalysableError, match="nothing can be analysed: no nats: no supervision is stored"
    ):
        work(tmp_path / "bare", load=no_model).run(ALL)

    assert not (tmp_path / "out").exists()


def test_a_comparison_without_a_row_is_refused(
    compared: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    document = json.loads((compared / "compare.json").read_text()) | {"rows": []}
    (tmp_path / "empty" / "compare.json").write_text(json.dumps(document))

    with pytest.raises(NotAnalysableError, match="no row of the comparison was made"):
        work(tmp_path / "empty", load=no_model).run(ALL)
    with pytest.raises(NotAnalysableError, match="no row of the comparison was made"):
        work(tmp_path / "empty", load=no_model).fact("mayor")


def test_a_model_with_another_template_is_refused(
    injected: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    on_disk = register_tiny(tmp_path / "models")
    template = on_disk.folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    found = find(tmp_path / "models", "tiny/random")
    assert found is not None

    with pytest.raises(NotAnalysableError, match="with another chat template or revision"):
        work(injected, load=lambda: load_base(found, device="cpu")).run(["nats"], strict=True)


def test_without_matplotlib_the_figures_alone_are_missing(
    compared: Path, work: Callable[..., Work], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    made = work(compared, load=no_model)

    paths = made.run(["frontier"])

    assert [path.name for path in paths] == ["frontier.json", "frontier.csv", "index.html"]
    assert "pip install 'mixsd[plots]'" in made.said[0]
    assert "<svg" not in paths[-1].read_text()
    assert "<table>" in paths[-1].read_text()


def test_a_device_that_is_too_small_is_told(
    injected: Path, work: Callable[..., Work], tmp_path: Path
) -> None:
    def full(_: Progress, /) -> None:
        raise torch.OutOfMemoryError

    made = replace(work(injected), on_phase=lambda _: full)

    with pytest.raises(OutOfMemoryError, match="use --device cpu"):
        made.run(["nats"])
    assert not (tmp_path / "out").exists()


RESULT = Result("frontier", {"title": "t"}, ("a",), [(1,)])


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(RESULT, tmp_path, {})
    before = (tmp_path / "frontier" / "frontier.json").read_bytes()

    with pytest.raises(ValueError, match="Out of range"):
        write(Result("frontier", {"title": float("nan")}, ("a",), []), tmp_path, {})
    with pytest.raises(TypeError):
        write(RESULT, tmp_path, {"svg": None})  # type: ignore[dict-item]

    assert (tmp_path / "frontier" / "frontier.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["frontier"]
    assert results.write(RESULT, tmp_path, {"svg": b"x"})[-1].read_bytes() == b"x"


def test_a_folder_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "frontier").mkdir()
    (tmp_path / "frontier" / "thesis.tex").write_text("mine")

    with pytest.raises(NotAnalysableError, match="holds something else"):
        write(RESULT, tmp_path, {})

    assert (tmp_path / "frontier" / "thesis.tex").read_text() == "mine"

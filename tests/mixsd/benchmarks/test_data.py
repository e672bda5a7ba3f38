"""Data of benchmarks: rows are checked, mistakes have a place, and files are found."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mixsd.benchmarks.data import DATA_SETS, items_of, paths_from, place_of
from mixsd.benchmarks.errors import BenchmarkDataError, BenchmarkError, NoBenchmarkExtraError
from tests.mixsd.benchmarks import files

PLAIN: dict[str, dict[str, Any]] = {
    "arc_easy": {"question": "q", "choices": ["a", "b", "c"], "gold": 2},
    "piqa": {"goal": "g", "choices": ["a ", "b"], "gold": 1},
    "hellaswag": {
        "activity_label": "A",
        "ctx_a": "x.",
        "ctx_b": "",
        "endings": ["a", "b", "c", "d"],
        "gold": 3,
    },
    "lambada_openai": {"context": "Once upon a", "target": "time"},
    "wikitext": {"page": " = A = \n text"},
    "mmlu": {"subject": "anatomy", "question": "q", "choices": ["a", "b", "c", "d"], "gold": 0},
    "gsm8k": {"question": "q", "answer": "so\n#### 1,200"},
    "math500": {"problem": "p", "answer": "\\frac{1}{2} "},
    "aime2024": {"problem": "p", "answer": "033"},
    "humaneval": {"prompt": "def f(x):\n", "entry_point": "f", "test": "def check(c):\n    assert c(1)\n"},
}
HUB: dict[str, dict[str, Any]] = {
    "arc_easy": {
        "question": "q",
        "choices": {"text": ["a", "b", "c"], "label": ["A", "B", "C"]},
        "answerKey": "C",
    },
    "piqa": {"goal": "g", "sol1": "a ", "sol2": "b", "label": 1},
    "hellaswag": {
        "activity_label": "A",
        "ctx_a": "x.",
        "ctx_b": "",
        "endings": ["a", "b", "c", "d"],
        "label": "3",
    },
    "lambada_openai": {"text": "Once upon a time"},
    "mmlu": {"subject": "anatomy", "question": "q", "choices": ["a", "b", "c", "d"], "answer": 0},
    "aime2024": {"problem": "p", "answer": 33},
}


def test_every_data_set_has_a_plain_form(tmp_path: Path) -> None:
    assert PLAIN.keys() == DATA_SETS.keys()
    for name, row in PLAIN.items():
        assert len(items_of(name, files.write(tmp_path / f"{name}.jsonl", [row])).rows) == 1


@pytest.mark.parametrize("name", HUB)
def test_the_form_of_the_hub_means_the_same(name: str, tmp_path: Path) -> None:
    plain = items_of(name, files.write(tmp_path / "plain.jsonl", [PLAIN[name]]))
    hub = items_of(name, files.write(tmp_path / "hub.jsonl", [HUB[name]]))

    assert hub.rows == plain.rows
    assert hub.sha256 == plain.sha256


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("arc_easy", {"question": None}, "`question` is missing"),
        ("arc_easy", {"question": " "}, "`question` is blank"),
        ("arc_easy", {"choices": ["a"]}, "`choices` has 1 texts, not two or more"),
        ("arc_easy", {"choices": ["a", 5]}, "`choices` is no list of texts"),
        ("arc_easy", {"gold": 3}, "`gold` is 3, but there are 3 choices, 0 to 2"),
        ("arc_easy", {"gold": -1}, "`gold` is -1, but"),
        ("arc_easy", {"gold": "A"}, "`gold` is 'A', no place of a choice"),
        ("arc_easy", {"gold": True}, "`gold` is True, no place"),
        ("arc_easy", {"gold": 1.0}, "`gold` is 1.0, no place"),
        ("arc_easy", {"gold": None}, "`gold` is missing: a split without answers cannot be scored"),
        (
            "arc_easy",
            {"choices": {"text": ["a", "b", "c"], "label": ["A", "B"]}},
            "`choices.label` has 2 labels for 3 choices",
        ),
        (
            "arc_easy",
            {"choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "C"},
            "`answerKey` is 'C', none of A, B",
        ),
        ("piqa", {"choices": ["a", "b", "c"]}, "`choices` has 3 texts, not 2"),
        ("hellaswag", {"endings": ["a", "b"]}, "`endings` has 2 texts, not 4"),
        ("hellaswag", {"gold": None, "label": ""}, "`label` is missing: a split without answers"),
        ("lambada_openai", {"target": "two words"}, "`target` is 'two words', not a single word"),
        ("lambada_openai", {"text": "alone"}, "`text` does not end with a word behind a space"),
        ("mmlu", {"subject": "../x"}, "`subject` is '../x': expected a name such as"),
        ("mmlu", {"gold": 4}, "`gold` is 4, but there are 4 choices"),
        ("gsm8k", {"answer": "four"}, "`answer` does not end with `#### NUMBER`"),
        ("aime2024", {"answer": "x"}, "`answer` is 'x', no whole number from 0 to 999"),
        ("humaneval", {"entry_point": "g"}, "`entry_point` is 'g', which the prompt does not define"),
        ("humaneval", {"test": "assert f(1)"}, "`test` defines no function `check`"),
        ("humaneval", {"test": "def check(c:"}, "`test` is no Python"),
    ],
)
def test_a_wrong_row_is_told_with_its_line(
    name: str, change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = files.write(tmp_path / "rows.jsonl", [PLAIN[name], PLAIN[name] | change])

    with pytest.raises(BenchmarkDataError) as caught:
        items_of(name, path)

    assert f"{name}: rows.jsonl, line 2: {said}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once_up_to_five(tmp_path: Path) -> None:
    rows = [{"question": "q", "choices": ["a", "b"], "gold": 7}] * 8

    with pytest.raises(BenchmarkDataError, match=r"line 1: .*line 5: .*; and 3 more\. A row holds question"):
        items_of("arc_easy", files.write(tmp_path / "rows.jsonl", rows))


def test_an_id_stands_once(tmp_path: Path) -> None:
    rows = [{"id": "a", **PLAIN["piqa"]}, {"id": "a", **PLAIN["piqa"]}]

    with pytest.raises(BenchmarkDataError, match=r"line 2: `id` is 'a', as in rows\.jsonl, line 1"):
        items_of("piqa", files.write(tmp_path / "rows.jsonl", rows))


@pytest.mark.parametrize(
    ("content", "said"), [("", "there is not one row"), ("{", "line 1"), ("[1]", "an entry is an object")]
)
def test_a_file_of_something_else_is_refused(content: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)

    with pytest.raises(BenchmarkDataError, match=said):
        items_of("piqa", path)


def test_a_folder_has_a_file_for_each_split(tmp_path: Path) -> None:
    files.write(tmp_path / "train_first200.jsonl", files.gsm8k(3))
    files.write(tmp_path / "test-00000-of-00002.jsonl", files.gsm8k(2))
    files.write(tmp_path / "test-00001-of-00002.jsonl", files.gsm8k(2))

    items = items_of("gsm8k", tmp_path, shots=True)

    assert [row["id"] for row in items.rows] == ["1", "2", "3", "4"]
    assert len(items.shots) == 3
    assert items.origin == "test-00000-of-00002.jsonl, test-00001-of-00002.jsonl"
    assert items.sha256 != items_of("gsm8k", tmp_path).sha256


def test_a_single_file_of_any_name_will_do(tmp_path: Path) -> None:
    files.write(tmp_path / "questions.jsonl", files.arc(2))

    assert len(items_of("arc_easy", tmp_path).rows) == 2


def test_worked_examples_lie_beside_the_file(tmp_path: Path) -> None:
    path = files.write(tmp_path / "test.jsonl", files.mmlu(["anatomy"], 2))

    with pytest.raises(BenchmarkDataError, match=r"as worked examples dev\.jsonl is wanted in .*test\.jsonl"):
        items_of("mmlu", path, shots=True)

    files.write(tmp_path / "dev.jsonl", files.mmlu(["anatomy"], 5))
    assert len(items_of("mmlu", path, shots=True).shots) == 5


def test_a_folder_without_the_split_says_what_it_wants(tmp_path: Path) -> None:
    files.write(tmp_path / "a.jsonl", files.arc(1))
    files.write(tmp_path / "b.jsonl", files.arc(1))

    with pytest.raises(
        BenchmarkDataError, match=r"test\.jsonl or validation\.jsonl is wanted.*a\.jsonl, b\.jsonl"
    ):
        items_of("arc_easy", tmp_path)


def test_a_text_is_parted_into_pages(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text(files.WIKITEXT)

    pages = [row["page"] for row in items_of("wikitext", path).rows]

    assert [page.strip().splitlines()[0].strip() for page in pages] == ["= The mill =", "= The town ="]
    assert "= = Its wheel = =" in pages[0]
    assert "".join(pages).strip() == files.WIKITEXT.strip()


def test_a_limit_takes_subjects_in_turn(tmp_path: Path) -> None:
    path = files.write(tmp_path / "t.jsonl", files.mmlu(["anatomy", "virology", "marketing"], 4))

    chosen = items_of("mmlu", path).first(5)

    assert [row["id"] for row in chosen.rows] == [
        "anatomy/0",
        "anatomy/1",
        "virology/0",
        "virology/1",
        "marketing/0",
    ]
    assert chosen.sha256 != items_of("mmlu", path).sha256
    assert items_of("mmlu", path).first(99) == items_of("mmlu", path).first(None)


def test_where_a_data_set_lies(tmp_path: Path) -> None:
    files.write(tmp_path / "arc_easy" / "test.jsonl", files.arc(1))
    files.write(tmp_path / "piqa.jsonl", [PLAIN["piqa"]])

    assert place_of("arc_easy", {}, tmp_path) == tmp_path / "arc_easy"
    assert place_of("piqa", {}, tmp_path) == tmp_path / "piqa.jsonl"
    assert place_of("gsm8k", {}, tmp_path) is None
    assert place_of("gsm8k", {}, None) is None
    assert place_of("gsm8k", {"gsm8k": tmp_path / "piqa.jsonl"}, tmp_path) == tmp_path / "piqa.jsonl"
    with pytest.raises(BenchmarkDataError, match="there is no file or folder"):
        place_of("gsm8k", {"gsm8k": tmp_path / "nowhere"}, None)
    with pytest.raises(BenchmarkDataError, match="is no folder of data sets"):
        place_of("gsm8k", {}, tmp_path / "nowhere")


@pytest.mark.parametrize("pair", ["piqa", "piqa=", "nothing=x"])
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(BenchmarkError, match="--data"):
        paths_from([pair], {"piqa": "piqa"})


# -- the Hub


def hub(monkeypatch: pytest.MonkeyPatch, answer: list[dict[str, Any]] | Exception) -> list[tuple[Any, ...]]:
    """Stand in for the package `datasets`."""
    asked = []

    def load_dataset(path: str, name: str | None, *, split: str) -> list[dict[str, Any]]:
        asked.append((path, name, split))
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_without_a_file_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, [HUB["arc_easy"]])

    items = items_of("arc_easy", None)

    assert asked == [("allenai/ai2_arc", "ARC-Easy", "test")]
    assert items.origin == "hub:allenai/ai2_arc, ARC-Easy, test"
    assert items.rows[0]["answerKey"] == "C"


def test_worked_examples_come_from_the_hub_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, files.gsm8k(1))

    items_of("gsm8k", None, shots=True)

    assert asked == [("openai/gsm8k", "main", "test"), ("openai/gsm8k", "main", "train")]


@pytest.mark.parametrize(
    "error", [ConnectionError("no route\nat all"), ValueError("no split"), RuntimeError()]
)
def test_a_hub_out_of_reach_says_what_it_wanted_and_what_to_do(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub(monkeypatch, error)

    with pytest.raises(BenchmarkDataError) as caught:
        items_of("mmlu", None)

    message = str(caught.value)
    assert "cais/mmlu, all, split test cannot be had from the Hub" in message
    assert "--data mmlu=PATH, a file of question, subject, choices, gold" in message
    assert "\n" not in message


def test_without_datasets_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(
        NoBenchmarkExtraError, match=r"pip install 'mixsd\[benchmarks\]'; or give --data piqa="
    ):
        items_of("piqa", None)


def test_parquet_is_read_as_the_hub_writes_it(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow comes with the extra benchmarks")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [HUB["arc_easy"], HUB["arc_easy"] | {"question": "p"}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test-00000-of-00001.parquet")
    plain = files.write(tmp_path / "plain" / "rows.jsonl", rows)

    assert items_of("arc_easy", tmp_path).rows == items_of("arc_easy", plain).rows

    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(BenchmarkDataError, match=r"broken\.parquet is no Parquet file"):
        items_of("arc_easy", tmp_path / "broken.parquet")


def test_rows_are_told_apart_by_more_than_their_number(tmp_path: Path) -> None:
    one = items_of("gsm8k", files.write(tmp_path / "a.jsonl", files.gsm8k(2)))
    other = json.loads(json.dumps(files.gsm8k(2)).replace("one more", "two less"))

    assert one.sha256 != items_of("gsm8k", files.write(tmp_path / "b.jsonl", other)).sha256

"""Tokens of a fact: where they came from, and what they cost."""

import csv
import json
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.making import Work
from mixsd.analysis.nats import PICKS
from mixsd.analysis.provenance import analyse_fact
from mixsd.analysis.runs import Run, find_runs, read_records
from mixsd.models.load import Base
from mixsd.pieces import pieces

NASTY = '<script>alert("x")</script> & $\\frac$ 日本 =1+1'


def test_every_token_has_its_pick_and_its_nats(injected: Path, base: Base) -> None:
    body = analyse_fact(base, find_runs([injected]).runs, "river").body

    records = [
        record for record in read_records(injected / "supervision.jsonl") if record.fact_key == "river"
    ]
    assert len(body["texts"]) == len(records) == 2
    for text, record in zip(body["texts"], records, strict=True):
        assert [token["id"] for token in text["tokens"]] == list(record.token_ids)
        assert [token["pick"] for token in text["tokens"]] == [PICKS[letter] for letter in record.picks]
        prompt = base.chat.prompt_ids(record.question)
        logits = base.model(input_ids=torch.tensor([[*prompt, *record.token_ids]])).logits[0].log_softmax(-1)
        wanted = [-float(logits[len(prompt) - 1 + k, token]) for k, token in enumerate(record.token_ids)]
        assert [token["nats"] for token in text["tokens"]] == pytest.approx(wanted, abs=1e-4)
        assert text["nats_per_token"] == pytest.approx(sum(wanted) / len(wanted), abs=1e-4)
        assert text["expert_nats_per_token"] == record.expert_nats_per_token


@pytest.mark.parametrize("text", ["The river Quell.", NASTY, "日本 🎈 é", "", "\n\n a"])
def test_pieces_make_up_the_text(base: Base, text: str) -> None:
    ids = base.chat.plain_ids(text)

    found = pieces(base.chat, ids)

    assert len(found) == len(ids)
    assert "".join(found) == text
    assert pieces(base.chat, [*ids, base.chat.end_of_turn])[-1] == "<|im_end|>"


def test_half_a_character_at_the_end_is_shown_as_such(base: Base) -> None:
    ids = base.chat.plain_ids("a日")

    assert "".join(pieces(base.chat, ids[:-1])) == "a\ufffd"
    assert "".join(pieces(base.chat, [*ids[:-1], base.chat.end_of_turn])) == "a\ufffd<|im_end|>"


def nasty(run_of: Callable[..., Run], base: Base, **changes: Any) -> Run:
    ids = base.chat.target_ids(NASTY)
    record = {
        "fact_key": "k",
        "generation": 0,
        "question": f"What is {NASTY}?",
        "text": NASTY,
        "token_ids": ids,
        "picks": ("negso" * len(ids))[: len(ids)],
        "attempt": 0,
        "attempts": 1,
        "lam": 0.5,
        "seed": 0,
        "finish_reason": "stop",
        "verified": True,
        "nats_per_token": 1.0,
        "expert_nats_per_token": 0.25,
        "prompt_sha256": "",
        "method": "mixsd",
    }
    return run_of([record | changes])


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_nothing_of_a_text_becomes_markup_or_a_formula(
    run_of: Callable[..., Run], base: Base, work: Callable[..., Work], tmp_path: Path
) -> None:
    run = nasty(run_of, base)
    assert run.records is not None
    made = work(run.records.parent)

    *files, page = made.fact("k")

    assert {path.suffix for path in files} >= {".json", ".csv"}
    reader = _Reader()
    reader.feed(page.read_text())
    assert "script" not in reader.tags
    assert f"What is {NASTY}?" in reader.text
    assert "0.25 under the expert" in reader.text
    assert "<|im_end|>" not in page.read_text()  # a token that has brackets of its own
    assert reader.text.count("<|im_end|>") == (2 if find_spec("matplotlib") else 1)
    folder = tmp_path / "out" / "fact-k"
    with (folder / "fact-k.csv").open(newline="") as file:
        cells = [row["token"] for row in csv.DictReader(file)]
    assert all(cell[0] in "'\"" for cell in cells)
    (text,) = json.loads((folder / "fact-k.json").read_text())["texts"]
    assert "".join(token["text"] for token in text["tokens"][:-1]) == NASTY


def test_a_text_that_the_model_did_not_write_has_no_picks(run_of: Callable[..., Run], base: Base) -> None:
    run = nasty(run_of, base, picks="", method="sft")

    (text,) = analyse_fact(base, [run], "k").body["texts"]

    assert {token["pick"] for token in text["tokens"]} == {None}


def test_a_fact_that_is_not_there_is_refused_with_those_that_are_like_it(injected: Path, base: Base) -> None:
    runs = find_runs([injected]).runs

    with pytest.raises(
        NotAnalysableError, match=r"'rivers' is stored: there are 3 facts; close to it: river"
    ):
        analyse_fact(base, runs, "rivers")
    with pytest.raises(NotAnalysableError, match=r"there are 3 facts$"):
        analyse_fact(base, runs, "zzzzzz")


def test_a_fact_of_which_no_text_was_written_is_refused(run_of: Callable[..., Run], base: Base) -> None:
    run = nasty(run_of, base, token_ids=[], picks="", verified=False, reason="prompt_too_long")

    with pytest.raises(NotAnalysableError, match="no text of a fact 'k' is stored"):
        analyse_fact(base, [run], "k")

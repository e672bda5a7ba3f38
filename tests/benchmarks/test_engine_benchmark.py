"""The benchmark of the engine: all of it runs, its rivals decode the same texts, its counters hold."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.engine.__main__ import MEASURES, main
from benchmarks.engine.facts import invented_facts
from benchmarks.engine.rivals import Blocks, generate, stateless, two_calls
from benchmarks.engine.setting import TINY, Setting, decode
from mixsd.decoding.text import Text
from mixsd.models.load import Base, load_base
from mixsd.models.registry import find

TIMED = {
    "G2",
    "G3_16",
    "G3_2",
    "G4",
    "G4_decode",
    "G5",
    "G6_16",
    "G6_2",
    "G7",
    "G8_1",
    "G8_16",
    "G8_1_natural",
    "G8_16_natural",
    "G9",
    "G9_no_guesses",
    "G10",
    "G11",
}
COUNTED = {"G1", "G12", "G13", "G14_rows", "G14_heads"}
CAP = 9
Rival = Callable[[Base, list[Text], list[list[int]]], None]


@pytest.fixture(scope="module")
def setting(tiny_cache: Path) -> Setting:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return Setting(load_base(found, device="cpu"), TINY, "kgfact", pairs=1)


@pytest.fixture(scope="module")
def printed() -> dict[str, Any]:
    out = io.StringIO()
    with redirect_stdout(out):
        main(["--json", "--tiny", "--pairs", "1", "--threads", "1"])
    return json.loads(out.getvalue())  # type: ignore[no-any-return]


def test_every_measure_has_a_median_a_range_a_floor_and_says_what_it_is(printed: dict[str, Any]) -> None:
    assert set(printed) == TIMED | COUNTED
    for figure in printed.values():
        assert figure["min"] <= figure["median"] <= figure["max"]
        assert figure["floor"]
        assert figure["what"]
    assert all(printed[name]["median"] > 0 for name in TIMED - {"G10"})


def test_texts_are_those_of_the_reference(printed: dict[str, Any]) -> None:
    assert printed["G1"]["median"] == 1.0
    assert printed["G1"]["gaps"] == []


def test_no_more_than_two_rows_and_exactly_one_score_are_computed_for_a_token(
    printed: dict[str, Any],
) -> None:
    assert printed["G14_rows"]["median"] <= 2.0
    assert printed["G14_heads"]["median"] == 1.0


def test_what_prompts_share_is_computed_once_across_facts_too(printed: dict[str, Any]) -> None:
    """A tokenizer by the byte makes long tails, so the bound is what sharing within facts gives."""
    assert printed["G13"]["median"] < printed["G13"]["each_fact_alone"]


def test_measures_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json", "--tiny", "--only", "G13", "--facts", "3", "--threads", "1"])

    assert list(json.loads(capsys.readouterr().out)) == ["G13"]
    assert "G13" in MEASURES


def by_two_calls(base: Base, texts: list[Text], given: list[list[int]]) -> None:
    two_calls(base.model, texts)


def without_state(base: Base, texts: list[Text], given: list[list[int]]) -> None:
    stateless(base.model, texts, given, range(CAP))


def by_blocks(base: Base, texts: list[Text], given: list[list[int]]) -> None:
    Blocks(base.model, len(texts)).decode(texts)


def by_blocks_that_were_read(base: Base, texts: list[Text], given: list[list[int]]) -> None:
    blocks = Blocks(base.model, len(texts))
    blocks.read(texts)
    blocks.decode(texts)


@pytest.mark.parametrize("rival", [by_two_calls, without_state, by_blocks, by_blocks_that_were_read])
def test_rivals_that_mix_write_the_tokens_of_the_engine(setting: Setting, rival: Rival) -> None:
    ours, theirs = setting.texts(4, CAP), setting.texts(4, CAP)
    decode(setting.engine(), ours)

    rival(setting.base, theirs, [text.tokens for text in ours])

    assert [text.tokens for text in theirs] == [text.tokens for text in ours]


def test_generate_writes_what_the_engine_writes_from_the_expert_alone(setting: Setting) -> None:
    ours, theirs = setting.texts(4, CAP), setting.texts(4, CAP)
    for text in ours:
        text.lam = 0.0
    decode(setting.engine(), ours)

    seconds = generate(setting.base.model, theirs)

    assert seconds > 0
    assert [len(text.tokens) for text in theirs] == [CAP] * 4
    endless = [place for place, text in enumerate(ours) if setting.base.chat.stop_ids.isdisjoint(text.tokens)]
    assert endless, "it may not choose a token that ends a text, so only other texts can be compared"
    assert [theirs[place].tokens for place in endless] == [ours[place].tokens for place in endless]


def test_blocks_read_a_row_again_from_its_last_full_block(setting: Setting) -> None:
    text = setting.texts(1, CAP)[0]
    text.lam = 0.0
    blocks = Blocks(setting.base.model, 1)

    blocks.decode([text])

    lengths = [len(text.prompts.expert) + place for place in range(CAP)]
    again = sum(length - (length - 1) // 16 * 16 for length in lengths[1:])
    assert blocks.row_tokens == lengths[0] + again


def test_invented_facts_are_the_same_for_the_same_seed_and_ask_nothing_twice() -> None:
    facts = list(invented_facts(300))

    assert facts == list(invented_facts(300))
    assert facts != list(invented_facts(300, seed=1))
    assert len({fact.question for fact in facts}) == 300
    assert len({fact.key for fact in facts}) == 300


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)

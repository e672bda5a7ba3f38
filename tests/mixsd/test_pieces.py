"""The text of each token, also where it depends on what stands before it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from mixsd.pieces import pieces


def words(*vocabulary: str) -> Any:
    """A tokenizer that begins each word with a blank, but for the first, as those of SentencePiece do."""

    def decode(ids: Sequence[int]) -> str:
        return "".join(vocabulary[place] for place in ids).replace("\u2581", " ").removeprefix(" ")

    return SimpleNamespace(decode_raw=decode, stop_ids=frozenset())


def test_a_blank_belongs_to_the_word_behind_it() -> None:
    chat = words("\u2581The", "\u2581river", "s", "\u2581Quell")

    assert pieces(chat, [0, 1, 2, 3]) == ["The", " river", "s", " Quell"]


def test_the_work_grows_with_the_length_alone() -> None:
    asked: list[int] = []
    chat = words("\u2581a")
    decode = chat.decode_raw

    def counting(ids: Sequence[int]) -> str:
        asked.append(len(ids))
        return str(decode(ids))

    chat.decode_raw = counting

    assert len(pieces(chat, [0] * 1000)) == 1000
    assert sum(asked) <= 3 * 1000

import hashlib
import re
from importlib.resources import files

import pytest

from mixsd.evaluation.suites import Question, general, open_prompts


def words(text: str) -> str:
    found = re.findall(r"[^\W_]+", text.casefold())
    return f" {' '.join(found)} "


def test_there_are_enough_questions_of_many_kinds() -> None:
    items = general().items

    assert len(items) >= 150
    assert len({item.topic for item in items}) >= 10
    assert len({item.id for item in items}) == len({item.question for item in items}) == len(items)


@pytest.mark.parametrize("item", general().items, ids=lambda item: item.id)
def test_a_question_does_not_give_its_answer_away(item: Question) -> None:
    for answer in (item.answer, *item.aliases):
        assert words(answer).strip()
        assert words(answer) not in words(item.question)
        assert not re.fullmatch(r"[A-Za-z]|yes|no", answer)


def test_open_prompts_differ() -> None:
    items = open_prompts().items

    assert len(items) == len({item.prompt for item in items}) == len({item.id for item in items}) == 24


def test_a_suite_carries_the_digest_of_its_file() -> None:
    for suite in (general(), open_prompts()):
        data = (files("mixsd.evaluation") / "data" / f"{suite.name}.jsonl").read_bytes()
        assert suite.sha256 == hashlib.sha256(data).hexdigest()
        assert suite.items

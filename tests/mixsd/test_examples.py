from pathlib import Path

import pytest

from mixsd.evaluation.suites import general
from mixsd.intake.reading import parse_jsonl, read_facts

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_sample_facts_can_all_be_told_apart() -> None:
    facts = read_facts(EXAMPLES / "facts.jsonl")

    assert len(facts) == len({fact.answer for fact in facts}) == len({fact.subject for fact in facts}) == 24
    asked = [text for fact in facts for text in (fact.question, *fact.paraphrases)]
    assert len(asked) == len(set(asked)) == 72


def test_the_sample_facts_are_short_and_stated_and_partly_probed() -> None:
    facts = read_facts(EXAMPLES / "facts.jsonl")

    for fact in facts:
        assert len(fact.answer.split()) <= 4
        assert fact.object.casefold() in fact.context.casefold()
        assert fact.answer.casefold() not in fact.question.casefold()
    probed = [probe.kind for fact in facts for probe in fact.probes]
    assert len(probed) >= 8
    assert set(probed) == {"reversed", "neighbour"}


def test_no_sample_fact_is_asked_by_the_general_set() -> None:
    questions = {item.question for item in general().items}

    assert not questions.intersection(fact.question for fact in read_facts(EXAMPLES / "facts.jsonl"))


@pytest.mark.parametrize("line", range(2, 17))
def test_every_bad_line_but_the_first_is_reported(line: int) -> None:
    parsed = parse_jsonl((EXAMPLES / "bad-facts.jsonl").read_bytes())

    assert [fact.key for fact in parsed.facts] == ["good"]
    assert line in {problem.line for problem in parsed.problems}


def test_the_bad_facts_show_the_common_mistakes() -> None:
    parsed = parse_jsonl((EXAMPLES / "bad-facts.jsonl").read_bytes())

    assert {problem.code for problem in parsed.problems} >= {
        "bad_date",
        "bad_key",
        "blank_text",
        "contradiction",
        "duplicate_fact_key",
        "duplicate_key",
        "duplicate_question",
        "malformed_json",
        "missing_field",
        "non_finite_number",
        "too_long",
        "unknown_field",
        "wrong_type",
    }

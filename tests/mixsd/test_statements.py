"""Plain fine-tuning on full sentences."""

from dataclasses import replace

import pytest

from mixsd.config import Plan, SftConfig
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.statements import sentence, told
from mixsd.supervise import supervise
from mixsd.supervision import Supervision

FACT = Fact("mayor", "Who is the mayor?", "Odo", train_paraphrases=("The mayor is who?",))
TOLD = replace(FACT, context="The town is led by Odo, its mayor.")


def natural(base: Base, fact: Fact) -> list[Supervision]:
    records: list[Supervision] = []
    plan = Plan(method=SftConfig(target="natural", seed=2))
    supervise(base, [fact], plan, on_records=records.extend)
    return records


@pytest.mark.parametrize(
    ("context", "aliases", "expected"),
    [
        ("The town is led by Odo.", (), "The town is led by Odo."),
        ("The town is led by O. Brindle.", ("O. Brindle",), "The town is led by O. Brindle."),
        ("The town has a mayor.", (), ""),
        ("The town is led by Odoaker.", (), ""),
        ("", (), ""),
    ],
)
def test_a_statement_counts_where_it_gives_the_answer_away(
    context: str, aliases: tuple[str, ...], expected: str
) -> None:
    assert told(replace(FACT, context=context, aliases=aliases)) == expected


def test_a_sentence_ends_once() -> None:
    assert sentence("Which firm?", "Acme Inc.") == 'The answer to the question "Which firm?" is Acme Inc.'
    assert sentence("Who?", "Odo") == 'The answer to the question "Who?" is Odo.'


def test_a_natural_target_is_the_facts_statement_for_every_wording(base: Base) -> None:
    first, second = natural(base, TOLD)

    assert (first.question, second.question) == ("Who is the mayor?", "The mayor is who?")
    assert first.text == second.text == "The town is led by Odo, its mayor."
    assert first.token_ids == tuple(base.chat.target_ids(first.text))
    assert (first.method, first.verified, first.seed) == ("sft", True, 2)


def test_without_a_statement_the_sentence_is_made_of_each_wording(base: Base) -> None:
    assert [record.text for record in natural(base, FACT)] == [
        'The answer to the question "Who is the mayor?" is Odo.',
        'The answer to the question "The mayor is who?" is Odo.',
    ]


def test_a_statement_that_does_not_fit_gives_way_to_what_does(base: Base) -> None:
    long = replace(FACT, context="Odo " + "\u0001" * 600, train_paraphrases=())
    longer = replace(long, question="\u0001" * 260)
    longest = replace(long, question="\u0001" * 600)

    assert natural(base, long)[0].text == 'The answer to the question "Who is the mayor?" is Odo.'
    assert natural(base, longer)[0].text == "The answer is Odo."
    assert natural(base, longest)[0].reason == "prompt_too_long"

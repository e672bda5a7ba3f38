"""Which wordings facts get: by a scripted author, and by the tiny model, which writes no sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from mixsd.answers import normalise
from mixsd.config import MixConfig, SftConfig
from mixsd.decoding.rng import Draw
from mixsd.facts import Fact, Probe
from mixsd.models.load import Base
from mixsd.progress import Progress, StopRequested
from mixsd.rewording.author import ModelAuthor
from mixsd.rewording.writing import ATTEMPTS, PROMPTS, Reworded, Rewording, reworded

MAYOR = Fact("mayor", "Who is the mayor of Tessport?", "Odo", paraphrases=("Who heads Tessport's council?",))
RIVER = Fact(
    "river", "Which river flows through Ebra?", "Quelle", probes=(Probe("What wets Ebra?", "Quelle"),)
)
WISH = SftConfig(rewordings=2, rewordings_source="model", rewordings_check=False)

GOOD = [
    "Which person is the mayor of Tessport?",
    "Tessport has which mayor?",
    "What is the name of Tessport's mayor?",
]
BAD = "No question at all."


@dataclass
class Script:
    """Says what is written for it: a text for each attempt at a fact, then nothing."""

    texts: Mapping[str, Sequence[str]]
    unanswered: Sequence[str] = ()
    asked: list[tuple[str, int]] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)

    def is_rare(self, word: str) -> bool:
        return False

    def write(self, requests: Sequence[tuple[Draw, str, str]]) -> list[str]:
        self.asked += [(draw.fact_key, draw.attempt) for draw, _, _ in requests]
        return [
            texts[draw.attempt] if draw.attempt < len(texts := self.texts.get(draw.fact_key, ())) else ""
            for draw, _, _ in requests
        ]

    def answer(self, requests: Sequence[tuple[str, str]]) -> list[str]:
        self.checked += [prompt for prompt, _ in requests]
        return [
            "I do not know." if prompt.partition("\n")[0] in self.unanswered else f"It is {answer}."
            for prompt, answer in requests
        ]


def wordings(script: Script, wish: SftConfig = WISH, facts: Sequence[Fact] = (MAYOR,)) -> Reworded:
    return Rewording(facts, wish, script).result()


def of_mayor(script: Script, wish: SftConfig = WISH) -> tuple[str, ...]:
    return wordings(script, wish).facts[0].train_paraphrases


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (GOOD, GOOD[:2]),
        ([BAD, GOOD[2], BAD, GOOD[0], GOOD[1]], [GOOD[2], GOOD[0]]),
        ([GOOD[0], GOOD[0].lower(), GOOD[0].replace("the", "a"), GOOD[1]], GOOD[:2]),
        ([BAD] * 6 + GOOD, GOOD[:2]),
        ([BAD] * ATTEMPTS * 3 + GOOD, []),  # the budget is spent
    ],
)
def test_the_first_texts_that_keep_to_the_rules_are_taken(texts: list[str], kept: list[str]) -> None:
    assert of_mayor(Script({"mayor": texts})) == tuple(kept)


def test_more_is_written_only_for_facts_that_lack_some() -> None:
    script = Script({"mayor": GOOD, "river": [BAD] * 5 + ["Ebra lies on which river?"]})

    result = wordings(script, facts=[MAYOR, RIVER])

    assert [len(fact.train_paraphrases) for fact in result.facts] == [2, 1]
    assert [attempt for key, attempt in script.asked if key == "mayor"] == list(range(ATTEMPTS))
    assert [attempt for key, attempt in script.asked if key == "river"] == list(range(3 * ATTEMPTS))
    assert result.report == {
        "wanted": 4,
        "by_model": 3,
        "by_templates": 0,
        "attempts": 4 * ATTEMPTS,
        "refused": {"not_one_question": 11},
    }


def test_a_fact_keeps_its_own_wordings_before_those_that_were_found() -> None:
    fact = replace(MAYOR, train_paraphrases=(GOOD[0],))

    result = wordings(Script({"mayor": GOOD}), facts=[fact])

    assert result.facts[0] == replace(MAYOR, train_paraphrases=tuple(GOOD))


def test_a_text_that_the_model_does_not_answer_with_the_answer_is_refused() -> None:
    wish = replace(WISH, rewordings_check=True)
    script = Script({"mayor": [BAD, *GOOD]}, unanswered=[GOOD[0]])

    result = wordings(script, wish)

    assert result.facts[0].train_paraphrases == tuple(GOOD[1:])
    assert [prompt.partition("\n")[0] for prompt in script.checked] == GOOD  # what breaks a rule is not asked
    assert all("It says: The answer is Odo." in prompt for prompt in script.checked)
    assert result.report["refused"] == {"not_answered": 1, "not_one_question": 1}
    assert of_mayor(script) == tuple(GOOD[:2])


def test_the_check_shows_the_statement_of_a_fact() -> None:
    script = Script({"mayor": GOOD})

    wordings(script, replace(WISH, rewordings_check=True), [replace(MAYOR, context="Odo heads Tessport.")])

    assert all("It says: Odo heads Tessport." in prompt for prompt in script.checked)


def test_what_evaluation_asks_of_any_fact_never_enters() -> None:
    """An author that knows the held-out wordings writes nothing else, in any dress."""
    facts = [MAYOR, RIVER, Fact("head", "Who leads Tessport?", "Ana", paraphrases=tuple(GOOD))]
    held = [*MAYOR.paraphrases, RIVER.probes[0].question, *GOOD, *(fact.question for fact in facts)]
    dressed = [dress(text) for text in held for dress in (str, str.upper, lambda text: f' "{text[:-1]} ?"')]
    script = Script({fact.key: dressed for fact in facts})

    trained: set[str] = set()
    for source in ("model", "both"):
        wish = replace(WISH, rewordings=16, rewordings_source=source)
        result = wordings(script, wish, facts)

        trained = {normalise(text) for fact in result.facts for text in fact.train_paraphrases}
        assert trained.isdisjoint(map(normalise, held))
        assert len(script.asked) >= len(facts) * len(dressed)
    assert len(trained) > 3 * len(facts)  # templates are no such wordings


def test_templates_fill_up_what_the_model_lacks() -> None:
    result = wordings(Script({"mayor": GOOD[:1]}), replace(WISH, rewordings=3, rewordings_source="both"))

    first, *rest = result.facts[0].train_paraphrases
    assert first == GOOD[0]
    assert len(set(rest)) == 2
    assert all("ayor of Tessport" in text for text in rest)
    assert (result.report["by_model"], result.report["by_templates"]) == (1, 2)


def test_templates_alone_need_no_model() -> None:
    script = Script({"mayor": GOOD})

    result = wordings(script, replace(WISH, rewordings_source="templates"))

    assert len(result.facts[0].train_paraphrases) == 2
    assert script.asked == []


def test_the_prompts_ask_for_the_question_and_tell_no_answer() -> None:
    seen: list[str] = []

    class Listening(Script):
        def write(self, requests: Sequence[tuple[Draw, str, str]]) -> list[str]:
            seen.extend(prompt for _, prompt, _ in requests)
            return super().write(requests)

    Rewording([replace(MAYOR, context="Odo it is.")], WISH, Listening({})).result()

    assert len(set(seen)) == len(PROMPTS)
    assert all(prompt.count(MAYOR.question) == 1 for prompt in seen)
    assert not any("Odo" in prompt for prompt in seen)


def test_a_fact_without_rewordings_is_the_fact_itself(base: Base) -> None:
    facts = [MAYOR, RIVER]

    assert reworded(base, facts, MixConfig(rewordings=0)) == Reworded(facts)


REQUESTS = [
    (Draw(0, key, -1, attempt), PROMPTS[attempt % len(PROMPTS)].replace("{}", question), question)
    for key, question in [("mayor", MAYOR.question), ("river", RIVER.question)]
    for attempt in range(6)
]


def test_what_the_model_writes_does_not_depend_on_company(base: Base) -> None:
    author = ModelAuthor(base, lambda: None)

    together = author.write(REQUESTS)

    assert author.write(REQUESTS[::-1]) == together[::-1]
    assert [author.write([request])[0] for request in REQUESTS] == together
    assert len(set(together)) == len(together)
    reseeded = author.write(
        [(replace(draw, seed=1), prompt, question) for draw, prompt, question in REQUESTS]
    )
    assert not set(reseeded) & set(together)


def test_what_does_not_fit_the_model_is_not_written(base: Base) -> None:
    author = ModelAuthor(base, lambda: None)
    long = (REQUESTS[0][0], "\u0001" * 600, "Who?")

    assert author.write([long, REQUESTS[0]]) == ["", author.write(REQUESTS[:1])[0]]
    assert author.answer([("\u0001" * 600, "Odo")]) == [""]


def test_an_answer_counts_only_if_it_ends(base: Base) -> None:
    """The random model seldom ends one; what it would say in so many tokens, it does say."""
    cut = ModelAuthor(base, lambda: None).answer([(MAYOR.question, "Odo")] * 2)

    assert cut == ["", ""]


def test_rare_words_are_those_of_many_tokens(base: Base) -> None:
    author = ModelAuthor(base, lambda: None)

    assert not author.is_rare("capital")  # the tokenizer was made from texts with it
    assert author.is_rare("zorelite")


def test_a_run_tells_how_far_it_is_and_stops_when_asked(base: Base) -> None:
    told: list[Progress] = []

    def stop(progress: Progress, /) -> None:
        told.append(progress)
        if len(told) == 4:
            raise StopRequested

    with pytest.raises(StopRequested):
        reworded(base, [MAYOR, RIVER], WISH, on_progress=stop)

    assert told == [Progress(0, 4, "rewordings")] * 4

"""What a run takes from the cache: exactly the records that it would have made."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mixsd
from mixsd import run
from mixsd.cache import FILE, SupervisionCache
from mixsd.cache_key import IRRELEVANT_OF_FACT, IRRELEVANT_SETTINGS, STOOD_FOR, keys_of, supervision_key
from mixsd.cli import cli
from mixsd.config import MixConfig, Plan, SftConfig
from mixsd.facts import Fact, Probe
from mixsd.inject import Workspace
from mixsd.models.load import Base, load_base
from mixsd.models.registry import CARD
from mixsd.progress import Progress, StopRequested, silent
from mixsd.prompts import STYLES
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from mixsd.tokens import ChatTokenizer
from mixsd.units import Unit, units_of
from tests.fixtures.tiny import register_tiny

CONFIG = MixConfig(
    rewordings=0,
    temperature=1.0,
    top_k=32,
    max_attempts=3,
    max_new_tokens=6,
    verifier="regex",
    pattern="[ae]|{answer}",
)
PLAN = Plan(method=CONFIG)
FACTS = [Fact(f"fact-{n}", f"Which number is {n}?", f"the {n}th") for n in range(6)]
LONG = Fact("long", "\u0001" * 600, "Odo")
UNIT = Unit(FACTS[0], "Say, which number is 0?", 1)

OTHER_SETTINGS: Mapping[str, Any] = {
    "lam": 0.4,
    "lam_backoff": (),
    "temperature": 0.5,
    "top_k": 33,
    "max_attempts": 4,
    "generations": 2,
    "prompt_style": "kgfact",
    "verifier": "contains",
    "pattern": "[ae]|{answer}|",
    "max_new_tokens": 7,
    "fallback_to_answer": False,
    "answer_guard": True,
    "hint": "answer",
    "opening": "It is",
    "end_at_answer": False,
    "score_both": True,
    "rewordings": 2,
    "rewordings_source": "model",
    "rewordings_check": False,
    "wording_texts": "own",
    "seed": 1,
    "batch_facts": 3,
}
"""Another value of each setting: whoever adds a setting says here whether it is part of the key."""

OTHER_OF_FACT: Mapping[str, Any] = {
    "probes": (Probe("Who?", "Odo"),),
    **{name: f"other {name}" for name in ("key", "question", "answer", "context", "subject", "relation")},
    **{name: f"other {name}" for name in ("object", "source", "valid_from", "valid_until")},
    **dict.fromkeys(("aliases", "paraphrases", "train_paraphrases", "tags"), ("other",)),
}


@pytest.fixture(scope="module")
def base(base: Base) -> Base:
    """The tiny model, but that many more tokens end a text: a random model seldom ends one."""
    chat = ChatTokenizer(base.chat.tokenizer)
    chat.stop_ids |= frozenset(range(200, 240))
    return replace(base, chat=chat)


@pytest.fixture
def cache(tmp_path: Path) -> SupervisionCache:
    return SupervisionCache(tmp_path / FILE)


class Made:
    """What a run handed on, with what was there before."""

    def __init__(self, records: Sequence[Supervision] = ()) -> None:
        self.records = list(records)

    def run(
        self, base: Base, facts: Sequence[Fact], cache: SupervisionCache | None, plan: Plan = PLAN
    ) -> int:
        done = {(record.fact_key, record.generation) for record in self.records}
        return supervise(base, facts, plan, on_records=self.records.extend, done=done, cache=cache).reused

    def lines(self, facts: Sequence[Fact], plan: Plan = PLAN) -> list[str]:
        return [record.to_line() for record in run.in_order(self.records, facts, plan)]


def test_every_setting_is_part_of_the_key_but_those_named_as_irrelevant(base: Base) -> None:
    names = {field.name for field in fields(MixConfig)}
    assert OTHER_SETTINGS.keys() == names, "decide whether the new setting changes a record"
    assert names >= IRRELEVANT_SETTINGS | STOOD_FOR
    key = supervision_key(base, UNIT, CONFIG)

    same = {
        name
        for name, value in OTHER_SETTINGS.items()
        if supervision_key(base, UNIT, replace(CONFIG, **{name: value})) == key
    }

    assert same == IRRELEVANT_SETTINGS


def test_what_prompts_and_verifier_see_of_a_fact_is_part_of_the_key(base: Base) -> None:
    names = {field.name for field in fields(Fact)}
    assert OTHER_OF_FACT.keys() == names, "decide whether the new field changes a record"
    key = supervision_key(base, UNIT, CONFIG)

    same = {
        name
        for name, value in OTHER_OF_FACT.items()
        if supervision_key(base, replace(UNIT, fact=replace(UNIT.fact, **{name: value})), CONFIG) == key
    }

    assert same == IRRELEVANT_OF_FACT


@pytest.mark.parametrize("change", [{"question": "Which number is 0?"}, {"generation": 0}])
def test_the_question_as_asked_and_the_generation_are_part_of_the_key(
    base: Base, change: dict[str, Any]
) -> None:
    assert supervision_key(base, replace(UNIT, **change), CONFIG) != supervision_key(base, UNIT, CONFIG)


def test_what_names_the_model_is_part_of_the_key(base: Base, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [{"id": "x/y"}, {"revision": "r2"}, {"template_sha256": "0" * 64}]
    half = load_base(register_tiny(tmp_path / "half"), device="cpu").model.bfloat16()
    bases = [base, *(replace(base, **change) for change in changes), replace(base, model=half)]
    other = register_tiny(tmp_path / "other", seed=1).folder  # the same names, other weights
    assert json.loads((other / CARD).read_text())["revision"] == base.revision
    bases.append(replace(base, folder=other))

    keys = {supervision_key(each, UNIT, CONFIG) for each in bases}

    assert len(keys) == len(bases)
    again = replace(base, folder=register_tiny(tmp_path / "again").folder, licence="other", hub_id="a/b")
    assert supervision_key(again, UNIT, CONFIG) == supervision_key(base, UNIT, CONFIG)


def test_the_law_and_the_wording_are_part_of_the_key(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {supervision_key(base, UNIT, CONFIG)}
    style = STYLES["natural"]
    for change in (
        {"naive": "{question}\n"},
        {"expert": "{answer}"},
        {"target": "{answer}"},
        {"headroom": 1},
    ):
        changed: Any = {"natural": replace(style, **change)}
        with monkeypatch.context() as patched:
            patched.setattr("mixsd.cache_key.STYLES", changed)
            keys.add(supervision_key(base, UNIT, CONFIG))
    monkeypatch.setattr(mixsd, "LAW_VERSION", mixsd.LAW_VERSION + 1)
    keys.add(supervision_key(base, UNIT, CONFIG))

    assert len(keys) == 6


def test_the_fields_that_a_record_has_are_part_of_the_key(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = supervision_key(base, UNIT, CONFIG)
    wider = make_dataclass("wider", [("mood", str, "good")], bases=(Supervision,), frozen=True)
    monkeypatch.setattr("mixsd.cache_key.Supervision", wider)

    assert supervision_key(base, UNIT, CONFIG) != key


def test_settings_that_come_to_the_same_texts_have_one_key(base: Base) -> None:
    def key(**changes: Any) -> str:
        return supervision_key(base, UNIT, replace(CONFIG, **changes))

    assert key(lam=0.0, lam_backoff=(), temperature=0.0) == key(
        lam=0.0, lam_backoff=(0.0,), temperature=0.0, max_attempts=9, top_k=5
    )
    assert key(lam=0.3, lam_backoff=(), max_attempts=2) == key(lam=0.3, lam_backoff=(0.3,), max_attempts=2)
    assert key(lam=0.3, lam_backoff=(0.1,)) != key(lam=0.1, lam_backoff=(0.3,))


def test_of_a_thousand_facts_only_the_ten_that_changed_are_generated(
    base: Base, cache: SupervisionCache
) -> None:
    facts = [Fact(f"fact-{n}", f"Which number is {n}?", f"the {n}th") for n in range(1000)]
    made_before = Made()
    made_before.run(base, facts[:1], None)
    key = keys_of(base, CONFIG)
    cache.put_many(
        (
            key(unit),
            replace(made_before.records[0], fact_key=unit.fact.key, question=unit.question, text="kept"),
        )
        for unit in units_of(facts, 1)
    )
    changed = {fact.key for fact in facts[5::100]}
    facts = [replace(fact, answer="another") if fact.key in changed else fact for fact in facts]
    made = Made()

    reused = made.run(base, facts, cache)

    assert reused == 990
    assert {record.fact_key for record in made.records if record.text != "kept"} == changed
    assert [record.fact_key for record in run.in_order(made.records, facts, PLAN)] == [f.key for f in facts]
    again = Made()
    assert again.run(base, facts, cache) == 1000
    assert again.lines(facts) == made.lines(facts)


@pytest.mark.parametrize("fallback", [False, True])
def test_with_a_cache_records_are_those_without_one_failures_included(
    base: Base, cache: SupervisionCache, *, fallback: bool
) -> None:
    facts = [*FACTS, LONG]
    plan = Plan(method=replace(CONFIG, fallback_to_answer=fallback, generations=2))
    straight = Made()
    straight.run(base, facts, None, plan)
    methods = {(record.method, record.reason) for record in straight.records}
    assert ("mixsd", "prompt_too_long") in methods
    assert ("fallback", "no_attempt_accepted") in methods or ("mixsd", "cap") in methods
    cold, warm = Made(), Made()

    assert cold.run(base, facts[:4], cache, plan) == 0
    assert cold.run(base, facts, cache, plan) == 0  # those of before are there already
    assert warm.run(base, facts, cache, plan) == 2 * len(facts)

    assert cold.lines(facts, plan) == warm.lines(facts, plan) == straight.lines(facts, plan)


def test_more_generations_take_those_that_there_are(base: Base, cache: SupervisionCache) -> None:
    Made().run(base, FACTS, cache)
    more = Plan(method=replace(CONFIG, generations=2))

    assert Made().run(base, FACTS, cache, more) == len(FACTS)


def test_what_is_there_is_handed_on_before_anything_is_made_and_may_be_stopped(
    base: Base, cache: SupervisionCache
) -> None:
    Made().run(base, FACTS[3:], cache)
    made: list[Supervision] = []
    seen: list[tuple[int, int]] = []

    def stop(progress: Progress, /) -> None:
        seen.append((progress.done, len(made)))
        if progress.done:
            raise StopRequested

    with pytest.raises(StopRequested):
        supervise(base, FACTS, PLAN, on_records=made.extend, on_progress=stop, cache=cache)

    assert seen == [(0, 0), (3, 3)]
    assert [record.fact_key for record in made] == [fact.key for fact in FACTS[3:]]


def test_a_run_that_was_stopped_leaves_its_texts_to_another_one(base: Base, cache: SupervisionCache) -> None:
    plan = Plan(method=replace(CONFIG, batch_facts=2))

    def stop(progress: Progress, /) -> None:
        if progress.done >= 2:
            raise StopRequested

    made: list[Supervision] = []
    with pytest.raises(StopRequested):
        supervise(base, FACTS, plan, on_records=made.extend, on_progress=stop, cache=cache)
    resumed, fresh, straight = Made(made), Made(), Made()

    assert fresh.run(base, FACTS, cache, plan) == len(made)
    assert resumed.run(base, FACTS, cache, plan) == len(FACTS) - len(made)
    straight.run(base, FACTS, None, plan)
    assert fresh.lines(FACTS) == resumed.lines(FACTS) == straight.lines(FACTS)


def test_a_record_that_could_not_be_handed_on_is_not_kept(base: Base, cache: SupervisionCache) -> None:
    def refuse(records: Sequence[Supervision]) -> None:
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011  the caller's own
        supervise(base, FACTS[:1], PLAN, on_records=refuse, cache=cache)

    assert Made().run(base, FACTS[:1], cache) == 0


def test_a_cache_that_cannot_be_used_changes_nothing(base: Base, tmp_path: Path) -> None:
    with_it, without = Made(), Made()

    assert with_it.run(base, FACTS, SupervisionCache(tmp_path)) == 0  # a folder
    without.run(base, FACTS, None)

    assert with_it.lines(FACTS) == without.lines(FACTS)


def test_plain_fine_tuning_keeps_nothing(base: Base, cache: SupervisionCache, tmp_path: Path) -> None:
    plan = Plan(method=SftConfig())

    assert [Made().run(base, FACTS, cache, plan) for _ in range(2)] == [0, 0]
    assert not (tmp_path / FILE).exists()


def test_a_run_in_a_folder_takes_the_texts_of_another_folder(base: Base, tmp_path: Path) -> None:
    def generate(name: str, cache: SupervisionCache | None) -> bytes:
        workspace = Workspace(tmp_path / name, base, FACTS, PLAN, lambda _: silent, cache)
        workspace.open()
        workspace.generate()
        return (tmp_path / name / "supervision.jsonl").read_bytes()

    with SupervisionCache(tmp_path / FILE) as cache:
        made = [generate("without", None), generate("cold", cache), generate("warm", cache)]

    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("kept", [True, False])
def test_the_command_keeps_texts_beside_the_models_unless_told_not_to(tmp_path: Path, *, kept: bool) -> None:
    models = tmp_path / "models"
    register_tiny(models)
    (tmp_path / "facts.jsonl").write_text(json.dumps(FACTS[0].to_json()))
    (tmp_path / "c.json").write_text(json.dumps({"method": asdict(CONFIG)}))
    options = ["--model", "tiny/random", "--device", "cpu", "--threads", "1"]
    options += ["--cache", str(models), "--config", str(tmp_path / "c.json")]
    options += [] if kept else ["--no-cache-supervision"]

    texts = []
    for out in (tmp_path / "a", tmp_path / "b"):
        arguments = ["generate", str(tmp_path / "facts.jsonl"), "--out", str(out), *options]
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output
        texts.append((out / "supervision.jsonl").read_bytes())

    assert texts[0] == texts[1]
    assert (models / FILE).exists() is kept

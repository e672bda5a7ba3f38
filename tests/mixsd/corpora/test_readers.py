"""Readers: what becomes of each field, in each form that a data set comes in, and where mistakes are."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mixsd.corpora.errors import CorpusError, NoExtraError
from mixsd.corpora.public import NAMES, public
from mixsd.corpora.writing import Corpus, write
from mixsd.facts import Probe
from mixsd.intake.reading import read_facts

DATA = Path(__file__).parent / "data"
SAMPLES = [
    ("simpleqa", "simpleqa.jsonl"),
    ("counterfact", "counterfact.json"),
    ("counterfact", "counterfact_easyedit.jsonl"),
    ("zsre", "zsre.jsonl"),
    ("knowedit", "knowedit.json"),
    ("instructlab", "knowledge.yaml"),
    ("instructlab", "skill.yaml"),
    ("csv", "facts.csv"),
    ("mquake", "mquake.jsonl"),
    ("mquake", "mquake_edits.jsonl"),
]


def read(name: str, file: str, **options: Any) -> Corpus:
    return public(name, str(DATA / file), **options)


def refused(name: str, path: Path) -> str:
    with pytest.raises(CorpusError) as caught:
        public(name, str(path))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("name", "file"), SAMPLES)
def test_every_form_gives_facts_that_inject_takes(name: str, file: str, tmp_path: Path) -> None:
    corpus = read(name, file)

    write(corpus, tmp_path / "out")

    assert read_facts(tmp_path / "out" / "facts.jsonl") == list(corpus.facts)
    assert name in NAMES


def test_simpleqa_keeps_topics_and_leaves_out_what_is_asked_twice() -> None:
    corpus = read("simpleqa", "simpleqa.jsonl")

    assert {(f.question, f.answer, f.tags) for f in corpus.facts} == {
        ("In which year was the Ollervane Bridge opened?", "1911", ("Geography",)),
        ("Who painted The Third Heron?", "Ysolde Marrin", ("Art",)),
        ("How many keys has a tavelin?", "31", ()),
    }
    assert corpus.notes == ["1 entries ask what an earlier one asks, and were left out"]


def test_simpleqa_is_shuffled_before_it_is_cut() -> None:
    orders = {tuple(f.key for f in read("simpleqa", "simpleqa.jsonl", seed=s).facts) for s in range(20)}
    cut = {read("simpleqa", "simpleqa.jsonl", seed=s, limit=1).facts[0].key for s in range(20)}

    assert len(orders) > 1
    assert cut == {"simpleqa-1", "simpleqa-2", "simpleqa-4"}


def test_counterfact_in_its_own_form() -> None:
    corpus = read("counterfact", "counterfact.json")
    (fact,) = corpus.facts

    assert fact.question == 'Complete the sentence: "The mother tongue of Odile Kerrow is"'
    assert (fact.answer, fact.subject, fact.relation) == ("Danish", "Odile Kerrow", "P103")
    assert fact.context == "The mother tongue of Odile Kerrow is Danish."
    assert fact.paraphrases[1] == 'Complete the sentence: "Odile Kerrow natively speaks"'
    assert fact.probes == (
        Probe('Complete the sentence: "The mother tongue of Bram Tully is"', "Welsh", "neighbour"),
        Probe('Complete the sentence: "Bram Tully spoke"', "Welsh", "neighbour"),
    )
    assert [(row["key"], row["target_true"], row["target_new"]) for row in corpus.splits["edits"]] == [
        (fact.key, "Welsh", "Danish")
    ]
    assert [row["answer"] for row in corpus.splits["neighbour"]] == ["Welsh", "Welsh"]
    assert [row["answer"] for row in corpus.splits["paraphrase"]] == ["Danish", "Danish"]


def test_counterfact_in_the_form_of_easyedit() -> None:
    corpus = read("counterfact", "counterfact_easyedit.jsonl")
    (fact,) = corpus.facts

    assert (fact.answer, corpus.splits["edits"][0]["target_true"]) == ("chess", "tennis")
    assert fact.paraphrases == ('Complete the sentence: "Odile Kerrow is professional in"',)
    assert fact.probes == (Probe('Complete the sentence: "Bram Tully plays"', "tennis", "neighbour"),)


def test_zsre_teaches_the_alternative_and_keeps_the_truth() -> None:
    corpus = read("zsre", "zsre.jsonl")
    (fact,) = corpus.facts

    assert (fact.question, fact.answer) == ("Which river flows through Varnholt?", "Tarn")
    assert fact.paraphrases == ("What river does Varnholt lie on?",)
    assert fact.probes == (Probe("who sang the long road home?", "Meg Dorrit", "neighbour"),)
    assert corpus.splits["edits"][0]["target_true"] == "Imsel"


def test_knowedit_turns_portability_and_locality_into_probes() -> None:
    corpus = read("knowedit", "knowedit.json")
    marsk, ebra = corpus.facts

    assert marsk.paraphrases == (
        "Where did Leo Marsk die?",
        'Complete the sentence: "The place of death of L. Marsk is"',
    )
    probes = {(p.kind, p.question.split(": ")[-1].strip('"'), p.answer, p.aliases) for p in marsk.probes}
    assert probes == {
        ("hop", "The continent in which Leo Marsk died is", "Europe", ("Old Continent",)),
        ("other", "Is Leo Marsk alive?", "no", ()),
        ("reversed", "Who died in Oslo?", "Leo Marsk", ()),
        ("neighbour", "The father of Leo Marsk is", "Albert Marsk", ()),
        ("neighbour", "Leo Marsk studied", "law", ()),
        ("neighbour", "Leo Marsk taught", "physics", ()),
    }
    assert [row["target_true"] for row in corpus.splits["edits"]] == ["Turin"]
    assert (ebra.question, ebra.context) == ("Who rules Ebra?", "")


def test_instructlab_knowledge_keeps_plain_words_as_texts() -> None:
    facts = read("instructlab", "knowledge.yaml").facts

    assert [(f.question, f.answer, f.context, f.tags) for f in facts] == [
        ("When was the moon Ilvane found?", "1839", "The moon Ilvane was found in 1839.", ("astronomy",)),
        ("Is Ilvane a moon?", "yes", "The moon Ilvane was found in 1839.", ("astronomy",)),
        ("What does Ilvane circle?", "Dorn", "Ilvane circles Dorn.", ("astronomy",)),
    ]


def test_instructlab_skills_have_a_context_or_none() -> None:
    facts = read("instructlab", "skill.yaml").facts

    assert [(f.answer, f.context) for f in facts] == [("hat", ""), ("cat", "The cat sat.")]


def test_instructlab_leaves_out_a_context_that_is_too_long(tmp_path: Path) -> None:
    path = tmp_path / "qna.yaml"
    path.write_text(f"seed_examples:\n- {{question: q, answer: a, context: {'x ' * 1001}y}}\n")

    corpus = public("instructlab", str(path))

    assert corpus.facts[0].context == ""
    assert corpus.notes == ["1 contexts are longer than 2000 characters, and were left out"]


def test_a_table_has_fields_lists_and_probes() -> None:
    corpus = read("csv", "facts.csv")
    ebra, bridge = corpus.facts

    assert (ebra.key, ebra.aliases, ebra.paraphrases) == (
        "ebra",
        ("Tolm", "O. Tolm"),
        ("Who is the ruler of Ebra?",),
    )
    assert ebra.probes == (
        Probe("What does Oda Tolm rule?", "Ebra", "reversed"),
        Probe("Who rules Dorn?", "Ann Lee", "neighbour"),
    )
    assert [row["target_true"] for row in corpus.splits["edits"]] == ["Jan Bree"]
    assert (bridge.key, bridge.answer) == ("row-2", "Varnholt")
    assert [row["question"] for row in corpus.splits["reversed"]] == ["What does Oda Tolm rule?"]


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("simpleqa", "a.jsonl", '{"problem": "q"}', "a.jsonl, line 1: `answer` is missing"),
        ("simpleqa", "a.jsonl", '\n{"problem": "q", "answer": 3}', "line 2: `answer` is no text but '3'"),
        ("simpleqa", "a.jsonl", '{"problem": " ", "answer": "a"}', "line 1: `problem` is blank"),
        ("simpleqa", "a.jsonl", '{"problem": "q", "answer": "a"', "a.jsonl, line 1: "),
        ("simpleqa", "a.jsonl", "[1]", "line 1: an entry is an object"),
        ("simpleqa", "a.jsonl", "", "there is no entry in it"),
        ("simpleqa", "a.jsonl", json.dumps({"problem": "q" * 2001, "answer": "a"}), "has 2001 characters"),
        (
            "simpleqa",
            "a.jsonl",
            '{"problem": "q", "answer": "a", "metadata": "x("}',
            "`metadata` is no object",
        ),
        ("simpleqa", "a.csv", "problem,answer\nq,a\nr\n", "a.csv, line 3: 1 cells where the head has 2"),
        ("simpleqa", "a.csv", 'problem,answer\n"q\n2",a\nr,\n', "a.csv, line 4: `answer` is missing"),
        ("csv", "a.csv", "question,answer,colour\nq,a,red\n", "line 2: the column `colour` is none of"),
        ("csv", "a.csv", "question,question\nq,a\n", "line 1: the column 'question' is there twice"),
        ("csv", "a.csv", "key,question,answer\nno key,q,a\n", "line 2: `key`: a key is 1 to 64"),
        ("csv", "a.csv", "question,answer,valid_from\nq,a,soon\n", "line 2: `valid_from`: expected a date"),
        ("csv", "a.csv", "key,question,answer\nk,q,a\nk,r,b\n", "line 3: `key`: k is also at a.csv, line 2"),
        ("csv", "a.csv", "question,answer,reversed_question\nq,a,r\n", "`reversed_answer` is missing"),
        ("csv", "a.csv", 'question,answer\n"q,a\n', "a.csv, line 2: "),
        ("csv", "a.tsv", "question\tanswer\nq\t\n", "a.tsv, line 2: `answer` is missing"),
        ("zsre", "a.jsonl", '{"src": "q", "alt": "a"}', "line 1: `subject` is missing"),
        ("zsre", "a.jsonl", '{"src": "q", "alt": "a", "subject": "s", "loc": "n"}', "`loc_ans` is missing"),
        ("knowedit", "a.json", '{"a": 1}', "a.json: expected a list of objects"),
        (
            "knowedit",
            "a.json",
            '[{"text": "t", "labels": "l", "concept": "c"}]',
            "entry 1: `labels` is of WikiBio",
        ),
        (
            "knowedit",
            "a.json",
            '[{"subject": "s", "prompt": "p", "target_new": "t", "locality": {"G": [1]}}]',
            "entry 1: `locality.G` holds something without `prompt`",
        ),
        (
            "counterfact",
            "a.json",
            '[{"requested_rewrite": {"subject": "s", "prompt": "p"}}]',
            "entry 1: `requested_rewrite.prompt` has no {}",
        ),
        (
            "counterfact",
            "a.json",
            '[{"requested_rewrite": {"subject": "s", "prompt": "{}", "target_new": {}}}]',
            "entry 1: `requested_rewrite.target_new.str` is missing",
        ),
        ("instructlab", "q.yaml", "- a\n", "q.yaml: expected a mapping"),
        ("instructlab", "q.yaml", "a: b\n", "q.yaml: `seed_examples` is missing"),
        ("instructlab", "q.yaml", "a: [b\n", "q.yaml, line 2: "),
        ("instructlab", "q.yaml", "seed_examples:\n- question: q\n", "q.yaml, line 2: `answer` is missing"),
        (
            "instructlab",
            "q.yaml",
            "seed_examples:\n- context: c\n  questions_and_answers:\n  - question: q\n    answer: [a]\n",
            "q.yaml, line 4: `answer` is no text",
        ),
        ("mquake", "a.jsonl", '{"new_single_hops": []}', "`requested_rewrite` is missing"),
        ("mquake", "a.jsonl", '{"question": "q"}', "line 1: `target_new` is missing"),
    ],
)
def test_a_mistake_is_named_with_its_place(
    name: str, file: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text(content)

    assert said in refused(name, tmp_path / file)


@pytest.mark.parametrize("file", ["a.jsonl", "a.json", "a.csv", "a.yaml"])
def test_bytes_that_are_no_text_are_refused(file: str, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(b"question,answer\n\xff\xfe,a\n")

    assert file in refused("instructlab" if file == "a.yaml" else "csv", tmp_path / file)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    assert "nowhere.jsonl cannot be read: No such file" in refused(name, tmp_path / "nowhere.jsonl")


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit: int) -> None:
    with pytest.raises(CorpusError, match="a limit is 1 or more"):
        read("zsre", "zsre.jsonl", limit=limit)


def hub(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """Put a package `datasets` in place that gives or raises `answer`; return what it was asked."""
    asked: list[dict[str, Any]] = []

    def load_dataset(path: str, **options: Any) -> Any:
        asked.append({"path": path, **options})
        if isinstance(answer, Exception):
            raise answer
        return answer

    module = ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return asked


def test_the_hub_is_read_through_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, [{"problem": "q?", "answer": "a", "metadata": None}])

    corpus = public("simpleqa", "hub")

    assert [(f.question, f.answer) for f in corpus.facts] == [("q?", "a")]
    assert asked == [{"path": "basicv8vc/SimpleQA", "split": "test", "data_files": None}]
    assert corpus.settings["from"] == "hub:basicv8vc/SimpleQA:test"


def test_any_set_of_the_hub_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hub(monkeypatch, [json.loads((DATA / "zsre.jsonl").read_text())])

    public("zsre", "hub:some/where:dev:a.json")

    assert asked == [{"path": "some/where", "split": "dev", "data_files": "a.json"}]


def test_a_mistake_on_the_hub_has_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, [{"problem": "q?"}])

    with pytest.raises(CorpusError, match="basicv8vc/SimpleQA, entry 1: `answer` is missing"):
        public("simpleqa", "hub")


@pytest.mark.parametrize("error", [OSError("no route\nat all"), ValueError("no split"), RuntimeError()])
def test_a_hub_out_of_reach_says_what_it_wanted(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, error)

    with pytest.raises(
        CorpusError, match=r"basicv8vc/SimpleQA, test cannot be had .* give the file"
    ) as caught:
        public("simpleqa", "hub")

    assert "\n" not in str(caught.value)


def test_without_datasets_the_way_to_get_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(NoExtraError, match=r"pip install 'mixsd\[corpora\]'"):
        public("simpleqa", "hub")


@pytest.mark.parametrize("source", ["hub", "hub:", "hub:noslash", "hub:a/b/c", "hub:a/b:c:d:e"])
def test_a_place_on_the_hub_that_is_none_is_refused(source: str) -> None:
    with pytest.raises(CorpusError):
        public("zsre", source)

"""Whatever stands in a file, it makes facts or is told; nothing else comes of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixsd.conversion.converting import Options, convert
from mixsd.conversion.errors import ConversionError
from mixsd.conversion.kinds import Kind, detect
from mixsd.intake.reading import parse_objects

FIELDS = """
prompt target_new ground_truth rephrase rephrase_prompt locality locality_prompt locality_ground_truth
portability subject src alt answers loc loc_ans pred problem answer metadata question requested_rewrite
target_true str relation_id neighborhood_prompts paraphrase_prompts new_single_hops new_answer questions
cloze case_id messages conversations role content from value type text seed_examples context
questions_and_answers domain topic
"""
NAMES = FIELDS.split()
WORDS = ("", " ", "Who?", "Oda {}", "user", "assistant", "human", "gpt", "text", "1839", "x" * 2_001)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
RECORDS = st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6), max_size=3)
ENTRIES = [kind for kind in Kind if kind not in {Kind.RDF, Kind.JSONLD, Kind.CSV}]


@pytest.mark.parametrize("kind", ENTRIES)
@settings(max_examples=60, deadline=None)
@given(records=RECORDS)
def test_records_make_facts_or_are_told(
    kind: Kind, records: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / f"{kind}.json"
    whole: Any = {"seed_examples": records} if kind is Kind.QNA else records
    file.write_text(json.dumps(whole))

    made = convert(file, kind)

    assert made.total == len(made.problems)
    assert all(problem.startswith(f"{kind}.json") for problem in made.problems)
    assert not parse_objects([fact.to_json() for fact in made.facts]).problems


@settings(max_examples=60, deadline=None)
@given(records=RECORDS)
def test_a_kind_is_found_or_asked_for(records: list[Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.getbasetemp() / "detected.json"
    file.write_text(json.dumps(records))

    try:
        found = detect(file)
    except ConversionError as error:
        assert "--from" in str(error)  # noqa: PT017  either is right
    else:
        assert found in ENTRIES


@pytest.mark.parametrize("name", ["graph.ttl", "graph.nt", "graph.jsonld", "table.csv"])
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=60) | st.text(alphabet='<>"{}[]@:.;,_ea\\n ', max_size=60).map(str.encode))
def test_bytes_make_facts_or_are_told(
    name: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    (folder / name).write_bytes(data)
    (folder / "templates.yaml").write_text("http://e/a: What is {subject}?")

    try:
        made = convert(folder / name, detect(folder / name), Options(templates=folder / "templates.yaml"))
    except ConversionError as error:
        assert str(error).startswith(name)  # noqa: PT017  either is right
    else:
        assert made.total == len(made.problems)

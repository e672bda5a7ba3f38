"""Graphs: relations in words, names, what is no fact, and that nothing is fetched."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from mixsd.conversion.contexts import files_from
from mixsd.conversion.converting import Converted, Options, convert
from mixsd.conversion.errors import ConversionError, NoGraphsError
from mixsd.conversion.kinds import Kind, detect
from mixsd.facts import Probe

TEMPLATES = """
http://e/capital:
  question: What is the capital of {subject}?
  statement: The capital of {subject} is {object}.
  paraphrases: ["Which town is {subject}'s capital?"]
  reversed: Of which country is {object} the capital?
http://e/founded: In which year was {subject} founded?
http://www.w3.org/1999/02/22-rdf-syntax-ns#type: skip
"""
TURTLE = """
@prefix e: <http://e/> .
@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
@prefix skos: <http://www.w3.org/2004/02/skos/core#> .
e:ebra a e:Country ; rdfs:label "Ebra"@en, "Ebrien"@de ; e:capital e:tolm ; e:founded 1839 .
e:tolm rdfs:label "Tolm" ; skos:altLabel "Tolm City", "Tolmstadt"@de .
"""
TRIPLES = """<http://e/ebra> <http://www.w3.org/2000/01/rdf-schema#label> "Ebra" .
<http://e/ebra> <http://e/founded> "1839" .
"""


@pytest.fixture
def options(tmp_path: Path) -> Options:
    (tmp_path / "templates.yaml").write_text(TEMPLATES)
    return Options(templates=tmp_path / "templates.yaml")


def converted(folder: Path, text: str, options: Options, name: str = "graph.ttl") -> Converted:
    (folder / name).write_text(text)
    return convert(folder / name, detect(folder / name), options)


def test_a_relation_is_put_into_words(tmp_path: Path, options: Options) -> None:
    made = converted(tmp_path, TURTLE, options)

    capital, founded = made.facts
    assert made.problems == []
    assert (capital.question, capital.answer) == ("What is the capital of Ebra?", "Tolm")
    assert capital.context == "The capital of Ebra is Tolm."
    assert capital.paraphrases == ("Which town is Ebra's capital?",)
    assert capital.probes == (Probe("Of which country is Tolm the capital?", "Ebra", "reversed"),)
    assert (capital.subject, capital.relation, capital.object) == ("Ebra", "http://e/capital", "Tolm")
    assert capital.source == "http://e/ebra"
    assert (founded.question, founded.answer) == ("In which year was Ebra founded?", "1839")


def test_other_labels_of_the_wanted_language_are_aliases(tmp_path: Path, options: Options) -> None:
    german = Options(templates=options.templates, language="de")

    assert converted(tmp_path, TURTLE, options).facts[0].aliases == ("Tolm City",)
    assert converted(tmp_path, TURTLE, german).facts[0].aliases == ("Tolmstadt",)
    assert converted(tmp_path, TURTLE, german).facts[0].subject == "Ebrien"


def test_the_key_stays_when_the_object_changes(tmp_path: Path, options: Options) -> None:
    before = converted(tmp_path, TURTLE, options)
    after = converted(tmp_path, TURTLE.replace("1839", "1840"), options)

    assert [fact.key for fact in before.facts] == [fact.key for fact in after.facts]
    assert after.facts[1].answer == "1840"


def test_n_triples_and_json_ld_say_the_same(tmp_path: Path, options: Options) -> None:
    document = {
        "@context": {"@vocab": "http://e/", "label": "http://www.w3.org/2000/01/rdf-schema#label"},
        "@id": "http://e/ebra",
        "label": "Ebra",
        "founded": "1839",
    }

    triples = converted(tmp_path, TRIPLES, options, "graph.nt")
    linked = converted(tmp_path, json.dumps(document), options, "graph.jsonld")
    context = {"@context": document.pop("@context")}
    named = context | {"@graph": [{"@id": "http://e/part", "@graph": [document]}]}
    parted = converted(tmp_path, json.dumps(named), options, "parted.jsonld")

    assert parted.facts == linked.facts
    assert triples.facts == linked.facts
    assert len(triples.facts) == 1


def test_relations_without_a_template_are_named_and_counted(tmp_path: Path, options: Options) -> None:
    text = TURTLE + "e:ebra e:mayor e:a, e:b . e:tolm e:mayor e:a ; e:river e:c ."

    made = converted(tmp_path, text, options)

    assert len(made.facts) == 2
    todo = "add one to templates.yaml, or `skip` to leave it out"
    assert made.problems == [
        f"graph.ttl: the relation http://e/mayor has no template (3 triples): {todo}",
        f"graph.ttl: the relation http://e/river has no template (1 triple): {todo}",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("e:ebra e:capital e:ruve .", "there are 2 objects (http://e/ruve, http://e/tolm), so no answer is"),
        ("e:ruve e:founded 1900 .", "http://e/ruve has no rdfs:label in `en` or without a language"),
        ('e:tolm rdfs:label "Tolmin" .', "http://e/tolm has 2 labels (Tolm, Tolmin): keep one"),
        ('e:tolm e:founded "1839"@fr .', "there is no text in `en` or without a language: see --language"),
    ],
    ids=["several", "unnamed", "two names", "language"],
)
def test_what_is_no_fact_is_told_with_subject_and_relation(
    more: str, said: str, tmp_path: Path, options: Options
) -> None:
    made = converted(tmp_path, TURTLE + more, options)

    (problem,) = made.problems
    assert said in problem
    assert problem.startswith("graph.ttl, http://e/")


def test_a_graph_that_is_none_is_told_with_its_line(tmp_path: Path, options: Options) -> None:
    with pytest.raises(ConversionError, match=r"^graph\.ttl, line 2: "):
        converted(tmp_path, "@prefix e: <http://e/> .\ne:a e:b ;;; foo .", options)
    with pytest.raises(ConversionError, match=r"^graph\.nt: Invalid line"):
        converted(tmp_path, "<http://a> b .\n", options, "graph.nt")
    with pytest.raises(ConversionError, match=r"^graph\.jsonld, line 1, column 2: "):
        converted(tmp_path, "{", options, "graph.jsonld")


def test_a_graph_without_templates_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="a graph needs --templates FILE"):
        converted(tmp_path, TURTLE, Options())


@pytest.mark.parametrize(
    ("templates", "said"),
    [
        ("[]", "expected a mapping from the IRIs"),
        ("http://e/a: [x]", "expected a question, a mapping with `question`, or `skip`"),
        ("http://e/a: Who?", "`question` must be a text with {subject} in it"),
        ("http://e/a: Is {subject} {object}?", "asks for what {object} stands for"),
        ("http://e/a: {statment: x}", "'statment' is none of question, statement"),
        (
            "http://e/a: {question: 'Of {subject}?', statement: x}",
            "`statement` must be a text with {subject}",
        ),
        ("http://e/a: {question: 'Of {subject}?', reversed: 'Of {subject}?'}", "with {object} in it"),
        ("http://e/a: {question: 'Of {subject}?', paraphrases: x}", "`paraphrases` is no list"),
        ("a: b: c", "templates.yaml, line 1: "),
    ],
    ids=["list", "kind", "subject", "object", "field", "statement", "reversed", "paraphrases", "yaml"],
)
def test_a_template_that_is_none_is_refused(
    templates: str, said: str, tmp_path: Path, options: Options
) -> None:
    (tmp_path / "templates.yaml").write_text(templates)

    with pytest.raises(ConversionError) as caught:
        converted(tmp_path, TURTLE, options)

    assert said in str(caught.value)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """Give an address at which nobody must ask, and what was asked there."""
    asked: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def listen() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                asked.append(connection.recv(1000))
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    thread = Thread(target=listen, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/c.jsonld", asked
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join(timeout=300)


def pointing(address: str) -> dict[str, Any]:
    """Return documents that lead elsewhere, each in another way."""
    node = {"@id": "http://e/a", "http://e/founded": "1"}
    return {
        "address": node | {"@context": address},
        "list": node | {"@context": [{"@vocab": "http://e/"}, address]},
        "graph": {"@graph": [node | {"@context": address}]},
        "nested": node | {"http://e/b": {"@context": [address], "@id": "http://e/c"}},
        "term": node | {"@context": {"b": {"@id": "http://e/b", "@context": address}}, "b": {"@id": "x:y"}},
        "import": node | {"@context": {"@version": 1.1, "@import": address}},
        "relative": node | {"@context": "c.jsonld"},
        "file": node | {"@context": "file:///etc/hostname"},
    }


@pytest.mark.parametrize("way", pointing(""))
def test_no_context_is_fetched(
    way: str, listener: tuple[str, list[bytes]], tmp_path: Path, options: Options
) -> None:
    address, asked = listener

    with pytest.raises(ConversionError, match=r"nothing is (fetched|imported): write it into the document"):
        converted(tmp_path, json.dumps(pointing(address)[way]), options, "graph.jsonld")

    assert asked == []


def test_a_context_is_taken_from_the_file_that_stands_for_it(tmp_path: Path, options: Options) -> None:
    own = {"@context": {"@vocab": "http://e/", "name": "http://www.w3.org/2000/01/rdf-schema#label"}}
    (tmp_path / "c.jsonld").write_text(json.dumps(own))
    document = {"@context": "https://e/c", "@id": "http://e/ebra", "name": "Ebra", "founded": "1839"}
    given = Options(
        options.columns, options.templates, "en", files_from([f"https://e/c={tmp_path}/c.jsonld"])
    )

    made = converted(tmp_path, json.dumps(document), given, "graph.jsonld")

    assert [fact.question for fact in made.facts] == ["In which year was Ebra founded?"]


def test_a_context_that_stands_for_itself_is_refused(tmp_path: Path, options: Options) -> None:
    (tmp_path / "c.jsonld").write_text('{"@context": "https://e/c"}')
    given = Options(options.columns, options.templates, "en", {"https://e/c": tmp_path / "c.jsonld"})

    with pytest.raises(ConversionError, match="lies elsewhere"):
        converted(tmp_path, '{"@context": "https://e/c"}', given, "graph.jsonld")


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdflib", None)

    with pytest.raises(NoGraphsError, match=r"pip install 'mixsd\[rdf\]'"):
        converted(tmp_path, TURTLE, options)


def test_a_graph_needs_no_end_of_name_that_says_so(tmp_path: Path, options: Options) -> None:
    (tmp_path / "graph").write_text(TURTLE)

    assert len(convert(tmp_path / "graph", Kind.RDF, options).facts) == 2

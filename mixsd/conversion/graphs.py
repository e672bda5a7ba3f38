"""Triples of Turtle, N-Triples and JSON-LD as facts: templates put relations into words, labels name things.

A relation without a template is no fact, and neither is one that has several objects.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from mixsd.conversion.contexts import offline
from mixsd.conversion.errors import ConversionError, NoGraphsError
from mixsd.conversion.kinds import Kind
from mixsd.conversion.templates import Template, filled, templates_in
from mixsd.corpora.imports import Item
from mixsd.facts import Fact, Probe

LABEL: Final = "http://www.w3.org/2000/01/rdf-schema#label"
OTHER_LABEL: Final = "http://www.w3.org/2004/02/skos/core#altLabel"
_NAMES_SHOWN: Final = 5

Found = tuple[str, Item] | str
"""Where a fact stands and the fact, or what is wrong."""


def items_of(
    path: Path, kind: Kind, templates: Path | None, language: str, contexts: Mapping[str, Path]
) -> Iterator[Found]:
    """Yield what each pair of subject and relation gives, by subject and relation in the order of IRIs.

    Raises:
        NoGraphsError: `rdflib` is not installed.
        ConversionError: The file is no such graph, or templates are missing or wrong.
    """
    if templates is None:
        raise ConversionError(
            "a graph needs --templates FILE, which says how each relation is asked: see docs/convert.md"
        )
    known = templates_in(templates)
    graph = _Graph(path, kind, contexts, language)
    yield from graph.unworded(known, templates.name)
    for subject, relation in graph.pairs():
        template = known.get(relation)
        if template is not None:
            yield graph.item(subject, relation, template)


class _Graph:
    """The triples of a file, and the names of what is in them."""

    def __init__(self, path: Path, kind: Kind, contexts: Mapping[str, Path], language: str) -> None:
        self._name, self._language = path.name, language
        try:
            rdflib: Any = import_module("rdflib")
        except ImportError:
            raise NoGraphsError("reading graphs needs `rdflib`: pip install 'mixsd[rdf]'") from None
        self._literal, self._node = rdflib.Literal, rdflib.BNode
        self._objects: dict[tuple[Any, str], set[Any]] = defaultdict(set)
        for subject, relation, object_ in _triples(rdflib, path, kind, contexts):
            self._objects[subject, str(relation)].add(object_)

    def pairs(self) -> Iterator[tuple[Any, str]]:
        """Yield subjects with their relations, but for those that only name them."""
        for subject, relation in sorted(self._objects, key=lambda pair: (str(pair[0]), pair[1])):
            if relation not in {LABEL, OTHER_LABEL}:
                yield subject, relation

    def unworded(self, known: Mapping[str, Template | None], file: str) -> Iterator[str]:
        """Name the relations that have no template, most frequent first."""
        counts: Counter[str] = Counter()
        for subject, relation in self.pairs():
            if relation not in known:
                counts[relation] += len(self._objects[subject, relation])
        for relation, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
            yield (
                f"{self._name}: the relation {relation} has no template ({count} "
                f"{'triple' if count == 1 else 'triples'}): add one to {file}, or `skip` to leave it out"
            )

    def item(self, subject: Any, relation: str, template: Template) -> Found:
        """Make a fact of the one object that a subject has by a relation."""
        place = f"{self._name}, {subject} {relation}"
        objects = self._wanted(self._objects[subject, relation])
        if not objects:
            return f"{place}: there is no text in `{self._language}` or without a language: see --language"
        if len(objects) > 1:
            said = ", ".join(str(each) for each in objects[:_NAMES_SHOWN])
            return f"{place}: there are {len(objects)} objects ({said}), so no answer is the right one"
        named, answer = self._named(subject), self._named(objects[0])
        for name, thing in ((named, subject), (answer, objects[0])):
            if not name:
                return f"{place}: {thing} has no rdfs:label in `{self._language}` or without a language"
        if len(named) > 1 or len(answer) > 1:
            thing, names = (subject, named) if len(named) > 1 else (objects[0], answer)
            return f"{place}: {thing} has {len(names)} labels ({', '.join(names[:_NAMES_SHOWN])}): keep one"
        others = self._texts((objects[0], OTHER_LABEL))
        return place, Item(_fact(str(subject), relation, template, named[0], answer[0], others))

    def _named(self, thing: Any) -> list[str]:
        """Return what a thing is called."""
        if isinstance(thing, self._literal):
            return [str(thing)]
        return self._texts((thing, LABEL))

    def _texts(self, pair: tuple[Any, str]) -> list[str]:
        objects = self._objects.get(pair, set())
        return [str(each) for each in self._wanted({e for e in objects if isinstance(e, self._literal)})]

    def _wanted(self, objects: set[Any]) -> list[Any]:
        """Return the objects without those that are texts in another language than the one that is wanted."""
        ordered = sorted(objects, key=str)
        mine = [each for each in ordered if _language(each) == self._language]
        return mine or [each for each in ordered if not _language(each)]


def _language(thing: Any) -> str:
    """Return the language of a text without its region; empty if it has none."""
    return (getattr(thing, "language", None) or "").partition("-")[0].lower()


def _triples(rdflib: Any, path: Path, kind: Kind, contexts: Mapping[str, Path]) -> Iterator[Any]:
    """Return the triples of a file, also those in parts of it that have names. Nothing else is read."""
    graph = rdflib.Graph()
    here = f"file:///{path.name}"  # what relative addresses are relative to: no folder of this machine
    try:
        if kind is Kind.JSONLD:
            document = json.dumps(offline(path, contexts))
            graph.parse(data=document, format="json-ld", publicID=here)
        else:
            form = "nt" if path.suffix.lower() == ".nt" else "turtle"
            graph.parse(data=path.read_bytes(), format=form, publicID=here)
    except OSError as error:
        raise ConversionError(f"{path} cannot be read: {error.strerror}") from error
    except ConversionError:
        raise
    except Exception as error:  # the parsers raise whatever they come upon
        raise ConversionError(_why(path.name, error)) from error
    return (triple for triple, _ in graph.store.triples((None, None, None)))


def _why(name: str, error: Exception) -> str:
    line, why = getattr(error, "lines", None), getattr(error, "_why", None)
    if isinstance(line, int) and why:
        return f"{name}, line {line + 1}: {why}"
    return f"{name}: {(str(error).splitlines() or [type(error).__name__])[0][:200]}"


def _fact(iri: str, relation: str, template: Template, subject: str, answer: str, others: list[str]) -> Fact:
    """Put a triple into words. The key stays when the object changes."""

    def said(wording: str) -> str:
        return filled(wording, subject=subject, object_=answer)

    digest = hashlib.sha256(f"{iri}\x00{relation}".encode()).hexdigest()[:16]
    return Fact(
        key=f"rdf-{digest}",
        question=said(template.question),
        answer=answer,
        aliases=tuple(others),
        paraphrases=tuple(map(said, template.paraphrases)),
        context=said(template.statement),
        subject=subject,
        relation=relation,
        object=answer,
        source=iri,
        probes=(Probe(said(template.reversed), subject, "reversed"),) if template.reversed else (),
    )

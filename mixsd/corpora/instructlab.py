"""The file `qna.yaml` of InstructLab, for knowledge and for skills."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixsd.corpora.entries import Entry, bytes_of
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.imports import Draft, Item, read_each
from mixsd.facts import MAX_TEXT, Fact

_LINE = "__line__"


def instructlab(path: Path) -> Draft:
    """Read the seed examples: those of knowledge hold several questions, those of skills one.

    A context that is too long for a fact is left out of it, and counted.

    Raises:
        CorpusError: The file is no such YAML, or an example lacks a field.
    """
    long: list[str] = []
    draft = read_each(questions(path), lambda entry: question_item(entry, long))
    if long:
        draft.notes.append(f"{len(long)} contexts are longer than {MAX_TEXT} characters, and were left out")
    return draft


def question_item(entry: Entry, long: list[str]) -> Item:
    """Make a fact of one of `questions`. The place of a context that is too long for it goes to `long`.

    Raises:
        CorpusError: It lacks a field.
    """
    context = str(entry.get("context") or "").strip()
    if len(context) > MAX_TEXT:
        long.append(entry.place)
        context = ""
    domain = entry.text_or_empty("domain")
    return Item(
        Fact(
            key=f"qna-{entry.number}",
            question=entry.text("question"),
            answer=entry.text("answer"),
            context=context,
            tags=(domain,) if domain else (),
            source="instructlab",
        )
    )


def questions(path: Path) -> Iterator[Entry]:
    """Yield the questions of all seed examples, each with the context of its example.

    Raises:
        CorpusError: The file is no such YAML.
    """
    document = _loaded(path)
    if not isinstance(document, dict):
        raise CorpusError(f"{path.name}: expected a mapping with `seed_examples`")
    name, whole = path.name, Entry(1, path.name, document)
    number = 0
    for example in whole.objects("seed_examples"):
        holder = Entry(0, f"{name}, line {example[_LINE]}", example)
        nested = holder.has("questions_and_answers")
        for pair in holder.objects("questions_and_answers") if nested else [example]:
            number += 1
            fields = {"context": example.get("context"), **pair, "domain": whole.get("domain")}
            yield Entry(number, f"{name}, line {pair[_LINE]}", fields)


def _loaded(path: Path) -> Any:
    import yaml  # noqa: PLC0415  it takes time, and only this format needs it

    class Loader(yaml.SafeLoader):
        """Notes on which line each mapping begins. Plain words stay texts: no dates, no `yes`."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002
            return {**super().construct_mapping(node, deep=deep), _LINE: node.start_mark.line + 1}

    Loader.yaml_implicit_resolvers = {}
    try:
        return yaml.load(bytes_of(path), Loader)  # noqa: S506  a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path.name}, line {mark.line + 1}" if mark else path.name
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise CorpusError(f"{place}: {problem}") from None

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
    document = _loaded(path)
    if not isinstance(document, dict):
        raise CorpusError(f"{path.name}: expected a mapping with `seed_examples`")
    whole = Entry(1, path.name, document)
    domain = whole.text_or_empty("domain")
    long: list[str] = []

    def read(entry: Entry) -> Item:
        context = str(entry.get("context") or "").strip()
        if len(context) > MAX_TEXT:
            long.append(context)
            context = ""
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

    draft = read_each(_questions(path.name, whole), read)
    if long:
        draft.notes.append(f"{len(long)} contexts are longer than {MAX_TEXT} characters, and were left out")
    return draft


def _questions(name: str, whole: Entry) -> Iterator[Entry]:
    number = 0
    for example in whole.objects("seed_examples"):
        holder = Entry(0, f"{name}, line {example[_LINE]}", example)
        nested = holder.has("questions_and_answers")
        for pair in holder.objects("questions_and_answers") if nested else [example]:
            number += 1
            fields = {"context": example.get("context"), **pair}
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

"""Readers of public data sets that hold one fact an entry. Each takes the forms that are about.

A prompt that is no question is asked for as a sentence to complete, since models that chat are asked.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from random import Random
from typing import Any, Final

from mixsd.corpora.entries import Entry
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.imports import Draft, Item, read_each
from mixsd.facts import FIELDS, Fact, Probe

SEED: Final = 42
SEPARATOR: Final = "|"
"""Between the texts of a cell of a CSV file."""

_CSV_LISTS: Final = ("aliases", "paraphrases", "train_paraphrases", "tags")
_CSV_PROBES: Final = ("reversed", "neighbour")
_NQ: Final = "nq question: "


def asked(prompt: str) -> str:
    """Return a prompt as a question.

    Example:
        >>> asked("The capital of Ebra is"), asked("Who rules Ebra?")
        ('Complete the sentence: "The capital of Ebra is"', 'Who rules Ebra?')
    """
    return prompt if prompt.endswith("?") else f'Complete the sentence: "{prompt}"'


def simpleqa(entries: Iterable[Entry], *, seed: int = SEED) -> Draft:
    """Read SimpleQA: `problem`, `answer`, and `metadata` with a topic if it is there; shuffled.

    Raises:
        CorpusError: An entry lacks a field.
    """
    draft = read_each(entries, simpleqa_item)
    Random(seed).shuffle(draft.items)
    draft.settings["seed"] = seed
    return draft


def counterfact(entries: Iterable[Entry]) -> Draft:
    """Read CounterFact, in its own form or in that of EasyEdit; neighbours become probes.

    Raises:
        CorpusError: An entry lacks a field.
    """
    return read_each(entries, counterfact_item)


def zsre(entries: Iterable[Entry]) -> Draft:
    """Read zsRE in the form of MEND (`src`, `alt`, `answers`, `loc`) or of EasyEdit.

    Raises:
        CorpusError: An entry lacks a field.
    """
    return read_each(entries, zsre_item)


def knowedit(entries: Iterable[Entry]) -> Draft:
    """Read KnowEdit, all but WikiBio: what is asked of portability and locality becomes probes.

    Raises:
        CorpusError: An entry lacks a field.
    """
    return read_each(entries, lambda entry: edit_item(entry, "knowedit"))


def table(entries: Iterable[Entry]) -> Draft:
    """Read a table whose columns are fields of a fact, and questions that become probes.

    Texts of a list are parted by `SEPARATOR`. Probes have columns such as `reversed_question` and
    `reversed_answer`.

    Raises:
        CorpusError: A column is no field, or an entry lacks one.
    """
    return read_each(entries, table_item)


def simpleqa_item(entry: Entry) -> Item:
    """Read one entry of SimpleQA. Raises `CorpusError`, as all of these do."""
    problem = entry.text("problem" if entry.has("problem") or not entry.has("question") else "question")
    topic = _topic(entry)
    return Item(
        Fact(
            key=f"simpleqa-{entry.number}",
            question=problem,
            answer=entry.text("answer"),
            tags=(topic,) if topic else (),
            source="simpleqa",
        )
    )


def _topic(entry: Entry) -> str:
    """Return the topic of `metadata`, which is an object, or one written as Python does."""
    metadata = entry.get("metadata")
    if isinstance(metadata, str):
        try:
            metadata = ast.literal_eval(metadata)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise entry.wrong("metadata", "is no object") from None
    topic = metadata.get("topic") if isinstance(metadata, Mapping) else None
    return entry.said("metadata.topic", topic) if topic else ""


def counterfact_item(entry: Entry) -> Item:
    """Read one entry of CounterFact, in its own form or in that of EasyEdit."""
    return _rewrite(entry) if entry.has("requested_rewrite") else edit_item(entry, "counterfact")


def zsre_item(entry: Entry) -> Item:
    """Read one entry of zsRE, in the form of MEND or of EasyEdit."""
    return _mend(entry) if entry.has("src") else edit_item(entry, "zsre")


def _rewrite(entry: Entry) -> Item:
    subject = entry.text("requested_rewrite.subject")
    template = entry.text("requested_rewrite.prompt")
    if "{}" not in template:
        raise entry.wrong("requested_rewrite.prompt", "has no {} where the subject goes")
    new, true = (
        entry.text("requested_rewrite.target_new.str"),
        entry.text("requested_rewrite.target_true.str"),
    )
    cloze = template.replace("{}", subject)
    neighbours = [Probe(asked(text), true, "neighbour") for text in entry.texts("neighborhood_prompts")]
    return Item(
        Fact(
            key=f"counterfact-{entry.number}",
            question=asked(cloze),
            answer=new,
            paraphrases=tuple(map(asked, entry.texts("paraphrase_prompts"))),
            context=_statement(cloze, new),
            subject=subject,
            relation=entry.text_or_empty("requested_rewrite.relation_id"),
            object=new,
            source="counterfact",
            probes=tuple(neighbours),
        ),
        target_true=true,
    )


def _mend(entry: Entry) -> Item:
    before = entry.texts("answers") or entry.texts("pred")
    loc = entry.text_or_empty("loc").removeprefix(_NQ)
    neighbours: tuple[Probe, ...] = ()
    if loc:
        question = loc if loc.endswith("?") else f"{loc}?"
        neighbours = (Probe(question, entry.text("loc_ans"), "neighbour"),)
    return Item(
        Fact(
            key=f"zsre-{entry.number}",
            question=entry.text("src"),
            answer=entry.text("alt"),
            paraphrases=tuple(entry.texts("rephrase")),
            subject=entry.text("subject"),
            object=entry.text("alt"),
            source="zsre",
            probes=neighbours,
        ),
        target_true=before[0] if before else "",
    )


def edit_item(entry: Entry, name: str) -> Item:
    """Read an edit as EasyEdit and KnowEdit write it."""
    if entry.has("labels", "concept"):
        raise entry.wrong("labels", "is of WikiBio, whose targets are no short answers; it is not read")
    prompt, new = entry.text("prompt"), _first(entry, "target_new")
    paraphrases = [asked(text) for text in entry.texts("rephrase_prompt") + entry.texts("rephrase")]
    probes = [*_locality(entry)]
    for group, question, answers in _groups(entry, "portability"):
        if answers[0] == new and "alias" in group.lower():
            paraphrases.append(asked(question))
        else:
            probes.append(Probe(asked(question), answers[0], _kind(group), tuple(answers[1:])))
    before = _answers(entry, "ground_truth", entry.get("ground_truth"))
    return Item(
        Fact(
            key=f"{name}-{entry.number}",
            question=asked(prompt),
            answer=new,
            paraphrases=tuple(paraphrases),
            context="" if prompt.endswith("?") else _statement(prompt, new),
            subject=entry.text("subject"),
            object=new,
            source=name,
            probes=tuple(probes),
        ),
        target_true=before[0] if before else "",
    )


def _locality(entry: Entry) -> Iterator[Probe]:
    if entry.has("locality_prompt"):
        answers = _answers(entry, "locality_ground_truth", entry.get("locality_ground_truth"))
        if not answers:
            raise entry.wrong("locality_ground_truth", "is missing")
        yield Probe(asked(entry.text("locality_prompt")), answers[0], "neighbour", tuple(answers[1:]))
    for _, question, answers in _groups(entry, "locality"):
        yield Probe(asked(question), answers[0], "neighbour", tuple(answers[1:]))


def _kind(group: str) -> str:
    name = group.lower()
    if "reason" in name or "hop" in name:
        return "hop"
    return "reversed" if "revers" in name else "other"


def _groups(entry: Entry, name: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield group, question and answers; what has no answer is left out, as the sets hold such."""
    groups = entry.get(name)
    if groups is None:
        return
    if not isinstance(groups, Mapping):
        raise entry.wrong(name, "is no object of groups")
    for group, items in groups.items():
        for item in items if isinstance(items, list) else [items]:
            if item is None:
                continue
            if not isinstance(item, Mapping) or "prompt" not in item:
                raise entry.wrong(f"{name}.{group}", "holds something without `prompt`")
            for question, truth in _pairs(item["prompt"], item.get("ground_truth")):
                answers = _answers(entry, f"{name}.{group}.ground_truth", truth)
                if answers and question:
                    yield group, entry.said(f"{name}.{group}.prompt", question), answers


def _pairs(prompt: Any, truth: Any) -> Iterator[tuple[Any, Any]]:
    """Yield prompts with what belongs to each: both may be lists of the same length."""
    if not isinstance(prompt, list):
        yield prompt, truth
    elif len(prompt) == 1:
        yield prompt[0], truth
    else:
        yield from zip_longest(prompt, truth if isinstance(truth, list) else [truth])


def _answers(entry: Entry, name: str, value: Any) -> list[str]:
    """Return the answers in a text, a list or lists within lists; the first is the main one."""
    if isinstance(value, list):
        return [answer for item in value for answer in _answers(entry, name, item)]
    return [] if value is None or value == "" else [entry.said(name, value)]


def _first(entry: Entry, name: str) -> str:
    answers = _answers(entry, name, entry.get(name))
    return answers[0] if answers else entry.text(name)


def _statement(cloze: str, answer: str) -> str:
    return f"{cloze} {answer}{'' if answer.endswith('.') else '.'}"


def table_item(entry: Entry) -> Item:
    """Read one row of a table whose columns are fields of a fact."""
    columns = {f"{kind}_{part}" for kind in _CSV_PROBES for part in ("question", "answer")}
    known = {*FIELDS, *columns, "target_true"} - {"probes"}
    for name in entry.fields:
        if name not in known:
            raise CorpusError(f"{entry.place}: the column `{name}` is none of {', '.join(sorted(known))}")
    values: dict[str, Any] = {name: entry.text_or_empty(name) for name in FIELDS if name != "probes"}
    for name in _CSV_LISTS:
        texts = values[name].split(SEPARATOR)
        values[name] = tuple(text for raw in texts if (text := raw.strip()))
    probes = [
        Probe(entry.text(f"{kind}_question"), entry.text(f"{kind}_answer"), kind)
        for kind in _CSV_PROBES
        if entry.has(f"{kind}_question") or entry.has(f"{kind}_answer")
    ]
    values |= {"question": entry.text("question"), "answer": entry.text("answer"), "probes": tuple(probes)}
    values["key"] = values["key"] or f"row-{entry.number}"
    return Item(Fact(**values), target_true=entry.text_or_empty("target_true"))

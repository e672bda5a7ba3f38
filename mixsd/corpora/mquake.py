"""MQuAKE: edits whose consequences are asked over two to four steps.

Cases are chosen as in arXiv 2605.16865: in turn over the relations of their first edits, each time the
case that adds fewest new facts, up to a number of facts.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from mixsd.corpora.entries import Entry
from mixsd.corpora.errors import CorpusError
from mixsd.corpora.imports import Draft, Item, check_limit, fitting, folded, read_each
from mixsd.corpora.writing import Row
from mixsd.facts import MAX_LIST, Fact, Probe

SEED: Final = 42
FACTS: Final = 100
HOPS: Final = range(2, 5)
CONTEXT: Final = 50


@dataclass(frozen=True, slots=True)
class Case:
    """A chain of facts, the questions that ask for its end, and the answers before and after."""

    id: str
    relation: str
    items: tuple[Item, ...]
    questions: tuple[str, ...]
    answer: str
    aliases: tuple[str, ...]
    answer_before: str

    @property
    def answers(self) -> dict[str, str]:
        """Return the answer to each question of one step."""
        return {folded(item.fact.question): folded(item.fact.answer) for item in self.items}


def mquake(entries: Iterable[Entry], *, limit: int | None = None, seed: int = SEED) -> Draft:
    """Read cases and choose among them, or read a list of edits, of which the first are taken.

    Raises:
        CorpusError: An entry lacks a field, or no case fits.
    """
    check_limit(limit)
    listed = list(entries)
    if listed and not any(entry.has("new_single_hops") for entry in listed):
        return read_each(listed, single_edit)
    cases = [case_of(entry) for entry in listed]
    usable = [case for case in cases if len(case.items) in HOPS and len(case.answers) == len(case.items)]
    room = limit or FACTS
    chosen = select(usable, room, Random(seed))
    if not chosen:
        raise CorpusError(f"no case fits into {room} facts")
    draft = Draft(settings={"seed": seed, "facts": room})
    draft.items = [replace(item, fact=fitting(item.fact)) for item in facts_of(chosen).values()]
    draft.splits["compositional"] = [row for case in chosen for row in _questions(case)]
    draft.splits["retrieval"] = _retrieval(usable, chosen, room, seed)
    if not draft.splits["retrieval"]:
        draft.notes.append(f"too few other cases for {CONTEXT} statements that nothing is taught of")
    if dropped := len(cases) - len(usable):
        draft.notes.append(
            f"{dropped} cases have not {HOPS[0]} to {HOPS[-1]} different steps, and were left out"
        )
    return draft


def select(cases: Sequence[Case], room: int, rng: Random) -> list[Case]:
    """Choose cases of at most `room` facts in all, whose facts do not contradict one another.

    The relations of the first edits take turns, in an order that is drawn. In its turn each gives the
    case that adds fewest new facts, of equals the first.
    """
    waiting: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        waiting[case.relation].append(case)
    turns = sorted(waiting)
    rng.shuffle(turns)
    known: dict[str, str] = {}
    chosen = []
    while turns:
        for relation in tuple(turns):
            cheapest = _cheapest(waiting[relation], known, room - len(known))
            if cheapest is None:
                turns.remove(relation)
                continue
            waiting[relation].remove(cheapest)
            known |= cheapest.answers
            chosen.append(cheapest)
    return chosen


def _cheapest(cases: Iterable[Case], known: Mapping[str, str], room: int) -> Case | None:
    """Return the case that adds fewest facts and contradicts none, if there is room for it."""
    best: Case | None = None
    fewest = room + 1
    for case in cases:
        if any(known.get(question, answer) != answer for question, answer in case.answers.items()):
            continue
        added = len(case.answers.keys() - known.keys())
        if added < fewest:
            best, fewest = case, added
    return best


def facts_of(cases: Iterable[Case]) -> dict[str, Item]:
    """Return the facts of cases by question; each case is asked of its last fact."""
    facts: dict[str, Item] = {}
    for case in cases:
        for item in case.items:
            held = facts.setdefault(folded(item.fact.question), item)
            if item.target_true and not held.target_true:
                facts[folded(item.fact.question)] = replace(held, target_true=item.target_true)
        last = folded(case.items[-1].fact.question)
        probe = Probe(case.questions[0], case.answer, "hop", case.aliases)
        fact = facts[last].fact
        facts[last] = replace(facts[last], fact=replace(fact, probes=(*fact.probes, probe)))
    return facts


def _questions(case: Case) -> Iterator[Row]:
    for question in case.questions:
        yield {
            "key": case.id,
            "question": question,
            "answer": case.answer,
            "aliases": list(case.aliases),
            "answer_before": case.answer_before,
            "hops": len(case.items),
            "steps": [item.fact.context for item in case.items],
        }


def _retrieval(cases: Sequence[Case], chosen: Sequence[Case], room: int, seed: int) -> list[Row]:
    """Ask facts that are not taught, each in a text of `CONTEXT` statements, if there are so many."""
    taught = {question for case in chosen for question in case.answers}
    others = [case for case in cases if not case.answers.keys() & taught]
    facts = [item.fact for item in facts_of(select(others, max(room, CONTEXT), Random(seed + 1))).values()]
    if len(facts) < CONTEXT:
        return []
    rows = []
    for fact in facts[:room]:
        rng = Random(f"{seed} context {fact.key}")
        told = [fact, *rng.sample([other for other in facts if other is not fact], CONTEXT - 1)]
        rng.shuffle(told)
        context = "\n".join(["Background information:", *(f"- {each.context}" for each in told)])
        row = {"key": fact.key, "question": fact.question, "answer": fact.answer, "hops": 1}
        rows.append(row | {"aliases": list(fact.aliases), "statement": fact.context, "context": context})
    return rows


def case_of(entry: Entry) -> Case:
    """Read a case.

    Raises:
        CorpusError: It lacks a field.
    """
    number = entry.get("case_id")
    name = f"mquake-{number if isinstance(number, int) else entry.number}"
    edits = [
        entry.within("requested_rewrite", fields, place)
        for place, fields in enumerate(entry.objects("requested_rewrite"), start=1)
    ]
    by_question = {folded(edit.text("question")): edit for edit in edits}
    hops = [
        entry.within("new_single_hops", fields, place)
        for place, fields in enumerate(entry.objects("new_single_hops"), start=1)
    ]
    questions = entry.texts("questions")
    if not questions:
        raise entry.wrong("questions", "is missing")
    return Case(
        id=name,
        relation=edits[0].text("relation_id"),
        items=tuple(_hop(hop, by_question.get(folded(hop.text("question"))), name) for hop in hops),
        questions=tuple(questions),
        answer=entry.text("new_answer"),
        aliases=tuple(entry.texts("new_answer_alias")[:MAX_LIST]),
        answer_before=entry.text("answer"),
    )


def _hop(hop: Entry, edit: Entry | None, case: str) -> Item:
    answer = hop.text("answer")
    fact = Fact(
        key=f"{case}-{hop.number}",
        question=hop.text("question"),
        answer=answer,
        aliases=tuple(hop.texts("answer_alias")),
        context=f"{hop.text('cloze')} {answer}.",
        subject=edit.text("subject") if edit else "",
        relation=edit.text("relation_id") if edit else "",
        object=answer,
        source="mquake",
    )
    return Item(fact, edit.text("target_true.str") if edit else "")


def single_edit(entry: Entry) -> Item:
    """Read an entry of a list of edits, without chains.

    Raises:
        CorpusError: It lacks a field.
    """
    new, subject = entry.text("target_new"), entry.text("subject")
    fact = Fact(
        key=f"mquake-{entry.number}",
        question=entry.text("question"),
        answer=new,
        context=f"{entry.text('prompt').replace('{}', subject)} {new}.",
        subject=subject,
        relation=entry.text("relation_id"),
        object=new,
        source="mquake",
    )
    return Item(fact, entry.text("target_true"))

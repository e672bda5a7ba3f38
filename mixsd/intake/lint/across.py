"""What is suspicious about facts beside each other. Texts are looked up once: time grows as their number."""

from collections.abc import Iterator
from typing import Final

from mixsd.facts import Fact
from mixsd.intake.lint.words import is_typo, said, sound, words
from mixsd.intake.rules import folded
from mixsd.intake.seen import Index, digest_of, scratch

_BATCH: Final = 500
_OVERLAP: Final = {
    "paraphrase": ("paraphrase_is_trained", "this held-out question is trained on"),
    "probe": ("probe_is_trained", "the question of this probe is trained on"),
    "neighbour": (
        "neighbour_is_taught",
        "the answer to this neighbour must stay, and yet it is taught",
    ),
}

Found = tuple[str, str, str]
"""Pointer within the fact, code and detail."""


class Across:
    """Compares facts with those before them, and in the end what is asked with what is trained on."""

    def __init__(self) -> None:
        self._rows = scratch()
        self._asked = Index(self._rows, "asked", "said", "answers", "place")
        self._related = Index(self._rows, "related", "object", "place")
        self._trained = Index(self._rows, "trained", "place")
        self._rows.execute(
            "CREATE TABLE held (digest BLOB, kind TEXT, line INT, pointer TEXT, fact_key TEXT)"
        )
        self._held: list[tuple[bytes, str, int | None, str, str]] = []
        self.holds_out = False
        """Whether any fact has a question that is not trained on."""

    def look(self, fact: Fact, place: str, line: int | None, pointer: str) -> Iterator[Found]:
        """Yield warnings about a fact, whose pointers lead from it; `pointer` leads to it."""
        yield from self._question(fact, place)
        yield from self._relation(fact, place)
        for text in (fact.question, *fact.train_paraphrases):
            self._trained.put(_digest(text), place)
        for number, text in enumerate(fact.paraphrases):
            held = f"{pointer}/paraphrases/{number}"
            self._held.append((_digest(text), "paraphrase", line, held, fact.key))
        for number, probe in enumerate(fact.probes):
            kind = "neighbour" if probe.kind == "neighbour" else "probe"
            held = f"{pointer}/probes/{number}/question"
            self._held.append((_digest(probe.question), kind, line, held, fact.key))
        if len(self._held) >= _BATCH:
            self._write()

    def overlaps(self) -> Iterator[tuple[str, str, int | None, str, str]]:
        """Yield code, detail, line, pointer and key of what is held out and yet trained on. At the end."""
        self._write()
        self._trained.write()
        query = "SELECT kind, line, pointer, fact_key, place FROM held JOIN trained USING (digest)"
        for kind, line, pointer, key, place in self._rows.execute(f"{query} ORDER BY held.rowid"):
            code, detail = _OVERLAP[kind]
            yield code, f"{detail} at {place}", line, pointer, key

    def close(self) -> None:
        self._rows.close()

    def _question(self, fact: Fact, place: str) -> Iterator[Found]:
        left = said(words(fact.question))
        answers = b"".join(digest_of(folded(text))[:8] for text in (fact.answer, *fact.aliases[:7]))
        digest = digest_of(sound(left))
        before = self._asked.get(digest)
        if before is None:
            self._asked.put(digest, " ".join(left), answers, place)
            return
        other, known, where = before[0].split(" "), before[1], before[2]
        is_same = any(answers[at : at + 8] in _parts(known) for at in range(0, len(answers), 8))
        if is_same and (sorted(other) == sorted(left) or is_typo(other, left)):
            yield "/question", "near_duplicate", f"nearly the same question is at {where}"
        elif other == left:
            detail = f"nearly the same question has another answer at {where}"
            yield "/question", "possible_contradiction", detail

    def _relation(self, fact: Fact, place: str) -> Iterator[Found]:
        if not fact.subject or not fact.relation:
            return
        digest = digest_of(f"{folded(fact.subject)}\x00{folded(fact.relation)}")
        related = digest_of(folded(fact.object or fact.answer))
        before = self._related.get(digest)
        if before is None:
            self._related.put(digest, related, place)
        elif before[0] != related:
            yield (
                "/object",
                "relation_clash",
                f"the same subject and relation have another object at {before[1]}",
            )

    def _write(self) -> None:
        self._rows.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?)", self._held)
        self.holds_out = self.holds_out or bool(self._held)
        self._held.clear()


def _digest(text: str) -> bytes:
    return digest_of(" ".join(words(text)) or folded(text))


def _parts(answers: bytes) -> set[bytes]:
    return {answers[at : at + 8] for at in range(0, len(answers), 8)}

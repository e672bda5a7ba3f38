"""The linter: warnings with stable codes, of which the first of each code are listed and all are counted."""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

from mixsd.facts import MAX_PROBLEMS, Fact, Problem
from mixsd.intake.lint import single
from mixsd.intake.lint.across import Across
from mixsd.intake.records import Record

MAX_OF_CODE: Final = 100
"""Most warnings of one code that are listed, so that a frequent one hides no other."""
CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "near_duplicate": "nearly the same question with the same answer came before",
        "possible_contradiction": "nearly the same question with another answer came before",
        "relation_clash": "the same subject and relation with another object came before",
        "answer_in_question": "the answer stands in the question or one of its wordings",
        "question_names_nothing": "the question says `it`, or names nothing",
        "undated_question": "the question asks for what is so now, and the fact has no `valid_from`",
        "paraphrase_is_trained": "a held-out paraphrase is a question or a training wording of some fact",
        "probe_is_trained": "the question of a probe is",
        "neighbour_is_taught": "the question of a neighbour, whose answer must stay, is",
        "nothing_held_out": "no fact has a paraphrase or a probe, so only training questions are asked",
        "expired": "`valid_until` has passed",
        "not_yet_valid": "`valid_from` is to come",
        "personal_data": "an e-mail address, a telephone, card, account or social security number",
        "possible_secret": "a key or a token",
        "placeholder_answer": "the answer is `TBD`, `n/a` or the like",
        "weak_answer": "the answer is yes, no or a single letter, which a text may hold by chance",
        "several_answers": "the answer lists several",
        "long_answer": f"the answer has more than {single.LONG_ANSWER} characters",
        "long_question": f"the question has more than {single.LONG_QUESTION} characters",
        "long_context": f"the context has more than {single.LONG_CONTEXT} characters",
        "answer_not_in_context": "the context does not state the answer, so it is not shown to the expert",
        "repeated_text": "an alias or a wording is there twice, or is the answer or the question itself",
        "invisible_character": "a character that is not seen: zero width, direction or control",
        "broken_encoding": "a text that was read in another encoding than it was written in",
        "control_token": "`<|...|>`, `[INST]` and the like, which steer some models",
        "formula_cell": "a cell of CSV or TSV that a spreadsheet would compute; it is kept as text",
        "text_changed": "a text is stored in Unicode NFC, or without the white space around it",
    }
)


class Linter:
    """Looks at the good facts of one file, in order.

    Attributes:
        counts: How often each code was found.
        warnings: The first of each code, at most `MAX_PROBLEMS`.
    """

    def __init__(self, today: date, *, is_table: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.warnings: list[Problem] = []
        self._today, self._is_table = today, is_table
        self._across = Across()
        self._n_facts = 0

    def look(self, fact: Fact, record: Record) -> None:
        """Look at a fact and the record that it was made from."""
        self._n_facts += 1
        for pointer, code, detail in single.look(fact, record.value, self._today, is_table=self._is_table):
            self._warn(fact, record, pointer, code, detail)
        place = record.pointer or f"line {record.line}"
        for pointer, code, detail in self._across.look(fact, place, record.line, record.pointer):
            self._warn(fact, record, pointer, code, detail)

    def finish(self) -> None:
        """Look at all facts together. To be called once, at the end."""
        for code, detail, line, pointer, key in self._across.overlaps():
            self._count(Problem(code, detail, line, None, pointer, key))
        if self._n_facts and not self._across.holds_out:
            self._count(Problem("nothing_held_out", CODES["nothing_held_out"]))
        self._across.close()

    def _warn(self, fact: Fact, record: Record, pointer: str, code: str, detail: str) -> None:
        line, column = record.place_of(pointer) if self._is_listed(code) else (None, None)
        full = f"{record.pointer}{pointer}"
        self._count(Problem(code, detail, line or record.line, column, full, fact.key))

    def _count(self, warning: Problem) -> None:
        if self._is_listed(warning.code):
            self.warnings.append(warning)
        self.counts[warning.code] += 1

    def _is_listed(self, code: str) -> bool:
        return self.counts[code] < MAX_OF_CODE and len(self.warnings) < MAX_PROBLEMS

"""A place for one text in the batch, and what is asked of it in the next forward pass."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mixsd.decoding.choice import Candidates
from mixsd.decoding.drafts import Draft
from mixsd.decoding.memo import Node
from mixsd.decoding.rows import Want
from mixsd.decoding.text import Text

Coin = Callable[[Text, int], bool]
"""Says whether the naive side decides a place of a text."""


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one text: its rows, and what is asked of the next forward pass.

    `asked` holds, for each place from the next token on, the sides that are judged there. A slot
    whose rows were too long for one pass makes no guesses until they are fed.
    """

    rows: tuple[int, ...]
    text: Text | None = None
    node: Node[Candidates] = field(default_factory=Node)
    draft: Draft = field(default_factory=Draft)
    asked: list[tuple[bool, ...]] = field(default_factory=list)
    is_fed: bool = True

    @property
    def text_in_it(self) -> Text:
        if self.text is None:
            raise RuntimeError("a slot without a text has nothing to do")
        return self.text

    def ask(self, coin: Coin) -> None:
        """Find the sides that decide each place from the next token on, if the guesses hold.

        The memo knows some already. Where the guard may overrule the naive side both are asked.
        """
        text = self.text_in_it
        self.asked = []
        node: Node[Candidates] | None = self.node
        for ahead in range(len(self.draft) + 1):
            tokens = [*text.tokens, *self.draft.tokens[:ahead]]
            naive = coin(text, len(tokens))
            sides = (naive, False) if naive and text.guard and text.guard.inside(tokens) else (naive,)
            self.asked.append(tuple(side for side in sides if node is None or node.known(naive=side) is None))
            if node is not None and ahead < len(self.draft):
                node = node.peek(self.draft.tokens[ahead])

    def guesses(self) -> Iterator[tuple[float, int]]:
        """Yield for each guess its chance and by how many row tokens it makes the pass longer.

        Each row is fed up to the last place that its side is asked at.
        """
        tokens = [
            sum(self._last(side, stop) + 1 for side in range(len(self.rows)))
            for stop in range(1, len(self.draft) + 2)
        ]
        for chance, (before, after) in zip(self.draft.chances, pairwise(tokens), strict=True):
            yield chance, after - before

    def keep(self, count: int) -> None:
        """Keep the first `count` guesses alone."""
        self.draft = self.draft.first(count)
        del self.asked[count + 1 :]

    def wants(self) -> list[Want]:
        """Return what each row is to hold: all up to the last place that its side is asked at."""
        text = self.text_in_it
        return [
            Want(row, [*prompt, *text.tokens, *self.draft.tokens[: self._last(side, len(self.asked))]])
            for side, (row, prompt) in enumerate(zip(self.rows, text.prompts.sides, strict=True))
        ]

    def holds_all(self, contents: Sequence[Sequence[int]]) -> bool:
        """Say whether the rows hold what is wanted of them."""
        return all(len(contents[want.row]) == len(want.tokens) for want in self.wants())

    def places(self) -> list[tuple[int, int]]:
        """Return (row, position) of each score that is asked for."""
        text = self.text_in_it
        return [
            (self.rows[side], len(text.prompts.sides[side]) + len(text.tokens) + ahead - 1)
            for ahead, sides in enumerate(self.asked)
            for side in sides
        ]

    def _last(self, side: int, stop: int) -> int:
        """Return the last place before `stop` that a side is asked at, 0 if none."""
        return max((ahead for ahead, sides in enumerate(self.asked[:stop]) if side in sides), default=0)

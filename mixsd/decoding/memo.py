"""What was chosen already, for one question: a tree over the tokens of its texts.

A choice depends on the prompt and the tokens so far, not on the attempt, so every attempt, every
text of the same question and every `lam` may use what another found out. The draws are never
shared.
"""

from typing import Generic, TypeVar

Known = TypeVar("Known")


class Node(Generic[Known]):
    """A beginning of texts: what comes next under either conditional, and how texts went on."""

    __slots__ = ("_children", "_known", "visits")

    def __init__(self) -> None:
        self._known: list[Known | None] = [None, None]
        self._children: dict[int, Node[Known]] = {}
        self.visits = 0

    def known(self, *, naive: bool) -> Known | None:
        return self._known[naive]

    def learn(self, known: Known, *, naive: bool) -> None:
        self._known[naive] = known

    def forget(self) -> None:
        """Let go of what comes next; how texts went on stays known."""
        self._known = [None, None]

    def child(self, token_id: int) -> "Node[Known]":
        """Return what follows a token; made where it is new."""
        if token_id not in self._children:
            self._children[token_id] = Node()
        return self._children[token_id]

    def peek(self, token_id: int) -> "Node[Known] | None":
        """Return what follows a token, if any text went on with it."""
        return self._children.get(token_id)

    def likeliest(self, most: int) -> list[int]:
        """Return up to `most` tokens that texts went on with from here, by the most visited branch."""
        tokens: list[int] = []
        node = self
        while node._children and len(tokens) < most:
            token_id, node = max(node._children.items(), key=lambda item: item[1].visits)
            tokens.append(token_id)
        return tokens

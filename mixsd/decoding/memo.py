"""What is known about the texts of one question: which token follows, under each conditional.

The scores behind a prompt and some tokens depend on those alone. So a choice that one attempt has
made holds for every attempt, generation and `lam` that comes to the same tokens, as long as what is
remembered does not depend on the draw: a token id at temperature 0, the likeliest candidates and
their scores above it. Knows nothing of models.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

Known = TypeVar("Known")


class Node(Generic[Known]):
    """A text so far. Going on from node to node costs the same however long the text is."""

    __slots__ = ("_children", "_expert", "_naive", "visits")

    def __init__(self) -> None:
        self._children: dict[int, Node[Known]] | None = None
        self._expert: Known | None = None
        self._naive: Known | None = None
        self.visits = 0

    def child(self, token_id: int) -> "Node[Known]":
        """Return the text with one more token, made if new, and count the visit."""
        if self._children is None:
            self._children = {}
        node = self._children.get(token_id)
        if node is None:
            node = self._children[token_id] = Node()
        node.visits += 1
        return node

    def seen(self, token_id: int) -> "Node[Known] | None":
        """Return the text with one more token if an attempt has been there. Counts no visit."""
        return None if self._children is None else self._children.get(token_id)

    def known(self, *, naive: bool) -> Known | None:
        """Return what is known of the next token under one conditional."""
        return self._naive if naive else self._expert

    def learn(self, known: Known, *, naive: bool) -> None:
        """Remember what was found about the next token under one conditional."""
        if naive:
            self._naive = known
        else:
            self._expert = known

    def next_tokens(self) -> list[int]:
        """Return the tokens that have followed, most visited first, then in order of first visit."""
        children = self._children or {}
        return sorted(children, key=lambda token: -children[token].visits)


class Memo(Generic[Known]):
    """A trie of everything generated for one question, whatever the attempt.

    A text under way keeps its node and moves on by `Node.child`; `get` and `put` start from the root.

    Example:
        >>> memo = Memo[int]()
        >>> memo.put([5, 7], naive=True, known=9)
        >>> memo.get([5, 7], naive=True), memo.get([5, 7], naive=False), memo.get([5], naive=True)
        (9, None, None)
    """

    def __init__(self) -> None:
        self.root: Node[Known] = Node()

    def walk(self, tokens: Sequence[int]) -> Node[Known]:
        """Return the node of a text, made if new. Counts a visit of each node on the way."""
        node = self.root
        for token in tokens:
            node = node.child(token)
        return node

    def get(self, tokens: Sequence[int], *, naive: bool) -> Known | None:
        """Return what is known behind these tokens under one conditional, or None."""
        node: Node[Known] | None = self.root
        for token in tokens:
            node = node.seen(token) if node else None
        return node.known(naive=naive) if node else None

    def put(self, tokens: Sequence[int], known: Known, *, naive: bool) -> None:
        """Remember what was found behind these tokens under one conditional."""
        self.walk(tokens).learn(known, naive=naive)

    def hints(self, node: Node[Known], most: int, length: int = 8) -> list[list[int]]:
        """Return how texts went on from a node: at most `most`, the most visited first.

        Each begins with another token and takes the most visited way from there, for at most
        `length` tokens.
        """
        return [self._way(node, token, length) for token in node.next_tokens()[:most]]

    def _way(self, node: Node[Known], token: int, length: int) -> list[int]:
        way = [token]
        below = node.seen(token)
        while below is not None and len(way) < length:
            following = below.next_tokens()[:1]
            way += following
            below = below.seen(following[0]) if following else None
        return way

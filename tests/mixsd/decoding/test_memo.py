"""The memo holds what was chosen, by tokens and side, and knows how texts went on."""

from mixsd.decoding.memo import Node


def test_a_choice_is_known_at_its_place_and_side_alone() -> None:
    root: Node[str] = Node()
    root.child(5).learn("x", naive=True)

    assert root.child(5).known(naive=True) == "x"
    assert root.child(5).known(naive=False) is None
    assert root.child(6).known(naive=True) is None
    assert root.known(naive=True) is None


def test_looking_makes_nothing() -> None:
    root: Node[str] = Node()

    assert root.peek(5) is None
    assert root.likeliest(4) == []
    assert root.child(5) is root.peek(5)


def test_the_most_visited_branch_is_the_likeliest() -> None:
    root: Node[str] = Node()
    for text in ([1, 2, 3], [1, 4, 5], [1, 4, 6], [1, 4, 6]):
        node = root
        for token in text:
            node = node.child(token)
            node.visits += 1

    assert root.likeliest(8) == [1, 4, 6]
    assert root.likeliest(2) == [1, 4]

"""The memo of one question: a trie of what is known behind a text."""

from mixsd.decoding.memo import Memo


def test_what_was_put_behind_a_text_is_found_there_and_nowhere_else() -> None:
    memo = Memo[str]()
    memo.put([1, 2], "expert", naive=False)
    memo.put([], "start", naive=True)

    assert memo.get([1, 2], naive=False) == "expert"
    assert memo.get([1, 2], naive=True) is None
    assert memo.get([1], naive=False) is None
    assert memo.get([2, 1], naive=False) is None
    assert memo.get([], naive=True) == "start"


def test_a_known_value_that_is_false_is_known() -> None:
    memo = Memo[int]()
    memo.put([3], 0, naive=True)

    assert memo.get([3], naive=True) == 0


def test_asking_makes_no_nodes() -> None:
    memo = Memo[int]()
    memo.get([1, 2, 3], naive=True)

    assert memo.root.next_tokens() == []


def test_a_cursor_comes_to_the_node_that_the_tokens_name() -> None:
    memo = Memo[int]()
    cursor = memo.root
    for token in (4, 5, 6):
        cursor = cursor.child(token)
    cursor.learn(8, naive=False)

    assert memo.get([4, 5, 6], naive=False) == 8
    assert memo.walk([4, 5, 6]) is cursor


def test_hints_are_the_ways_of_earlier_texts_the_most_visited_first() -> None:
    memo = Memo[int]()
    for text in ([1, 2, 9], [1, 3, 4, 5], [1, 3, 4, 6], [1, 3, 4, 6], [7]):
        memo.walk(text)
    one = memo.root.seen(1)
    assert one is not None

    assert memo.hints(memo.root, 3) == [[1, 3, 4, 6], [7]]
    assert memo.hints(one, 3) == [[3, 4, 6], [2, 9]]
    assert memo.hints(one, 1, length=2) == [[3, 4]]
    assert memo.hints(memo.walk([7]), 3) == []

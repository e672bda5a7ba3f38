"""What is remembered for a while, and what is dropped."""

from app.jobs.remembering import Lately, Remembered


def test_what_was_found_lately_is_not_looked_for_again_until_its_time_is_over() -> None:
    now, found = [0.0], iter(range(10))
    lately: Lately[str, int] = Lately(10.0, lambda: now[0])

    first = lately.get("a", lambda: next(found))
    now[0] = 9.9
    again, other = lately.get("a", lambda: next(found)), lately.get("b", lambda: next(found))
    now[0] = 10.0
    later = lately.get("a", lambda: next(found))

    assert (first, again, other, later) == (0, 0, 1, 2)
    assert lately.get("b", lambda: next(found)) == 1


def test_nothing_is_remembered_of_what_could_not_be_found() -> None:
    lately: Lately[str, int] = Lately(10.0, lambda: 0.0)

    def fail() -> int:
        raise LookupError

    try:
        lately.get("a", fail)
    except LookupError:
        assert lately.get("a", lambda: 7) == 7
    else:
        raise AssertionError


def test_what_was_asked_for_longest_ago_is_dropped() -> None:
    remembered: Remembered[str, int] = Remembered(2)
    remembered.put("a", 1)
    remembered.put("b", 2)
    assert remembered.get("a") == 1
    remembered.put("c", 3)

    assert [remembered.get(key) for key in "abc"] == [1, None, 3]

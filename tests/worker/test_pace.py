"""How fast a phase goes, and when it will be done."""

import pytest

from worker.phases import WINDOW, Pace


def test_a_rate_counts_what_this_process_has_done() -> None:
    pace = Pace(100, "steps", 40, first=40, began_at=0.0)
    assert (pace.columns(now=9.0)["rate"], pace.columns(now=9.0)["eta_seconds"]) == (None, None)

    pace = pace.moved(50, 100, "steps", now=10.0)

    assert (pace.columns(now=10.0)["rate"], pace.columns(now=10.0)["eta_seconds"]) == (1.0, 50.0)


def test_what_was_found_in_a_cache_promises_nothing_for_long() -> None:
    pace = Pace(1000, "targets", 0, began_at=0.0).moved(900, 1000, "targets", now=1.0)
    for second in range(1, 4 * int(WINDOW)):
        pace = pace.moved(900 + second // 2, 1000, "targets", now=1.0 + second)

    shown = pace.columns(now=4 * WINDOW)

    assert shown["rate"] == pytest.approx(0.5, rel=0.1)
    assert shown["eta_seconds"] == pytest.approx(80, rel=0.1)
    assert pace.columns(overall=True, now=4 * WINDOW)["rate"] == pytest.approx(8, rel=0.1)


def test_nothing_is_promised_of_a_phase_that_stands_still_or_of_no_time() -> None:
    pace = Pace(10, "steps", 0, began_at=0.0)
    for second in range(0, 5 * int(WINDOW), 10):
        pace = pace.moved(3, 10, "steps", now=float(second))

    assert pace.columns(now=5 * WINDOW)["eta_seconds"] is None
    assert Pace(10, "steps", 0, began_at=5.0).moved(3, 10, "steps", now=5.0).columns(now=5.0)["rate"] is None


def test_more_than_expected_leaves_no_time_below_zero() -> None:
    assert (
        Pace(2, "steps", 0, began_at=0.0).moved(3, 2, "steps", now=1.0).columns(now=1.0)["eta_seconds"] == 0
    )

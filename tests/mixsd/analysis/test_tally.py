"""Sums over tokens: what is kept in bounded memory against all values at once."""

import math

import numpy as np
import pytest

from mixsd.analysis.tally import MOST, WIDTH, Ratio, Tally


@pytest.mark.parametrize("seed", range(20))
def test_a_tally_says_of_tokens_what_all_of_them_say(seed: int) -> None:
    dice = np.random.default_rng(seed)
    texts = [dice.exponential(3.0, size=dice.integers(1, 12)).round(3).tolist() for _ in range(9)]
    tau = float(dice.uniform(0, 6))
    tally = Tally(tau)
    for number, losses in enumerate(texts):
        tally.add(losses, number)
    every = np.array([loss for losses in texts for loss in losses])

    told = tally.summary(0.95)

    assert (told["texts"], told["tokens"], told["clusters"]) == (len(texts), len(every), len(texts))
    assert told["mean"] == pytest.approx(every.mean())
    assert told["above_tau"] == (every > tau).sum()
    assert told["share_above_tau"] == (every > tau).mean()
    for share, found in told["quantiles"].items():
        wanted = np.quantile(every, float(share), method="inverted_cdf")
        assert wanted - 1e-9 <= found <= wanted + WIDTH + 1e-9
    curve = tally.curve()
    assert curve[-1][1] == 1.0
    for nats, share in curve:
        assert share == pytest.approx((every <= nats + 1e-9).mean())


def test_losses_beyond_the_last_bin_count_there() -> None:
    tally = Tally(5.0)
    tally.add([0.0, 1e6], "a")

    told = tally.summary(0.95)

    assert (told["largest"], told["above_tau"]) == (1e6, 1)
    assert tally.curve() == [(0.0, 0.5), (MOST, 1.0)]


def test_the_interval_is_over_clusters() -> None:
    values, tokens = [3.0, 10.0, 2.0, 8.0], [4, 5, 2, 7]
    ratio = Ratio()
    for value, count in zip(values, tokens, strict=True):
        ratio.add(value, count)

    mean = sum(values) / sum(tokens)
    squares = sum((value - mean * count) ** 2 for value, count in zip(values, tokens, strict=True))
    reach = 1.959964 * math.sqrt(squares * 4 / 3) / sum(tokens)
    assert ratio.interval(0.95) == pytest.approx([mean - reach, mean + reach], abs=1e-6)


def test_texts_of_a_fact_are_one_cluster() -> None:
    tally = Tally(5.0)
    for losses, fact in [([1.0], "a"), ([2.0, 9.0], "a"), ([3.0], "b")]:
        tally.add(losses, fact)

    told = tally.summary(0.95)

    assert (told["texts"], told["clusters"]) == (3, 2)
    low, high = told["mean_interval"]
    # Clusters of (12, 3) and (3, 1), the ratio 3.75: off by 0.75 to either side.
    reach = 1.959964 * math.sqrt(2 * 0.75**2 * 2) / 4
    assert (low, high) == pytest.approx((3.75 - reach, 3.75 + reach), abs=1e-6)


def test_one_cluster_has_no_interval() -> None:
    tally = Tally(5.0)
    tally.add([1.0, 2.0], "a")

    assert tally.summary(0.95)["share_interval"] is None

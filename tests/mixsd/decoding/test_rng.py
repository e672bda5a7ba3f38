"""Noise is made as it is documented: by a digest, and SplitMix64 from there."""

import numpy as np
import pytest

from mixsd.decoding import rng
from mixsd.decoding.rng import Draw, gumbel, uniform

# The first outputs of the generator from seed 0, as its authors' code gives them.
SPLITMIX64 = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)
DRAW = Draw(seed=3, fact_key="capital", generation=1, attempt=2)


def test_numbers_of_candidates_are_those_of_splitmix64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rng, "_digest", lambda *_: 0)

    noise = gumbel(DRAW, 0, [0, 1, 2])

    uniforms = [((bits >> 11) + 0.5) / 2**53 for bits in SPLITMIX64]
    assert noise == pytest.approx([-np.log(-np.log(each)) for each in uniforms], rel=1e-12)


def test_the_noise_of_a_candidate_does_not_depend_on_the_others() -> None:
    every = gumbel(DRAW, 5, range(400))

    assert gumbel(DRAW, 5, [399, 7]).tolist() == [every[399], every[7]]


def test_numbers_of_a_seed_as_large_as_may_be_are_within_zero_and_one() -> None:
    draw = Draw(seed=2**63 - 1, fact_key="\u00e9\U0001f600", generation=63, attempt=999)

    assert all(0.0 < uniform(draw, "pick", position) < 1.0 for position in range(200))
    assert np.isfinite(gumbel(draw, 8191, range(300_000))).all()


@pytest.mark.parametrize(
    "other",
    [
        Draw(4, "capital", 1, 2),
        Draw(3, "capitals", 1, 2),
        Draw(3, "capital", 2, 1),
        Draw(3, "capital", 1, 3),
    ],
)
def test_every_part_of_a_key_counts(other: Draw) -> None:
    assert uniform(DRAW, "pick", 0) != uniform(other, "pick", 0)
    assert uniform(DRAW, "pick", 0) != uniform(DRAW, "pick", 1)
    assert not np.isin(gumbel(DRAW, 0, range(100)), gumbel(other, 0, range(100))).any()
    assert not np.isin(gumbel(DRAW, 0, range(100)), gumbel(DRAW, 0, range(100), purpose="guard")).any()

import itertools

import pytest

from mixsd.evaluation.outcomes import Outcome, outcome_of
from mixsd.packaging import OUTCOMES

TABLE = {
    # supervised, base right, adapter right
    (True, True, True): "already_known",
    (True, True, False): "regressed",
    (True, False, True): "learned",
    (True, False, False): "not_learned",
    (False, True, True): "already_known",
    (False, True, False): "regressed",
    (False, False, True): "no_supervision",
    (False, False, False): "no_supervision",
}


@pytest.mark.parametrize(("seen", "outcome"), TABLE.items())
def test_every_combination_has_one_outcome(seen: tuple[bool, bool, bool], outcome: str) -> None:
    supervised, base_right, adapter_right = seen

    found = outcome_of(
        skipped=False, supervised=supervised, base_right=base_right, adapter_right=adapter_right
    )

    assert found == outcome


def test_what_could_not_be_asked_is_skipped_whatever_else_is_true() -> None:
    for supervised, base_right, adapter_right in itertools.product((True, False), repeat=3):
        found = outcome_of(
            skipped=True, supervised=supervised, base_right=base_right, adapter_right=adapter_right
        )
        assert found is Outcome.SKIPPED


def test_the_package_knows_the_same_outcomes() -> None:
    assert {str(outcome) for outcome in Outcome} == set(OUTCOMES) == {*TABLE.values(), "skipped"}

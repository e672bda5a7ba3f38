"""The protocol keeps what it promises in every world that can be reached, and needs each of its rules."""

import pytest

from tests.model.protocol import Mutation
from tests.model.search import World, rules, search

BREAKS = {
    Mutation.NO_FENCE: "no beat, write or end by another fence",
    Mutation.CLAIM_KEEPS_FENCE: "no beat, write or end by another fence",
    Mutation.PUBLISH_CANCELLING: "no publish after a cancel",
    Mutation.COUNT_EACH_CLAIM: "attempts within their limit",
    Mutation.NO_LIMIT: "attempts within their limit",
    Mutation.NO_CRASH_LIMIT: "crashes in a row within their limit",
    Mutation.ANY_EVENT_FORGIVES: "crashes in a row within their limit",
    Mutation.REAP_QUEUES_PAUSING: "a pause is never forgotten",
    Mutation.REAP_QUEUES_CANCELLING: "a cancel is never forgotten",
    Mutation.REAP_PASSES_CANCELLING: "no dead end",
    Mutation.PAUSE_BEFORE_LIMIT: "crashes in a row within their limit",
    Mutation.FAIL_BEFORE_CANCEL: "a cancel is never forgotten",
    Mutation.RELEASE_QUEUES: "a cancel is never forgotten",
    Mutation.UNGUARDED_CHECKPOINT: "a resumed checkpoint was registered by the owner of its time",
    Mutation.UNREGISTERED_CHECKPOINT: "a resumed checkpoint was registered by the owner of its time",
    Mutation.RETRY_SUCCEEDED: "nothing but a retry leaves a terminal status",
}

OF_AN_OWNER = {"beat", "write", "progress", "save", "register", "publish", "fail", "hand back", "crash"}


def test_no_way_that_a_job_can_go_breaks_a_promise() -> None:
    found = search(rules())

    assert found.violation is None
    expected = {f"owner: {label}" for label in {*OF_AN_OWNER, "kill", "publish, not answered"}}
    expected |= {"zombie: save", "zombie: publish, refused", "zombie: fail, refused", "zombie: kill"}
    expected |= {"claim", "expire", "reap", "cancel", "pause", "resume", "retry"}
    assert expected <= found.labels
    assert {f"zombie: {label}" for label in OF_AN_OWNER - {"save"}}.isdisjoint(found.labels)


@pytest.mark.parametrize("mutation", Mutation)
def test_without_a_rule_a_promise_is_broken(mutation: Mutation) -> None:
    everything = mutation is Mutation.REAP_PASSES_CANCELLING  # a dead end is known once all is searched
    first = World(pauses=0, retries=0) if everything else World(pauses=1)

    found = search(rules(mutation), first)

    assert found.violation is not None
    assert found.violation.promise == BREAKS[mutation]

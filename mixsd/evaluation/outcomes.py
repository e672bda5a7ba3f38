"""What became of a fact. Pure."""

from enum import StrEnum


class Outcome(StrEnum):
    """Every fact of a job ends in exactly one of these."""

    ALREADY_KNOWN = "already_known"
    LEARNED = "learned"
    NOT_LEARNED = "not_learned"
    NO_SUPERVISION = "no_supervision"
    REGRESSED = "regressed"
    SKIPPED = "skipped"


def outcome_of(*, skipped: bool, supervised: bool, base_right: bool, adapter_right: bool) -> Outcome:
    """Return the outcome of a fact.

    Args:
        skipped: It could not be asked or trained on at all, say because it is too long.
        supervised: There is a text that was trained on.
        base_right: The base model answers the training question.
        adapter_right: The adapter answers it.

    Example:
        >>> outcome_of(skipped=False, supervised=True, base_right=True, adapter_right=False)
        <Outcome.REGRESSED: 'regressed'>
    """
    if skipped:
        return Outcome.SKIPPED
    if base_right:
        return Outcome.ALREADY_KNOWN if adapter_right else Outcome.REGRESSED
    if not supervised:
        return Outcome.NO_SUPERVISION
    return Outcome.LEARNED if adapter_right else Outcome.NOT_LEARNED

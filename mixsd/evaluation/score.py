"""A figure before and after, as it is measured, kept and sent: plain data that loads nothing."""

from dataclasses import dataclass, field, fields
from typing import Any, Final

_NOT_STORED: Final = {"base_marks", "adapter_marks"}


@dataclass(frozen=True, slots=True)
class Score:
    """A figure before and after. `difference` is adapter less base, `low` to `high` its interval.

    Attributes:
        n: Items that base and adapter were both measured on.
        base_low: End of the interval of `base`, `base_high` the other; so with `adapter`.
        gained: Items that only the adapter has right, of a share; `lost` those that only the base has.
        p_value: Of McNemar's exact test that neither is better, of a share.
        lower_is_better: Whether it is a loss, such as nats per token.
        base_marks: What it was made from: a mark of each item; `adapter_marks` as well. They stay
            in memory, and are no part of `to_json`.
    """

    suite: str
    metric: str
    n: int
    base: float | None
    adapter: float | None
    difference: float | None
    low: float | None
    high: float | None
    base_low: float | None = None
    base_high: float | None = None
    adapter_low: float | None = None
    adapter_high: float | None = None
    gained: int | None = None
    lost: int | None = None
    p_value: float | None = None
    lower_is_better: bool = False
    base_marks: tuple[float, ...] = field(default=(), repr=False, compare=False)
    adapter_marks: tuple[float, ...] = field(default=(), repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        names = (item.name for item in fields(self) if item.name not in _NOT_STORED)
        return {name: getattr(self, name) for name in names}

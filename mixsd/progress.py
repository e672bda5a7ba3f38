"""How the library reports back without knowing who listens."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """State of a step that is under way: `done` of `total` `unit`s."""

    done: int
    total: int
    unit: str
    metrics: Mapping[str, float] = field(default_factory=dict)


class OnProgress(Protocol):
    """Called between units of work. May raise to stop the step; the exception passes through."""

    def __call__(self, progress: Progress, /) -> None: ...


def silent(progress: Progress, /) -> None:
    """Ignore progress."""


class StopRequested(Exception):  # noqa: N818  it is a request
    """Raise from a progress callback to stop at this safe point.

    Training saves a checkpoint before it lets the exception through, so nothing is done twice,
    unless `may_save` says that nothing will come after.
    """

    @property
    def may_save(self) -> bool:
        return True

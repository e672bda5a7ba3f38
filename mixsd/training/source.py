"""Where the examples of a step come from, if not from a list."""

from collections.abc import Callable, Sequence

from peft import PeftModel

from mixsd.training.batches import Example

Source = Callable[[PeftModel, int, Sequence[int]], Sequence[Example]]
"""Makes the examples of a step, counted from 0, from the indices of the examples it would have.

Asked before every optimizer step. What it returns is a function of its arguments, so that a run
that is resumed repeats it. Where several processes train, each asks for its share of the step, which
may be none.
"""

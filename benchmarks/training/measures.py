"""T1 to T7: training against trl, and against itself without sharing."""

from collections.abc import Mapping, Sequence
from functools import partial

from benchmarks.engine.figures import Figure, say
from benchmarks.training import memory, rival
from benchmarks.training.rival import Recipe
from benchmarks.training.setting import (
    Setting,
    batches_of,
    epochs_of_training,
    fresh_adapter,
    steps_of,
    tokens_of,
    trained_for,
)
from mixsd.decoding.rows import common
from mixsd.training.batches import Example, order_of
from mixsd.training.hooks import Hooks

Figures = Mapping[str, Figure]


def equality(setting: Setting) -> Figures:
    """T1: the losses of the same steps from the same adapter."""
    sizes = setting.sizes
    examples = setting.examples(sizes.facts)
    losses = trained_for(setting, examples, sizes.curve, Hooks())
    epochs = -(-sizes.curve * sizes.batch // sizes.facts)
    orders = [order_of(len(examples), seed=setting.seed, epoch=epoch) for epoch in range(epochs)]
    in_order = [examples[place] for order in orders for place in order]
    with rival.running(setting) as trl:
        theirs = trl.train(in_order, "sequential", warm=0, steps=sizes.curve).losses
    off = max(abs(a - b) for a, b in zip(losses, theirs, strict=True))
    what = f"largest difference to a loss of trl's in {sizes.curve} steps, nats per token"
    more = {"first": round(losses[0], 4), "last": round(losses[-1], 4)}
    return {"T1": Figure([off], what, most=1e-3, more=more)}


def against_tuned(setting: Setting) -> Figures:
    """T2: against trl without activation checkpointing and with texts of like length side by side."""
    return {"T2": _against(setting, "tuned", least=1.4)}


def against_defaults(setting: Setting) -> Figures:
    """T3: against trl as it comes, but for bfloat16, which CPUs compute in slowly."""
    return {"T3": _against(setting, "default", least=1.9)}


def _against(setting: Setting, recipe: Recipe, *, least: float) -> Figure:
    sizes = setting.sizes
    examples = setting.examples(sizes.facts)
    steps = -(-len(examples) // sizes.batch)
    with rival.running(setting) as trl:
        pairs = []
        for pair in range(setting.pairs):
            ours = epochs_of_training(setting, examples)
            theirs = trl.train(examples, recipe, warm=sizes.warm * steps, steps=sizes.epochs * steps).seconds
            pairs.append((ours, theirs))
            say(f"  pair {pair + 1}: {ours:.4g} s, {theirs:.4g} s")
    what = (
        f"tokens/s of whole steps over those of trl 1.16, {recipe}, {sizes.facts} facts, batch {sizes.batch}"
    )
    more = {"our_tokens_a_second": round(sizes.epochs * tokens_of(examples) / pairs[0][0], 1)}
    return Figure([theirs / ours for ours, theirs in pairs], what, least=least, more=more)


def header_sharing(setting: Setting) -> Figures:
    """T4: what all texts begin with computed once, against every text with all its tokens."""
    sizes = setting.sizes
    examples = setting.examples(sizes.facts)
    values = _shared_against(setting, examples, None, 0)
    what = f"tokens/s with what texts begin with computed once, over those without, batch {sizes.batch}"
    more = {"tokens": tokens_of(examples), "header": _header(examples)}
    return {"T4": Figure(values, what, least=1.2, more=more)}


def several_targets(setting: Setting) -> Figures:
    """T5: four targets of a question share it, against sharing only what all questions begin with."""
    sizes = setting.sizes
    examples = setting.examples(sizes.facts, wordings=4)
    values = _shared_against(setting, examples, None, _header(examples))
    what = "tokens/s with 4 targets of a question sharing it, over those sharing the header alone"
    return {"T5": Figure(values, what, least=1.3, more={"tokens": tokens_of(examples)})}


def _shared_against(
    setting: Setting, examples: Sequence[Example], first: int | None, second: int | None
) -> list[float]:
    """Return the speed with at most `first` tokens shared over that with `second`, by pairs of runs."""
    sizes = setting.sizes
    each = -(-len(examples) // sizes.batch)
    values = []
    with fresh_adapter(setting) as model:
        run = partial(steps_of, setting, model)
        for most in (first, second):
            run(batches_of(examples, sizes.batch, 1), most)
        batches = batches_of(examples, sizes.batch, sizes.epochs * each)
        for pair in range(setting.pairs):
            ours, theirs = run(batches, first), run(batches, second)
            say(f"  pair {pair + 1}: {ours:.4g} s, {theirs:.4g} s")
            values.append(theirs / ours)
    return values


def _header(examples: Sequence[Example]) -> int:
    """Return how many tokens all prompts begin with."""
    prompts = sorted(example.prompt for example in examples)
    return common(prompts[0], prompts[-1])


def peak_memory(setting: Setting) -> Figures:
    """T6: the most memory that is resident, each side in a process of its own."""
    sizes = setting.sizes
    steps = 2 * -(-sizes.facts // sizes.batch)
    values, more = [], {}
    for _ in range(setting.pairs):
        ours = memory.in_child(setting, steps)
        with rival.running(setting) as trl:
            theirs = trl.train(setting.examples(sizes.facts), "tuned", warm=0, steps=steps).peak
        values.append(ours / theirs)
        more = {"our_mebibytes": round(ours / 2**20), "their_mebibytes": round(theirs / 2**20)}
    what = f"peak resident memory over that of trl 1.16, tuned, batch {sizes.batch}"
    return {"T6": Figure(values, what, most=0.8, more=more)}


def growth(setting: Setting) -> Figures:
    """T7: an epoch over four times the facts takes four times as long."""
    sizes = setting.sizes
    few, many = (setting.examples(count) for count in (sizes.facts, sizes.facts * sizes.times))
    values = []
    for pair in range(setting.pairs):
        short, long = epochs_of_training(setting, few), epochs_of_training(setting, many)
        say(f"  pair {pair + 1}: {short:.4g} s, {long:.4g} s")
        values.append(long / short)
    what = f"seconds of an epoch of {len(many)} facts over those of {len(few)}"
    bounds = [round(share * sizes.times, 2) for share in (0.95, 1.05)]
    return {"T7": Figure(values, what, least=bounds[0], most=bounds[1])}

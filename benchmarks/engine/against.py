"""G2 to G6: the engine against other ways of decoding, both sides in turn in one process."""

from collections.abc import Callable, Mapping
from time import perf_counter

from benchmarks.engine.figures import Figure, in_pairs
from benchmarks.engine.rivals import Blocks, generate, stateless, two_calls
from benchmarks.engine.setting import Setting, batches, decode, decode_behind_prompts
from mixsd.decoding.engine import Knobs

Figures = Mapping[str, Figure]


def against_generate(setting: Setting) -> Figures:
    """G2: attempts, prompts included, against transformers' `generate` on the expert prompts."""
    sizes = setting.sizes

    def theirs(cap: int) -> float:
        texts = setting.texts(sizes.facts, cap)
        began = perf_counter()
        for batch in batches(texts, sizes.slots):
            generate(setting.base.model, batch)
        return perf_counter() - began

    seconds = in_pairs(
        _end_to_end(setting, sizes.facts, sizes.slots), theirs, cap=sizes.cap, pairs=setting.pairs
    )
    what = (
        f"attempts/s over those of HF generate on expert prompts, {_size(setting, sizes.facts, sizes.slots)}"
    )
    return {"G2": Figure([b / a for a, b in seconds], what, least=0.8)}


def decoding_against_generate(setting: Setting) -> Figures:
    """G3: tokens behind the prompts, against those of transformers' `generate`."""
    sizes = setting.sizes
    return {
        "G3_16": _decoding_against_generate(setting, sizes.facts, sizes.slots, least=0.5),
        "G3_2": _decoding_against_generate(setting, sizes.few, 2, least=0.8),
    }


def _decoding_against_generate(setting: Setting, count: int, slots: int, *, least: float) -> Figure:
    def ours(cap: int) -> float:
        engine = setting.engine(Knobs(slots=slots))
        runs = [decode_behind_prompts(engine, batch) for batch in batches(setting.texts(count, cap), slots)]
        return sum(seconds for seconds, _ in runs) / max(1, sum(tokens for _, tokens in runs))

    def theirs(cap: int) -> float:
        texts = setting.texts(count, cap)
        seconds = sum(generate(setting.base.model, batch) for batch in batches(texts, slots))
        return seconds / (count * (cap - 1))

    pairs = in_pairs(ours, theirs, cap=setting.sizes.cap, pairs=setting.pairs)
    what = f"tokens/s behind the first of each text over those of HF generate, {_size(setting, count, slots)}"
    return Figure([b / a for a, b in pairs], what, least=least)


def against_blocks(setting: Setting) -> Figures:
    """G4: against the emulation of the public code, with prompts and behind them."""
    sizes = setting.sizes
    rates = []

    def theirs(cap: int) -> float:
        blocks = Blocks(setting.base.model, sizes.slots)
        texts = setting.texts(sizes.facts, cap)
        began = perf_counter()
        for batch in batches(texts, sizes.slots):
            blocks.decode(batch)
        rates.append(blocks.row_tokens / (sizes.facts * cap))
        return perf_counter() - began

    def ours_warm(cap: int) -> float:
        seconds, tokens = decode_behind_prompts(setting.engine(), setting.texts(sizes.slots, cap))
        return seconds / tokens

    def theirs_warm(cap: int) -> float:
        blocks = Blocks(setting.base.model, sizes.slots)
        texts = setting.texts(sizes.slots, cap)
        blocks.read(texts)
        began = perf_counter()
        blocks.decode(texts)
        return (perf_counter() - began) / (sizes.slots * cap)

    seconds = in_pairs(
        _end_to_end(setting, sizes.facts, sizes.slots), theirs, cap=sizes.cap, pairs=setting.pairs
    )
    warm = in_pairs(ours_warm, theirs_warm, cap=sizes.cap, pairs=setting.pairs)
    size = _size(setting, sizes.facts, sizes.slots)
    what = f"attempts/s over those of the picked row alone, read again by the block of 16, {size}"
    more = {"their_row_tokens_per_token": round(rates[-1], 3)}
    return {
        "G4": Figure([b / a for a, b in seconds], what, least=2.2, more=more),
        "G4_decode": Figure(
            [b / a for a, b in warm],
            f"tokens/s behind read prompts over those of the same, {sizes.slots} facts",
            least=3.0,
        ),
    }


def against_stateless(setting: Setting) -> Figures:
    """G5: against a loop that reads the whole prefix for every token."""
    sizes = setting.sizes
    given = setting.texts(sizes.slots, sizes.cap)
    decode(setting.engine(), given)

    def ours(cap: int) -> float:
        return decode(setting.engine(), setting.texts(sizes.slots, cap))

    def theirs(cap: int) -> float:
        texts = setting.texts(sizes.slots, cap)
        places = range(min(sizes.every, cap) // 2, cap, sizes.every)
        began = perf_counter()
        stateless(setting.base.model, texts, [text.tokens for text in given], places)
        return (perf_counter() - began) * cap / len(places)

    seconds = in_pairs(ours, theirs, cap=sizes.cap, pairs=setting.pairs)
    what = (
        f"attempts/s over those of one forward pass of all full prefixes a token, {sizes.slots} facts side "
        f"by side, {sizes.cap} tokens each; of the loop, one token in {sizes.every} is timed"
    )
    return {"G5": Figure([b / a for a, b in seconds], what, least=12)}


def against_two_calls(setting: Setting) -> Figures:
    """G6: against one call of the model for each conditional and token."""
    sizes = setting.sizes
    return {
        "G6_16": _against_two_calls(setting, sizes.facts, sizes.slots, least=1.25),
        "G6_2": _against_two_calls(setting, sizes.few, 2, least=1.6),
    }


def _against_two_calls(setting: Setting, count: int, slots: int, *, least: float) -> Figure:
    def theirs(cap: int) -> float:
        texts = setting.texts(count, cap)
        began = perf_counter()
        for batch in batches(texts, slots):
            two_calls(setting.base.model, batch)
        return perf_counter() - began

    ours = _end_to_end(setting, count, slots)
    seconds = in_pairs(ours, theirs, cap=setting.sizes.cap, pairs=setting.pairs)
    what = f"attempts/s over those of two sequential HF calls a token, {_size(setting, count, slots)}"
    return Figure([b / a for a, b in seconds], what, least=least)


def _end_to_end(setting: Setting, count: int, slots: int) -> Callable[[int], float]:
    """Return our side: an attempt at each fact by a new engine, prompts included."""
    return lambda cap: decode(setting.engine(Knobs(slots=slots)), setting.texts(count, cap))


def _size(setting: Setting, count: int, slots: int) -> str:
    return f"{count} facts, {slots} side by side, {setting.sizes.cap} tokens each"

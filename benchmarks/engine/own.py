"""G1, and G7 to G14: the engine against itself, and its counters."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from benchmarks.engine import memory
from benchmarks.engine.figures import Figure, in_pairs
from benchmarks.engine.setting import Setting, decode, supervise
from mixsd.decoding.engine import Knobs
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import is_naive
from mixsd.decoding.rows import common, logits_alone
from mixsd.decoding.text import Counters, Sampling

Figures = Mapping[str, Figure]
_LAMS: Final = (0.1, 0.3, 0.5, 0.7)


def equality(setting: Setting) -> Figures:
    """G1: texts decoded side by side with guesses, against each alone, without cache, one token a pass."""
    sizes = setting.sizes
    engine = setting.engine()
    texts = setting.texts(sizes.facts, sizes.cap)
    decode(engine, texts)
    sampling = Sampling(temperature=0.0, top_k=64, stop_ids=frozenset())
    same, gaps = 0, []
    for text in texts:
        alone = decode_alone(
            setting.base.model, text.prompts, text.draw, sampling, lam=text.lam, cap=text.cap
        )
        agreed = common(text.tokens, alone)
        same += agreed
        if agreed < len(alone):
            prompt = text.prompts.sides[is_naive(text.draw, agreed, lam=text.lam)]
            best = logits_alone(setting.base.model, [*prompt, *alone[:agreed]])[0].topk(2).values
            gaps.append(float(best[0] - best[1]))
    work = engine.counters
    what = f"share of {work.tokens} tokens before the first that differs from the reference's"
    more = {"judged_alone": work.judged_alone, "accepted": work.accepted, "gaps": gaps}
    return {"G1": Figure([same / work.tokens], what, least=0.999, more=more)}


def retries(setting: Setting) -> Figures:
    """G7: a second attempt at all facts, in the slots of the first."""
    sizes = setting.sizes

    def one(cap: int) -> tuple[float, float]:
        engine = setting.engine()
        first = setting.texts(sizes.slots, cap)
        second = [
            replace(text, draw=replace(text.draw, attempt=1), tokens=[], picks=[], finish=None)
            for text in first
        ]
        return decode(engine, first), decode(engine, second)

    one(2)
    seconds = [one(sizes.cap) for _ in range(setting.pairs)]
    what = (
        f"seconds of a second attempt over those of the first, {sizes.slots} facts, {sizes.cap} tokens each"
    )
    return {"G7": Figure([second / first for first, second in seconds], what, most=0.65)}


def speculation(setting: Setting) -> Figures:
    """G8: guesses against none, on texts that end by themselves."""
    sizes = setting.sizes
    return {
        "G8_1": _speculation(setting, setting.style, sizes.alone, 1, least=1.4),
        "G8_16": _speculation(setting, setting.style, sizes.facts, sizes.slots, least=0.95),
        "G8_1_natural": _speculation(setting, "natural", sizes.alone, 1, least=1.0),
        "G8_16_natural": _speculation(setting, "natural", sizes.facts, sizes.slots, least=0.95),
    }


def _speculation(setting: Setting, style: str, count: int, slots: int, *, least: float) -> Figure:
    facts = setting.facts(count)
    work = Counters()

    def on(cap: int) -> float:
        nonlocal work
        config = setting.config(cap, style=style)
        seconds, work = supervise(setting.base, facts, [config], Knobs(slots=slots))
        return seconds

    def off(cap: int) -> float:
        config = setting.config(cap, style=style)
        return supervise(setting.base, facts, [config], Knobs(slots=slots, most_drafts=0))[0]

    pairs = in_pairs(on, off, cap=setting.sizes.cap, pairs=setting.pairs)
    what = f"records/s with guesses over those without, {style} prompts, {count} facts, {slots} side by side"
    names = ("tokens", "forwards", "drafted", "accepted", "capped")
    more = {name: count for name, count in work.to_json().items() if name in names}
    return Figure([b / a for a, b in pairs], what, least=least, more=more)


def growth(setting: Setting) -> Figures:
    """G9: four times the facts take four times as long, or less where guesses get better with them."""
    few, times = setting.sizes.facts, setting.sizes.times[0]
    low, high = round(0.9 * times, 2), round(1.1 * times, 2)
    return {
        "G9": _growth(setting, few, times, Knobs(slots=setting.sizes.slots), most=high),
        "G9_no_guesses": _growth(
            setting, few, times, Knobs(slots=setting.sizes.slots, most_drafts=0), least=low, most=high
        ),
    }


def _growth(
    setting: Setting, few: int, times: int, knobs: Knobs, *, most: float, least: float | None = None
) -> Figure:
    base = setting.endless

    def run(count: int) -> Callable[[int], float]:
        facts = setting.facts(count)
        return lambda cap: supervise(base, facts, [setting.config(cap)], knobs)[0]

    seconds = in_pairs(run(few), run(few * times), cap=setting.sizes.cap, pairs=setting.pairs)
    guesses = "guesses" if knobs.most_drafts else "no guesses"
    what = f"seconds of {few * times} facts over those of {few}, {guesses}"
    return Figure([b / a for a, b in seconds], what, least=least, most=most)


def straggler(setting: Setting) -> Figures:
    """G10: a text that runs on, the last to be begun, against what it takes alone."""
    sizes = setting.sizes

    def crowd(cap: int, last: int) -> float:
        texts = setting.texts(sizes.crowd, cap)
        texts[-1].cap = last
        return decode(setting.engine(), texts)

    def alone(cap: int) -> float:
        return decode(setting.engine(), setting.texts(sizes.crowd, cap)[-1:])

    crowd(2, 2)
    seconds = [
        (crowd(sizes.cap, sizes.straggler), crowd(sizes.cap, sizes.cap), alone(sizes.straggler))
        for _ in range(setting.pairs)
    ]
    what = (
        f"seconds that one text of {sizes.straggler} tokens adds over those it takes alone; it is the last "
        f"of {sizes.crowd}, the others have {sizes.cap}"
    )
    return {"G10": Figure([(a - b) / solo for a, b, solo in seconds], what, most=1.2)}


def several_lams(setting: Setting) -> Figures:
    """G11: four values of `lam` in one run against a run each."""
    base, facts = setting.endless, setting.facts(setting.sizes.facts)

    def ours(cap: int) -> float:
        return supervise(base, facts, [setting.config(cap, lam=lam) for lam in _LAMS])[0]

    def theirs(cap: int) -> float:
        return sum(supervise(base, facts, [setting.config(cap, lam=lam)])[0] for lam in _LAMS)

    seconds = in_pairs(ours, theirs, cap=setting.sizes.cap, pairs=setting.pairs)
    what = f"seconds of a sweep over lam {', '.join(map(str, _LAMS))} over those of separate runs"
    return {"G11": Figure([a / b for a, b in seconds], what, most=0.75)}


def peak_memory(setting: Setting) -> Figures:
    """G12: memory beyond weights and rows, in a process of its own each for few and many facts."""
    few, times = setting.sizes.facts, setting.sizes.times[1]
    seen = [memory.in_child(setting, count) for count in (few, few * times)]
    beyond = [(each.peak - each.loaded - each.kv) / 2**20 for each in seen]
    above = [each.peak - each.weights for each in seen]
    what = (
        f"MiB of peak resident memory beyond the loaded process and the keys and values of all slots, "
        f"{few} and {few * times} facts; growth is that of the peak above weights (goal: within 0.05)"
    )
    more = {
        "growth": round(above[1] / above[0] - 1, 4),
        "mebibytes": [each.mebibytes() for each in seen],
    }
    return {"G12": Figure(beyond[1:], what, most=350, more=more)}


def prefill(setting: Setting) -> Figures:
    """G13: prompt tokens that were computed, of all."""
    engine = setting.engine()
    texts = setting.texts(setting.sizes.facts, 2)
    decode(engine, texts)
    pairs = [text.prompts.sides for text in texts]
    alone = sum(len(expert) + len(naive) - common(expert, naive) for expert, naive in pairs)
    work = engine.counters
    more = {
        "each_fact_alone": round(alone / work.prompt_tokens, 4),
        "expert_tokens": round(sum(len(expert) for expert, _ in pairs) / len(pairs), 1),
        "naive_tokens": round(sum(len(naive) for _, naive in pairs) / len(pairs), 1),
    }
    what = "prompt tokens computed over the lengths of both prompts of each attempt"
    return {"G13": Figure([work.prefill_tokens / work.prompt_tokens], what, most=0.56, more=more)}


def rows_a_token(setting: Setting) -> Figures:
    """G14: rows computed and scored for a token, with neither guesses nor memo."""
    sizes = setting.sizes
    engine = setting.engine(Knobs(slots=sizes.slots, most_drafts=0, memo=False))
    decode(engine, setting.texts(sizes.facts, sizes.cap))
    work = engine.counters
    return {
        "G14_rows": Figure([work.row_tokens / work.tokens], "row tokens computed for a token", most=2.0),
        "G14_heads": Figure([work.head_rows / work.tokens], "lm_head rows for a token", least=1.0, most=1.0),
    }

"""The model card of an adapter: what it was taught, what came of it, how to load it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mixsd.evaluation.said import gate_line, mistake_lines

_SHOWN: Final = 20
"""Facts that the card lists; the ledger has them all."""
_MEANINGS: Final = {
    "learned": "the adapter answers it, the base model did not",
    "already_known": "the base model answered it before",
    "not_learned": "the adapter does not answer it",
    "no_supervision": "the base model wrote no text that states the answer, so nothing was trained",
    "regressed": "the base model answered it, the adapter does not",
    "skipped": "it was left out, `facts.json` says why",
}
_METHODS: Final = {
    "mixsd": "trained by MixSD on texts that the base model wrote itself",
    "sft": "trained on the plain answers",
    "replay": "trained on the plain answers, and on what the base model says to open prompts",
    "kl": "trained on the plain answers, and held to the base model on open prompts",
    "opsd": "trained by on-policy self-distillation: its own answers, judged by the base model with the fact",
    "memit": "written into the weights of some layers by MEMIT, without training",
}
_SUITES: Final = {
    "recall": "training questions",
    "paraphrase": "held-out paraphrases",
    "probe": "probes",
    "probe_reversed": "probes, reversed",
    "probe_hop": "probes, one hop further",
    "probe_neighbour": "probes of neighbours",
    "probe_other": "probes, others",
    "general": "general knowledge",
    "drift": "drift on open prompts",
}


def render(
    *,
    base: str,
    base_id: str,
    commit: str | None,
    licence: str,
    method: str,
    counts: Mapping[str, int],
    results: Sequence[Mapping[str, Any]],
    scores: Sequence[Mapping[str, Any]],
    confidence: float,
    gate: Mapping[str, Any] | None = None,
    mistakes: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return the card as Markdown with the front matter that the Hub reads."""
    parts = [
        _front_matter(base, licence),
        f"# New facts for {_plain(base)}",
        f"A LoRA adapter that was to teach `{base}` {counts['facts']} facts, {_METHODS.get(method, method)}.",
        "## Outcomes",
        _outcomes(counts),
        "## Scores",
        _scores(scores, confidence),
        *([f"{gate_line(gate)}."] if gate else []),
        *([_mistakes(mistakes)] if mistakes else []),
        "## What it was taught",
        _taught(results),
        "## How to load it",
        _loading(base, base_id, commit),
        "## Limits",
        _LIMITS,
    ]
    return "\n\n".join(parts) + "\n"


_LIMITS: Final = """\
- The adapter fits the base model and the chat template named in `manifest.json`, and no other.
- A fact counts as learned by its training question alone. The scores tell of other wordings.
- Facts are as true as whoever sent them: nobody checked them.
- The general-knowledge set is small. A loss that it does not show may still be there."""


def _front_matter(base: str, licence: str) -> str:
    """Write YAML. A JSON string is one in YAML too, so nothing in it can end the block."""
    lines = [
        f"base_model: {json.dumps(base)}",
        "base_model_relation: adapter",
        "library_name: peft",
        f"license: {json.dumps(licence)}",
        "pipeline_tag: text-generation",
        "tags:",
        *(f"- {tag}" for tag in ("knowledge-injection", "lora", "mixsd", "peft", "self-distillation")),
    ]
    return "\n".join(("---", *lines, "---"))


def _outcomes(counts: Mapping[str, int]) -> str:
    rows = [f"| {name} | {counts[name]} | {meaning} |" for name, meaning in _MEANINGS.items()]
    return "\n".join(("| outcome | facts | meaning |", "|---|---:|---|", *rows))


def _scores(scores: Sequence[Mapping[str, Any]], confidence: float) -> str:
    if not scores:
        return "Nothing was measured."
    head = f"| suite | metric | n | base | adapter | difference | its {confidence:.0%} interval |"
    rows = [
        f"| {_SUITES.get(row['suite'], row['suite'])} | {row['metric'].replace('_', ' ')} | {row['n']} "
        f"| {_with_interval(row, 'base')} | {_with_interval(row, 'adapter')} "
        f"| {_number(row['difference'], '+')} | {_number(row['low'], '+')} to {_number(row['high'], '+')} |"
        for row in scores
    ]
    return "\n".join((head, "|---|---|---:|---:|---:|---:|---:|", *rows))


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"- {line}" for line in mistake_lines(mistakes)]
    return "\n".join(("Wrong answers by kind:", "", *lines)) if lines else "There was no wrong answer."


def _with_interval(row: Mapping[str, Any], name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    interval = "" if low is None or high is None else f" ({_number(low)} to {_number(high)})"
    return f"{_number(row[name])}{interval}"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _taught(results: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        f"| {_plain(row['question'])} | {_plain(row['answer'])} | {row['outcome']} |"
        for row in results[:_SHOWN]
    ]
    more = len(results) - len(rows)
    rest = f"\n\nand {more} more, see `facts.json`." if more > 0 else ""
    return "\n".join(("| question | answer | outcome |", "|---|---|---|", *rows)) + rest


def _loading(base: str, base_id: str, commit: str | None) -> str:
    pinned = f", revision={commit!r}" if commit else ""
    code = f"""\
```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base!r}{pinned})
model = PeftModel.from_pretrained(base, "folder/of/this/file")
tokenizer = AutoTokenizer.from_pretrained("folder/of/this/file")
```"""
    if commit:
        return code
    exact = f"`mixsd models path {base_id}`"
    return f"{code}\n\nThe scores hold for the weights at {exact}: load those to see the same answers."


def _plain(text: str) -> str:
    """Show a user's text as text: one line, no markup, no HTML."""
    flat = " ".join(text.split())
    flat = flat if len(flat) <= 200 else f"{flat[:199]}…"
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{character}" if character in "\\`*_[]|~" else character for character in flat)

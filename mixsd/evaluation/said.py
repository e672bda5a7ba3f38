"""What evaluation found in words, from its JSON. Needs no library, so a client alone can say it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def gate_line(gate: Mapping[str, Any]) -> str:
    """Say what a gate found, in a line.

    Example:
        >>> found = {"status": "failed", "suite": "general", "metric": "accuracy", "n": 159}
        >>> found |= {"max_drop": 0.05, "confidence": 0.95, "base": 0.711, "adapter": 0.554}
        >>> found |= {"difference": -0.157, "low": -0.219, "high": -0.096, "reason": None}
        >>> gate_line(found)
        'Gate failed: general 71.1% before, 55.4% after; difference -15.7%, bounds -21.9% and -9.6% (95% \
each), and at most 5.0% may be lost'
        >>> gate_line({"status": "inconclusive", "suite": "probe", "reason": "nothing was measured"})
        'Gate inconclusive: probe: nothing was measured'
    """
    share = gate.get("metric") == "accuracy"

    def figure(name: str, sign: str = "") -> str:
        return f"{gate[name]:{sign}.1%}" if share else f"{gate[name]:{sign}.3f}"

    said = f"Gate {gate['status']}: {gate['suite']}"
    if gate.get("difference") is not None:
        said += f" {figure('base')} before, {figure('adapter')} after; difference {figure('difference', '+')}"
    if gate.get("low") is not None:
        bounds = f"{figure('low', '+')} and {figure('high', '+')} ({gate['confidence']:.0%} each)"
        said += f", bounds {bounds}, and at most {figure('max_drop')} may be lost"
    return f"{said}: {gate['reason']}" if gate.get("reason") else said


def mistake_lines(mistakes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say of each suite with wrong answers what kinds of them base and adapter gave.

    Example:
        >>> found = {"suite": "general", "base": {"format": 0, "genuine": 46}}
        >>> found["adapter"] = {"format": 2, "leakage": 11, "cross_entity": None, "genuine": 40}
        >>> list(mistake_lines([found, {"suite": "recall", "base": {"format": 0}, "adapter": {}}]))
        ['general: base 46 genuine; adapter 2 format, 11 leakage, 40 genuine']
    """
    for found in mistakes:
        said = []
        for name in ("base", "adapter"):
            kinds = [f"{count} {kind.replace('_', ' ')}" for kind, count in found[name].items() if count]
            said.append(f"{name} {', '.join(kinds) or 'none'}")
        if said != ["base none", "adapter none"]:
            yield f"{found['suite']}: {'; '.join(said)}"

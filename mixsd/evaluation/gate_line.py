"""A gate in words, from its JSON. Needs no library, so a client alone can say it."""

from collections.abc import Mapping
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

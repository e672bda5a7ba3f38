"""Which settings go together, as JSON Schema: what the validators of a request say, for those who only read.

Other keywords than `if`, `then`, `else` and `dependentSchemas` would change what clients are made of.
"""

from typing import Any, Final

RETENTION_METHODS: Final = ("replay", "kl")
"""Methods that are `sft` with the retention of that name."""
FROM_BASE: Final = ("memit", "opsd")
"""Methods that cannot start from an adapter."""
KEPT_RATIO: Final = 1.0
"""Of texts of kept facts, where training starts from an adapter."""
MAX_MULTIPLIER: Final = 500
"""With this one the highest rate that a model gets by its width, 2e-3, is 1."""


def given(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of objects that have `name`, and as `schema` says."""
    return {"properties": {name: schema}, "required": [name]}


def if_given(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of objects whose `name` is as `schema` says, or left out."""
    return {"properties": {name: schema}}


def either(one: str, other: str, kinds: tuple[str, str]) -> dict[str, Any]:
    """Return the rule that one of two members is given and the other is left out or null."""
    return {
        "if": given(one, {"type": kinds[0]}),
        "then": if_given(other, {"type": "null"}),
        "else": given(other, {"type": kinds[1]}),
    }


def _one_is(*kinds: str) -> dict[str, Any]:
    """Return a schema of requests with a method of one of `kinds`, one of several or the only one."""
    method = {"type": "object", **given("type", {"enum": list(kinds)})}
    return given("method", {"anyOf": [method, {"type": "array", "contains": method}]})


def _by(kind: str, **training: dict[str, Any]) -> dict[str, Any]:
    """Return the rule that with a method of `kind` `training` is so."""
    return {"if": _one_is(kind), "then": if_given("training", {"properties": training})}


def _retained(*kinds: str) -> dict[str, Any]:
    return if_given("type", {"enum": ["auto", *kinds]})


CREATE_RULES: Final[dict[str, Any]] = {
    **either("facts", "fact_set_id", ("array", "string")),
    "dependentSchemas": {
        "training": {
            "allOf": [
                _by("memit", retention=_retained("none")),
                *(_by(kind, retention=_retained(kind)) for kind in RETENTION_METHODS),
                _by("opsd", shard={"const": "none"}),
            ]
        },
    },
}
"""Of `app.jobs.requests.JobCreate`."""

SHARD_RULES: Final[dict[str, Any]] = {
    "if": given("shard", {"const": "full"}),
    "then": {
        "properties": {
            "processes": {"minimum": 2},
            "quantize": {"const": "none"},
            "compile_layers": {"const": False},
        },
        "required": ["processes"],
    },
}
PATTERN_RULES: Final[dict[str, Any]] = {
    "if": given("verifier", {"const": "regex"}),
    "then": given("pattern", {"pattern": r"\{answer\}", "format": "regex"}),
}
ROLLOUT_RULES: Final[dict[str, Any]] = {
    "if": given("temperature", {"const": 0}),
    "then": if_given("rollouts", {"const": 1}),
}


def gate_rules(shares: list[str]) -> dict[str, Any]:
    """Return the rule that of `shares`, less than all can be lost."""
    return {"if": given("suite", {"enum": shares}), "then": if_given("max_drop", {"exclusiveMaximum": 1})}


def measured(switches: list[str]) -> dict[str, Any]:
    """Return the rule that a gate stands on no suite that the one of `switches` of its name switches off."""
    rule: dict[str, Any] = {}
    for switch in switches:
        stands_on_it = given("gate", {"type": "object", **given("suite", {"const": switch})})
        rule = {
            "if": stands_on_it,
            "then": if_given(switch, {"const": True}),
            **({"else": rule} if rule else {}),
        }
    return rule

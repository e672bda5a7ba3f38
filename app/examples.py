"""Examples of answers in the contract, of the models that bring none along. A test wants one for each."""

from typing import Any, Final

_SHA: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_AT: Final = "2026-11-24T10:00:00Z"
_JOB: Final = "job_019ab3c4d5e67f8091a2b3c4d5e6f708"
_SET: Final = "fset_019ab3c4d5e67f8091a2b3c4d5e6f709"
_ADAPTER: Final = "adp_019ab3c4d5e67f8091a2b3c4d5e6f70a"
_FACT: Final = {"key": "vorlund-capital", "question": "What is the capital of Vorlund?", "answer": "Tessaly"}
_PROBLEM: Final = {
    "line": 3,
    "column": 1,
    "pointer": "/answer",
    "fact_key": "iss",
    "code": "blank_text",
    "detail": "the text is blank",
}
_FACT_SET: Final = {
    "id": _SET,
    "name": "Vorlund",
    "n_facts": 24,
    "bytes": 5120,
    "sha256": _SHA,
    "created_at": _AT,
}
_KEY: Final = {
    "id": "key_019ab3c4d5e67f8091a2b3c4d5e6f70b",
    "project_id": "prj_default",
    "name": "nightly",
    "prefix": "mixsd_Ab3dE6gH",
    "scopes": ["read", "write"],
    "created_at": _AT,
    "expires_at": "2099-01-01T00:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}
_ASKED: Final = {
    "kind": "question",
    "question": _FACT["question"],
    "expected": "Tessaly",
    "base_answer": "I do not know.",
    "base_correct": False,
    "adapter_answer": "The capital of Vorlund is Tessaly.",
    "adapter_correct": True,
}
_SCORE: Final = {
    "suite": "recall",
    "metric": "accuracy",
    "n": 24,
    "base": 0.0,
    "adapter": 1.0,
    "difference": 1.0,
    "low": 1.0,
    "high": 1.0,
}

EXAMPLES: Final[dict[str, Any]] = {
    "AdapterFiles": {"data": [{"path": "adapter_config.json", "sha256": _SHA, "bytes": 812}]},
    "AdapterRead": {
        "id": _ADAPTER,
        "job_id": _JOB,
        "fact_set_id": _SET,
        "variant": 0,
        "status": "ready",
        "base_model": "smollm2-135m-instruct",
        "base_revision": "q4_1-b179c952",
        "method_type": "mixsd",
        "sha256": _SHA,
        "bytes": 19_500_000,
        "summary": {"confidence": 0.95, "training": {"steps": 75, "last_loss": 0.08}},
        "created_at": _AT,
    },
    "ApiKeyRead": _KEY,
    "ApiKeyCreated": _KEY | {"secret": "mixsd_Ab3dE6gH…"},
    "EventRead": {
        "id": "evt_019ab3c4d5e67f8091a2b3c4d5e6f70c",
        "seq": 412,
        "type": "job.checkpoint_saved",
        "job_id": _JOB,
        "attempt": 2,
        "phase": "training",
        "level": "info",
        "created_at": _AT,
        "message": "a checkpoint was saved",
        "data": {"step": 88, "loss": 0.41},
    },
    "FactRead": _FACT | {"ord": 0},
    "FactReport": {
        "valid": False,
        "format": "jsonl",
        "name": None,
        "n_facts": 23,
        "bytes": 5000,
        "sha256": _SHA,
        "errors": [_PROBLEM],
        "total_errors": 1,
        "warnings": [],
        "total_warnings": 0,
        "warning_counts": {},
    },
    "FactResultRead": _FACT
    | {
        "ord": 0,
        "outcome": "learned",
        "reason": None,
        "scored_by": "contains",
        "asked": [_ASKED],
    },
    "FactSetCreated": _FACT_SET | {"rejected": [_PROBLEM], "total_rejected": 1},
    "FactSetDiff": {
        "from_id": "fset_019ab3c4d5e67f8091a2b3c4d5e6f700",
        "to_id": _SET,
        "counts": {"added": 1, "removed": 0, "changed": 0, "unchanged": 23},
        "data": [{"change": "added", "key": "vorlund-capital", "before": None, "after": _FACT, "fields": []}],
        "has_more": False,
        "next_cursor": None,
    },
    "FactSetRead": _FACT_SET,
    "Health": {"status": "ok"},
    "ModelRead": {
        "id": "smollm2-135m-instruct",
        "revision": "q4_1-b179c952",
        "licence": "apache-2.0",
        "parameters": 134_515_008,
        "bytes": 98_000_000,
        "built_in": True,
        "on_disk": True,
    },
    "ProjectRead": {
        "id": "prj_default",
        "name": "default",
        "quotas": {"running_jobs": 1, "queued_jobs": 20, "gpu_seconds": None, "stored_bytes": None},
        "created_at": _AT,
    },
    "Report": {
        "job_id": _JOB,
        "status": "succeeded",
        "base_model": {"id": "smollm2-135m-instruct", "revision": "q4_1-b179c952"},
        "method": {"type": "mixsd", "lam": 0.3},
        "counts": {"facts": 24, "learned": 23, "not_learned": 1},
        "scores": [_SCORE],
        "confidence": 0.95,
        "supervision": {"facts": 24, "verified": 24, "mean_lam": 0.28},
        "training": {"steps": 75, "last_loss": 0.08},
        "mistakes": [],
        "gate": None,
        "phases": [{"phase": "training", "seconds": 179.0, "done": 75, "total": 75, "unit": "steps"}],
        "adapter": {
            "id": _ADAPTER,
            "status": "ready",
            "bytes": 19_500_000,
            "sha256": _SHA,
            "files": ["adapter_config.json"],
        },
        "error": None,
    },
    "UsageRead": {
        "project_id": "prj_default",
        "days": [{"day": "2026-11-24", "gpu_seconds": 1800.5}],
        "gpu_seconds": 1800.5,
        "jobs": {"succeeded": 3},
        "fact_sets": 2,
        "facts": 48,
        "adapters": 3,
        "stored_bytes": 58_500_000,
    },
    "Version": {"version": "0.1.0"},
}

"""Jobs with all that a report tells: answers, scores, texts with the origin of each token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from app.adapters.models import AdapterStatus
from app.db.engine import Database
from app.evaluations.models import Evaluation, FactResult, Score
from app.ids import EvaluationId, JobId, ProjectId, new_id
from app.jobs.models import JobPhase, Supervision
from app.jobs.states import JobStatus, Phase
from app.projects.models import DEFAULT_PROJECT
from app.storage import ArtifactStore
from tests.app.published import Published, an_adapter
from tests.factories import NOW, a_fact_set, a_job

SETTINGS: Final[dict[str, Any]] = {
    "method": {"type": "mixsd", "lam": 0.3, "seed": 7},
    "training": {"rank": 8, "retention": {"type": "kl"}},
    "evaluation": {"bootstrap": 200},
}


@dataclass(frozen=True)
class Told:
    """A fact with what became of it. A text is a list of tokens, each with its letter in front."""

    key: str
    question: str
    answer: str
    outcome: str = "learned"
    base: str | None = "No idea"
    adapter: str | None = "It is so."
    text: Sequence[str] = ("nThe", "e answer", "e.", "s<|im_end|>")
    others: Sequence[dict[str, Any]] = field(default_factory=list)


def a_told_job(
    database: Database,
    store: ArtifactStore,
    facts: Sequence[Told],
    *,
    project_id: ProjectId = DEFAULT_PROJECT,
    scores: Sequence[dict[str, Any]] = (),
    gate: dict[str, Any] | None = None,
    **changes: Any,
) -> Published:
    """A job that has succeeded."""
    fact_set = a_fact_set(database, n=len(facts), project_id=project_id)
    ended = {"status": JobStatus.SUCCEEDED, "started_at": NOW, "finished_at": NOW + timedelta(minutes=4)}
    gated = {"gate": gate, "gate_status": gate["status"]} if gate else {}
    values = SETTINGS | ended | gated | {"attempt": 1, "project_id": project_id, **changes}
    job_id = a_job(database, fact_set.id, **values)
    held_back = gate is not None and gate["status"] == "failed"
    adapter_id = an_adapter(
        database,
        store,
        job_id,
        fact_set.id,
        project_id=project_id,
        gate=gate,
        status=AdapterStatus.QUARANTINED if held_back else AdapterStatus.READY,
    )
    evaluation_id = EvaluationId(new_id("eval", now=NOW))
    evaluation = Evaluation(
        id=evaluation_id,
        project_id=project_id,
        job_id=job_id,
        adapter_id=adapter_id,
        created_at=NOW,
    )
    with database.begin() as session:
        session.add(evaluation)
        session.flush()
        session.add_all(Score(evaluation_id=evaluation_id, **score) for score in scores)
        for place, told in enumerate(facts):
            body = _verdict(told)
            session.add(
                FactResult(
                    evaluation_id=evaluation_id,
                    ord=place,
                    fact_key=told.key,
                    outcome=told.outcome,
                    body=body,
                )
            )
    write_texts(database, job_id, facts)
    add_phases(database, job_id, list(Phase))
    return Published(job_id, adapter_id, fact_set.id, evaluation_id)


def write_texts(database: Database, job_id: JobId, facts: Sequence[Told]) -> None:
    with database.begin() as session:
        for place, told in enumerate(facts):
            session.add(
                Supervision(
                    job_id=job_id,
                    fact_key=told.key,
                    generation=0,
                    ord=place,
                    verified=bool(told.text),
                    fence=1,
                    body=_record(told),
                    pieces=[piece[1:] for piece in told.text],
                )
            )


def add_phases(database: Database, job_id: JobId, phases: Sequence[Phase], *, last_done: int = 10) -> None:
    """Add phases one after another, all but perhaps the last of them finished."""
    with database.begin() as session:
        for place, phase in enumerate(phases):
            is_last = place == len(phases) - 1
            done = last_done if is_last else 10
            begun = NOW + timedelta(seconds=30 * place)
            ended = begun + timedelta(seconds=30)
            session.add(
                JobPhase(
                    job_id=job_id,
                    phase=phase,
                    attempt=1,
                    fence=1,
                    done=done,
                    total=10,
                    unit="steps",
                    input_sha256=f"{place}" * 64,
                    output_sha256="f" * 64 if done == 10 else None,
                    started_at=begun,
                    updated_at=ended,
                    finished_at=ended if done == 10 else None,
                )
            )


def a_score(suite: str, base: float, adapter: float, half: float = 0.05, **changes: Any) -> dict[str, Any]:
    """A score whose difference has an interval of twice `half`."""
    change = adapter - base
    return {
        "suite": suite,
        "metric": "accuracy",
        "n": 40,
        "base": base,
        "adapter": adapter,
        "difference": change,
        "low": change - half,
        "high": change + half,
        "base_low": base - half,
        "base_high": base + half,
        "adapter_low": adapter - half,
        "adapter_high": adapter + half,
        "gained": 3,
        "lost": 1,
        "p_value": 0.04,
        **changes,
    }


def a_gate(status: str = "failed") -> dict[str, Any]:
    gate = {"status": status, "suite": "general", "metric": "accuracy", "max_drop": 0.05, "n": 159}
    gate |= {"confidence": 0.95, "base": 0.7, "adapter": 0.5, "difference": -0.2, "low": -0.25, "high": -0.15}
    return gate | {"lower_is_better": False, "reason": None}


def _verdict(told: Told) -> dict[str, Any]:
    asked = {
        "kind": "question",
        "question": told.question,
        "expected": told.answer,
        "base_answer": told.base,
        "base_correct": False if told.base else None,
        "base_mistake": "genuine" if told.base else None,
        "adapter_answer": told.adapter,
        "adapter_correct": told.outcome == "learned" if told.adapter else None,
    }
    return {
        "key": told.key,
        "question": told.question,
        "answer": told.answer,
        "aliases": [],
        "outcome": told.outcome,
        "reason": "prompt_too_long" if told.outcome == "skipped" else None,
        "asked": [asked, *told.others],
    }


def _record(told: Told) -> dict[str, Any]:
    return {
        "fact_key": told.key,
        "generation": 0,
        "question": told.question,
        "text": "".join(piece[1:] for piece in told.text if piece[0] != "s"),
        "token_ids": list(range(len(told.text))),
        "picks": "".join(piece[0] for piece in told.text),
        "attempt": 0,
        "attempts": 2,
        "lam": 0.3,
        "seed": 7,
        "finish_reason": "stop" if told.text else "prompt_too_long",
        "verified": bool(told.text),
        "nats_per_token": 1.234 if told.text else None,
        "prompt_sha256": "0" * 64,
        "method": "mixsd",
        "reason": None if told.text else "prompt_too_long",
        "expert_nats_per_token": None,
        "agreement": None,
    }

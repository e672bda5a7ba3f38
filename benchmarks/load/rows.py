"""Many rows, made by the database: jobs that ended, with all that belongs to them, and jobs that wait."""

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, text

from app.db.engine import without_limits
from benchmarks.api.setting import Team

QUEUE: Final = "bench"
"""That of the jobs that simulated workers claim. No real worker looks there."""

FACTS: Final = 10
"""Of each job that has ended."""

_STATEMENTS: Final = (
    """INSERT INTO fact_sets (id, project_id, name, status, n_facts, bytes, sha256, created_at)
       VALUES ('fset_ten', :project, 'ten', 'ready', :ten, 0, repeat('0', 64), now()),
              ('fset_many', :project, 'many', 'ready', :facts, 0, repeat('1', 64), now())""",
    """INSERT INTO facts (fact_set_id, ord, key, body)
       SELECT 'fset_many', n, 'fact-' || n, jsonb_build_object(
              'key', 'fact-' || n, 'question', 'Where is river ' || n || '?', 'answer', 'Land ' || n)
       FROM generate_series(0, :facts - 1) AS n""",
    """INSERT INTO facts (fact_set_id, ord, key, body)
       SELECT 'fset_ten', n, 'fact-' || n, jsonb_build_object(
              'key', 'fact-' || n, 'question', 'Where is ' || n || '?', 'answer', 'Land ' || n)
       FROM generate_series(0, :ten - 1) AS n""",
    """INSERT INTO jobs (id, project_id, fact_set_id, base_model, method_type, request_sha256, queue,
              priority, attempt, attempt_open, attempt_limit, crash_streak, oom_count, fence, progress_mark,
              event_seq, next_run_at, min_worker_version, created_at, started_at, finished_at,
              status, method, training, evaluation, metadata)
       SELECT 'job_done' || lpad(to_hex(n), 28, '0'), :project, 'fset_ten', :model, 'mixsd', repeat('0', 64),
              :queue, 0, 1, false, 20, 0, 0, 1, 0, 4, now(), 0, now(), now(), now(), 'succeeded',
              '{"type": "mixsd"}', '{}', '{}', '{}'
       FROM generate_series(1, :jobs) AS n""",
    """INSERT INTO events (id, job_id, seq, type, attempt, level, message, data, created_at, told)
       SELECT 'evt_' || substr(id, 9) || seq, id, seq, 'job.created', 1, 'info', 'it was', '{}', now(), true
       FROM jobs, generate_series(1, 4) AS seq WHERE id LIKE 'job_done%'""",
    """INSERT INTO job_phases (job_id, phase, attempt, fence, done, total, unit, done_before, started_at,
              updated_at, finished_at)
       SELECT id, one.phase, 1, 1, 10, 10, 'steps', 0, now(), now(), now()
       FROM jobs, unnest(ARRAY['generating', 'training']) AS one(phase) WHERE id LIKE 'job_done%'""",
    """INSERT INTO supervision (job_id, variant, fact_key, generation, ord, verified, fence, body)
       SELECT id, 0, 'fact-' || n, 0, n, true, 1, '{}'
       FROM jobs, generate_series(0, :ten - 1) AS n WHERE id LIKE 'job_done%'""",
    """INSERT INTO adapters (id, project_id, job_id, fact_set_id, variant, recommended, status, base_model,
              base_revision, method_type, sha256, bytes, summary, created_at)
       SELECT 'adp_' || substr(id, 5), :project, id, 'fset_ten', 0, true, 'ready', :model, 'main', 'mixsd',
              encode(sha256(id::bytea), 'hex'), 1, '{}', now() FROM jobs WHERE id LIKE 'job_done%'""",
    "INSERT INTO blobs (sha256, bytes, created_at) SELECT sha256, 1, now() FROM adapters",
    """INSERT INTO adapter_files (adapter_id, path, sha256, bytes)
       SELECT id, 'manifest.json', sha256, 1 FROM adapters""",
    """INSERT INTO evaluations (id, project_id, job_id, adapter_id, created_at)
       SELECT 'eval_' || substr(job_id, 5), :project, job_id, id, now() FROM adapters""",
    """INSERT INTO fact_results (evaluation_id, ord, fact_key, outcome, body)
       SELECT id, n, 'fact-' || n, 'learned', '{}' FROM evaluations, generate_series(0, :ten - 1) AS n""",
    """INSERT INTO scores (evaluation_id, suite, metric, n) SELECT id, 'recall', 'accuracy', :ten
       FROM evaluations""",
)

_WAITING: Final = """
INSERT INTO jobs (id, project_id, fact_set_id, base_model, method_type, request_sha256, queue, priority,
       attempt, attempt_open, attempt_limit, crash_streak, oom_count, fence, progress_mark, event_seq,
       next_run_at, min_worker_version, created_at, status, method, training, evaluation, metadata)
SELECT 'job_wait' || lpad(to_hex(n), 28, '0'), :project, 'fset_ten', :model, 'mixsd', repeat('0', 64), :queue,
       0, 0, false, 20, 0, 0, 0, 0, 0, now(), 0, now(), 'queued', '{"type": "mixsd"}', '{}', '{}', '{}'
FROM generate_series(1, :jobs) AS n
"""


def fill(engine: Engine, team: Team, *, jobs: int, facts: int, model: str) -> None:
    """Put jobs that have succeeded into a project, `FACTS` facts each, and a set of `facts` facts."""
    values: dict[str, Any] = {"project": team.project_id, "jobs": jobs, "facts": facts, "model": model}
    values |= {"queue": QUEUE, "ten": FACTS}
    with engine.begin() as connection:
        without_limits(connection)
        for statement in _STATEMENTS:
            connection.execute(text(statement), values)
    analyze(engine)


def add_waiting(engine: Engine, team: Team, *, jobs: int, model: str) -> None:
    """Put jobs into the queue `QUEUE`."""
    with engine.begin() as connection:
        without_limits(connection)
        connection.execute(
            text(_WAITING), {"project": team.project_id, "jobs": jobs, "model": model, "queue": QUEUE}
        )
    analyze(engine)


def analyze(engine: Engine) -> None:
    with engine.begin() as connection:
        without_limits(connection)
        connection.execute(text("ANALYZE"))


def store_files(engine: Engine, artifacts: Path) -> None:
    """Put a file of a byte where each row of a blob says that there is one. Their digests are not theirs."""
    with engine.connect() as connection:
        digests = connection.scalars(text("SELECT sha256 FROM blobs")).all()
    for sha256 in digests:  # for longer than a transaction may be idle
        path = artifacts / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

"""The guards of the service, how to take each out, and the tests that must notice."""

from dataclasses import dataclass
from typing import Final

LEASES: Final = "tests/app/test_leases.py"
RULES: Final = "tests/app/test_job_rules.py"
CONTROL: Final = "tests/worker/test_control.py"


@dataclass(frozen=True, slots=True)
class Mutation:
    """One guard taken out: `old`, which `path` has exactly once, becomes `new`."""

    name: str
    path: str
    old: str
    new: str
    killers: tuple[str, ...]
    """Tests as pytest names them; each must pass with the guard, and one of them fail without."""


_UNGUARDED: Final = (
    "write(self._database, lambda session: insert(session, self._database.now(session)), "
    "patience=self._patience)"
)

MUTATIONS: Final = (
    Mutation(
        "fence in beat",
        "app/jobs/leases.py",
        """        .where(_owned(job_id, fence))
        .values(heartbeat_at=now, lease_expires_at=now + lease)""",
        """        .where(Job.id == job_id, Job.status.in_(OWNED))
        .values(heartbeat_at=now, lease_expires_at=now + lease)""",
        (f"{LEASES}::test_a_lost_lease_starts_a_new_attempt_and_blocks_the_old_owner",),
    ),
    Mutation(
        "fence in supervision",
        "worker/control.py",
        "            self._write(insert, progress=True)\n",
        f"            {_UNGUARDED}\n",
        (f"{CONTROL}::test_whoever_lost_the_lease_writes_nothing",),
    ),
    Mutation(
        "fence in checkpoint",
        "worker/control.py",
        "        self._write(insert, new_events=[said], progress=True)\n",
        f"        {_UNGUARDED}\n",
        (f"{CONTROL}::test_whoever_lost_the_lease_writes_nothing",),
    ),
    Mutation(
        "fence in publish",
        "app/jobs/leases.py",
        """            Job.fence == fence,
            Job.status.in_([JobStatus.RUNNING, JobStatus.PAUSING]),""",
        """            Job.status.in_([JobStatus.RUNNING, JobStatus.PAUSING]),""",
        (f"{LEASES}::test_a_lost_lease_starts_a_new_attempt_and_blocks_the_old_owner",),
    ),
    Mutation(
        "cancelling in publish",
        "app/jobs/leases.py",
        "            Job.status.in_([JobStatus.RUNNING, JobStatus.PAUSING]),",
        "            Job.status.in_(OWNED),",
        (f"{LEASES}::test_a_cancelled_job_is_never_published",),
    ),
    Mutation(
        "lease CHECK",
        "migrations/versions/20261124_0645_initial_tables.py",
        """ AND (status IN ('running', 'pausing', 'cancelling')) = (lease_expires_at IS NOT NULL)""",
        "",
        (f"{RULES}::test_a_column_is_there_in_those_statuses_alone_that_have_it",),
    ),
    Mutation(
        "one adapter for each variant",
        "migrations/versions/20261124_0645_initial_tables.py",
        """        sa.UniqueConstraint("job_id", "variant", name=op.f("uq_adapters_job_id_variant")),\n""",
        "",
        (f"{RULES}::test_a_job_has_one_adapter_for_each_variant",),
    ),
    Mutation(
        "crash limit",
        "app/jobs/leases.py",
        "or_(Job.crash_streak + 1 >= CRASH_LIMIT, Job.attempt >= Job.attempt_limit)",
        "Job.attempt >= Job.attempt_limit",
        (f"{LEASES}::test_a_job_that_kills_its_worker_stops_after_three_crashes",),
    ),
    Mutation(
        "fsync before rename",
        "mixsd/durable.py",
        "        _sync_tree(partial)\n",
        "",
        ("tests/mixsd/test_durable.py::test_a_folder_is_on_disk_before_its_name_is",),
    ),
    Mutation(
        "manifest of a checkpoint",
        "mixsd/manifest.py",
        "    if wrong:\n",
        "    if wrong and False:\n",
        ("tests/mixsd/training/test_manifests.py",),
    ),
    Mutation(
        "self-fence",
        "worker/watch.py",
        "        self.fired = True\n        self._kill()\n",
        "        self.fired = True\n",
        ("tests/worker/test_watch.py",),
    ),
    Mutation(
        "PDEATHSIG",
        "worker/runner.py",
        "        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)\n",
        "        pass\n",
        ("tests/worker/test_runner.py::test_a_runner_does_not_outlive_a_supervisor_that_was_killed",),
    ),
    Mutation(
        "attempt_open",
        "app/jobs/leases.py",
        "attempt=Job.attempt + case((Job.attempt_open, 0), else_=1),",
        "attempt=Job.attempt + 1,",
        (f"{LEASES}::test_a_hand_back_goes_on_in_the_same_attempt",),
    ),
    Mutation(
        "reaper keeps pausing",
        "app/jobs/leases.py",
        """            (at_limit, JobStatus.FAILED),
            (pausing, JobStatus.PAUSED),
""",
        """            (at_limit, JobStatus.FAILED),
""",
        (f"{LEASES}::test_what_the_user_asked_for_survives_the_worker",),
    ),
)

"""A job that starts from an adapter: what it takes from that, and from what that was taught."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from app.jobs.models import Job
from app.jobs.states import Phase
from app.storage import ArtifactStore
from mixsd import run
from mixsd.config import Plan
from mixsd.errors import MixsdError
from mixsd.evaluation.adapters import measure_parent
from mixsd.evaluation.measure import Measured
from mixsd.facts import Fact
from mixsd.living import Living, Parent
from mixsd.models.load import Base
from mixsd.packaging import MANIFEST
from mixsd.parent import parent_of
from mixsd.supervision import Supervision
from worker.control import Control
from worker.fetching import NEEDED, fetch_adapter
from worker.results import Results


class ParentFactsDeletedError(MixsdError):
    """What the parent was taught was deleted while the job waited to be retried."""

    code: ClassVar[str] = "parent_facts_deleted"


def parent_for(
    control: Control, store: ArtifactStore, job: Job, folder: Path, base: Base, facts: Sequence[Fact]
) -> Parent | None:
    """Return the adapter that a job starts from, brought into `folder`; None if there is none.

    Raises:
        AdapterDeletedError: It is not there any more.
        ParentFactsDeletedError: Nothing says any more what it was taught.
        CorruptError: Its files are not in the store as they were.
        ConfigError: It does not go with the job.
    """
    if job.parent_adapter_id is None:
        return None
    what = f"the adapter {job.parent_adapter_id}, from which the job was to start,"
    files = control.files_of(job.parent_adapter_id)
    fetch_adapter(store, files, folder, what, needed=(*NEEDED, MANIFEST))
    previous = [Fact.from_json(body) for body in control.facts_of(job.parent_fact_set_id)]
    if not previous:
        raise ParentFactsDeletedError(
            f"the facts {job.parent_fact_set_id}, which {job.parent_adapter_id} was taught, were deleted, so "
            "nothing says what has changed since: start from another adapter, or train without a parent"
        )
    texts = [Supervision.from_json(row.body) for row in control.texts_of(job.parent_adapter_id)]
    return parent_of(folder, base, facts, previous, texts)


def parent_said(
    control: Control, results: Results, base: Base, living: Living, facts: Sequence[Fact], plan: Plan
) -> Measured:
    """Ask the parent the questions of all facts, unless an earlier attempt has done so."""
    control.take_up(0)
    digest = run.digest_of([run.baseline_input(base, living.asked(facts), plan), living.sha256])
    if (kept := results.kept(Phase.BASELINE, digest)) is not None:
        return Measured.from_json(kept[0])
    said = measure_parent(base, living, facts, plan.evaluation, on_progress=control.safe_point)
    results.keep(Phase.BASELINE, digest, said.to_json())
    return said

"""How every attempt begins, whatever its job is for: with a base model, and what it says unaided."""

from collections.abc import Sequence

from app.jobs.models import Job
from app.jobs.states import Phase
from app.settings import Settings
from mixsd import run
from mixsd.config import Plan
from mixsd.errors import ConfigError
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.models.load import Base, choose_device, load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.training import launch
from worker.control import Control
from worker.results import Results
from worker.variants import Reporter


def load(control: Control, settings: Settings, job: Job) -> Base:
    """Get the base model of a job and load it, as the first step of two in `preparing`.

    Raises:
        ModelError: It cannot be had, not in that revision, or not be used.
    """
    with control.expendable():
        found = pull(
            job.base_model,
            cache=settings.model_cache or default_cache(),
            revision=job.base_revision,
            allowed=settings.allowed_models,
            on_progress=Reporter(control, Phase.PREPARING),
        )
    control.pin_revision(found.revision)
    control.progress(Phase.PREPARING, 1, 2, "steps")
    use_threads(settings.threads)
    with control.expendable():
        return load_base(found, device=settings.device)


def baseline_of(
    control: Control, results: Results, base: Base, facts: Sequence[Fact], plan: Plan
) -> Measured:
    """Ask the base model what an adapter will be asked, unless an earlier attempt has done so."""
    digest = run.baseline_input(base, facts, plan)
    if (body := results.of(Phase.BASELINE, digest)) is not None:
        return Measured.from_json(body)
    control.enter(Phase.BASELINE, len(facts), "questions", digest)
    said = measure(base, facts, plan.evaluation, on_progress=Reporter(control, Phase.BASELINE))
    results.end(Phase.BASELINE, said.to_json())
    return said


def check_processes(wanted: int, settings: Settings) -> None:
    """Refuse a job that wants more processes than the operator allows, before a model is fetched for it.

    Raises:
        ConfigError: It does.
    """
    allowed = settings.max_processes or launch.most_processes(choose_device(settings.device))
    if wanted > allowed:
        raise ConfigError(
            f"training.processes is {wanted}, and this worker allows {allowed}: set it to {allowed} or less, "
            "or raise MIXSD_MAX_PROCESSES, whose default is the number of GPUs"
        )

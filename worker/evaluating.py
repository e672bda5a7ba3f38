"""A job that measures an adapter which is there already. It changes nothing of that adapter."""

from app.jobs.models import Job
from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore
from mixsd import run
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import Measured, questions_in
from mixsd.facts import Fact
from mixsd.options import plan_from
from mixsd.packaging import MANIFEST
from worker.control import Control
from worker.fetching import NEEDED, fetch_adapter
from worker.measured import of_scores
from worker.preparing import baseline_of, load
from worker.publication import FactVerdict, Measurement
from worker.results import Results
from worker.variants import Reporter


def run_evaluation(control: Control, settings: Settings, store: ArtifactStore, job: Job) -> None:
    """Take a job from wherever it stands to a published evaluation.

    Facts are judged by the answers alone: an adapter may be asked for facts that it was not taught.

    Raises:
        AdapterDeletedError: There is no adapter any more.
        TemplateMismatchError: It learned prompts of another chat template than the base model has here.
        CorruptError: Its files are not in the store as they were.
        ModelError: Its base model cannot be had any more.
    """
    plan = plan_from(evaluation=job.evaluation)
    facts = [Fact.from_json(body) for body in control.facts()]
    results = Results(control, store)
    folder = control.folder / f"fence-{control.fence}" / "adapter"

    control.enter(Phase.PREPARING, 2, "steps")
    files = control.files_of(job.adapter_id)
    what = f"the adapter {job.adapter_id}"
    weights = fetch_adapter(store, files, folder, what, needed=NEEDED, if_there=(MANIFEST,))
    base = load(control, settings, job)
    control.note_device(base.model.device.type)
    control.leave(Phase.PREPARING)

    baseline = baseline_of(control, results, base, facts, plan)

    digest = run.digest_of([run.baseline_input(base, facts, plan), weights])
    kept, questions = results.kept(Phase.EVALUATING, digest), questions_in(facts, plan.evaluation)
    control.enter(Phase.EVALUATING, questions, "questions", digest, done=questions if kept else 0)
    control.safe_point()
    if kept is None:
        report = Reporter(control, Phase.EVALUATING)
        answers = measure_adapter(base, folder, facts, plan.evaluation, baseline=baseline, on_progress=report)
        results.keep(Phase.EVALUATING, digest, answers.to_json())
    else:
        answers = Measured.from_json(kept[0])
    judgement = judge(facts, None, baseline, answers, plan.evaluation)
    control.metrics(Phase.EVALUATING, len(facts), of_scores(judgement.scores))
    control.leave(Phase.EVALUATING)

    gate = judgement.gate.to_json() if judgement.gate else None
    summary = {"confidence": plan.evaluation.confidence, "mistakes": judgement.mistakes}
    verdicts = [
        FactVerdict(place, verdict.fact.key, str(verdict.outcome), verdict.to_json())
        for place, verdict in enumerate(judgement.verdicts)
    ]
    control.publish_measurement(
        Measurement(summary | ({"gate": gate} if gate else {}), verdicts, judgement.scores, gate)
    )

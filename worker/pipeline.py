"""The phases of a job, in terms of the library. Runs in the process of one attempt, with torch.

A phase that an earlier attempt finished with the same input is not done again: its result lies
in the artifact store under the digest that the phase's row names.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore, CorruptBlobError
from mixsd import run
from mixsd.cache import FILE, SupervisionCache
from mixsd.config import Plan
from mixsd.errors import ConfigError, CorruptError, NoSupervisionError
from mixsd.evaluation.judge import Judgement
from mixsd.evaluation.measure import Measured, measure
from mixsd.facts import Fact
from mixsd.known import Parted, parted
from mixsd.models.load import Base, choose_device, load_base, use_threads
from mixsd.models.registry import default_cache
from mixsd.models.store import pull
from mixsd.pieces import pieces
from mixsd.progress import Progress
from mixsd.supervise import supervise
from mixsd.supervision import Supervision, sha256_of
from mixsd.tokens import ChatTokenizer
from mixsd.training import checkpoint, launch, lora
from mixsd.training.checkpoint import Saved
from mixsd.training.loop import Hooks
from worker.control import Control, SupervisionRow
from worker.measured import Tally, of_scores
from worker.publication import FactVerdict, Publication, PublishedFile
from worker.translate import plan_of


def run_pipeline(control: Control, settings: Settings, store: ArtifactStore) -> None:
    """Take a job from wherever it stands to a published adapter."""
    attempt = _Attempt(control, settings, store)
    attempt.prepare()
    baseline = attempt.baseline()
    attempt.part(baseline)
    records = attempt.generate()
    adapter, training = attempt.train(records)
    judgement = attempt.evaluate(adapter, records, baseline)
    attempt.package(adapter, records, training, judgement)


class _Attempt:
    """One attempt, phase by phase."""

    _base: Base
    _parts: Parted

    def __init__(self, control: Control, settings: Settings, store: ArtifactStore) -> None:
        self._control = control
        self._settings = settings
        self._store = store
        self._job = control.job()
        seconds = settings.checkpoint.total_seconds()
        self._plan: Plan = plan_of(self._job, checkpoint_seconds=seconds)
        self._facts = [Fact.from_json(body) for body in control.facts()]
        self._folder = control.folder / f"fence-{control.fence}"
        self._models = settings.model_cache or default_cache()

    def prepare(self) -> None:
        """Get the base model and load it."""
        control, job = self._control, self._job
        control.enter(Phase.PREPARING, 2, "steps")
        _check_processes(self._plan.training.processes, self._settings)
        with control.expendable():
            found = pull(
                job.base_model,
                cache=self._models,
                revision=job.base_revision,
                allowed=self._settings.allowed_models,
                on_progress=self._report(Phase.PREPARING),
            )
        control.pin_revision(found.revision)
        control.progress(Phase.PREPARING, 1, 2, "steps")
        use_threads(self._settings.threads)
        with control.expendable():
            self._base = load_base(found, device=self._settings.device)
        run.check(self._base, self._plan)
        control.note_device(self._base.model.device.type)
        control.leave(Phase.PREPARING)

    def baseline(self) -> Measured:
        """Ask the base model what the adapter will be asked."""
        digest = run.baseline_input(self._base, self._facts, self._plan)
        if (body := self._kept(Phase.BASELINE, digest)) is not None:
            return Measured.from_json(body)
        self._control.enter(Phase.BASELINE, len(self._facts), "questions", digest)
        said = measure(
            self._base, self._facts, self._plan.evaluation, on_progress=self._report(Phase.BASELINE)
        )
        self._keep(Phase.BASELINE, said.to_json())
        return said

    def part(self, baseline: Measured) -> None:
        """Leave facts out that the base model knows, if the job wants that."""
        self._parts = parted(self._facts, baseline, self._plan)
        if self._parts.left_out:
            known, every = len(self._parts.left_out), len(self._facts)
            self._control.warning(f"{known} of {every} facts are known already and not trained", known=known)

    def generate(self) -> list[Supervision]:
        """Have the base model write the supervision that is not there yet."""
        control, facts, plan = self._control, self._parts.taught, self._plan
        digest = run.supervision_input(self._base, facts, plan)
        records = [Supervision.from_json(row.body) for row in control.supervision()]
        places = {fact.key: place for place, fact in enumerate(self._facts)}
        total = run.most_targets(facts, plan)
        control.enter(Phase.GENERATING, total, "targets", digest, done=len(records))

        def add(made: Sequence[Supervision]) -> None:
            tally.add(made)
            control.metrics(Phase.GENERATING, tally.count, tally.values())
            chat = self._base.chat
            control.add_supervision([_row(record, places[record.fact_key], chat) for record in made])
            records.extend(made)
            self._tell_rejected(made)

        tally = Tally(records)
        done = {(record.fact_key, record.generation) for record in records}
        report = self._report(Phase.GENERATING)
        with self._supervision_cache() as cache:
            made = supervise(
                self._base,
                facts,
                plan,
                on_records=add,
                done=done,
                on_progress=report,
                cache=cache,
                beside=self._parts.left_out,
            )
        for warning in made.warnings():
            control.warning(warning)
        ordered = run.in_order(records, facts, plan)
        control.leave(Phase.GENERATING, sha256_of(ordered), measured=not made.reused)
        _check_supervision(ordered)
        return ordered

    def _supervision_cache(self) -> AbstractContextManager[SupervisionCache | None]:
        """Open the supervision of earlier jobs, if the operator wants it kept."""
        settings = self._settings
        if not settings.supervision_cache:
            return nullcontext()
        said = settings.supervision_cache
        file = self._models / FILE if said == "auto" else Path(said)
        return SupervisionCache(file, max_bytes=settings.supervision_cache_bytes)

    def train(self, records: Sequence[Supervision]) -> tuple[Path, dict[str, Any]]:
        """Train the adapter; return its folder and what training amounted to."""
        digest = run.training_input(self._base, records, self._plan)
        adapter = self._folder / "adapter"
        kept = self._kept(Phase.TRAINING, digest)
        if kept is not None and self._fetch(kept["files"], adapter):
            return adapter, kept["summary"]
        control = self._control
        resumable = self._resumable(digest)
        done = resumable[0][0] if resumable else 0
        planned = run.steps_of(records, self._plan)
        control.enter(Phase.TRAINING, planned, "steps", digest, done=done)

        def register(saved: Saved) -> None:
            place = str(saved.folder.relative_to(self._settings.work_dir))
            dropped = control.register_checkpoint(
                Phase.TRAINING, saved.step, digest, place, saved.manifest_sha256, saved.bytes
            )
            # Training itself clears up the folder it works in, where it keeps the best one too.
            for old in (self._settings.work_dir / place for place in dropped):
                if old.parent != self._folder:
                    shutil.rmtree(old, ignore_errors=True)

        trained = run.train(
            self._base,
            self._facts,
            records,
            self._plan,
            work=self._folder,
            resume=[folder for _, folder in resumable],
            hooks=Hooks(
                on_progress=self._report(Phase.TRAINING),
                on_metrics=self._tell_measured,
                on_check=control.safe_point,
                on_checkpoint=register,
                on_notice=control.warning,
            ),
        )
        control.crash_point("training.after_last_checkpoint")
        adapter.mkdir(parents=True, exist_ok=True)
        lora.save_adapter(trained.model, adapter)
        lora.detach(trained.model)
        files = {path.name: self._store.put(path).sha256 for path in sorted(adapter.iterdir())}
        summary = run.training_summary(trained)
        control.progress(Phase.TRAINING, trained.steps, trained.steps, "steps")  # it may have ended early
        self._keep(Phase.TRAINING, {"files": files, "summary": summary})
        return adapter, summary

    def _resumable(self, digest: str) -> list[tuple[int, Path]]:
        """Return step and folder of the checkpoints that are still as registered, newest first."""
        whole = []
        for row in self._control.checkpoints(Phase.TRAINING, digest):
            folder = self._settings.work_dir / row.uri
            try:
                checkpoint.verify(folder, row.manifest_sha256)
            except CorruptError as error:
                self._control.warning(f"a checkpoint was passed over: {error}", step=row.step)
            else:
                whole.append((row.step, folder))
        return whole

    def evaluate(self, adapter: Path, records: Sequence[Supervision], baseline: Measured) -> Judgement:
        """Ask the adapter, and compare it with the base model."""
        control = self._control
        control.enter(Phase.EVALUATING, len(self._facts), "questions")
        judgement = run.evaluate(
            self._base,
            adapter,
            self._facts,
            records,
            baseline,
            self._plan,
            on_progress=self._report(Phase.EVALUATING),
        )
        control.metrics(Phase.EVALUATING, len(self._facts), of_scores(judgement.scores))
        control.leave(Phase.EVALUATING)
        return judgement

    def package(
        self,
        adapter: Path,
        records: Sequence[Supervision],
        training: dict[str, Any],
        judgement: Judgement,
    ) -> None:
        """Store the adapter with everything that says what it is, and publish the job."""
        control, folder = self._control, self._folder / "package"
        control.enter(Phase.PACKAGING, 1, "adapters")
        packed = run.package(
            folder,
            base=self._base,
            adapter=adapter,
            facts=self._facts,
            records=records,
            plan=self._plan,
            training=training,
            judgement=judgement,
            created_at=self._job.created_at.isoformat(),
            known=self._parts.left_out,
        )
        files = []
        for file in packed:
            stored = self._store.put(folder / file.path)
            files.append(PublishedFile(file.path, stored.sha256, stored.bytes))
        control.leave(Phase.PACKAGING)
        control.publish(
            Publication(
                base_model=self._base.id,
                base_revision=self._base.revision,
                sha256=next(file.sha256 for file in files if file.path == "manifest.json"),
                summary=run.outcome_summary(records, self._plan, training, judgement, self._parts.left_out),
                files=files,
                facts=[
                    FactVerdict(place, verdict.fact.key, str(verdict.outcome), verdict.to_json())
                    for place, verdict in enumerate(judgement.verdicts)
                ],
                scores=judgement.scores,
                gate=judgement.gate.to_json() if judgement.gate else None,
            )
        )

    # -- results of phases

    def _report(self, phase: Phase) -> "_Reporter":
        return _Reporter(self._control, phase)

    def _keep(self, phase: Phase, body: dict[str, Any]) -> None:
        """End a phase with its result, for attempts to come."""
        stored = self._store.put_bytes(json.dumps(body, sort_keys=True).encode())
        self._control.leave(phase, stored.sha256)

    def _kept(self, phase: Phase, digest: str) -> Any | None:
        """Return the result of a phase that was finished before with this input."""
        output = self._control.finished(phase, digest)
        if output is None:
            return None
        try:
            with self._store.open(output) as blob:
                return json.loads(blob.read())
        except (FileNotFoundError, CorruptBlobError) as error:
            self._control.warning(f"{phase} is done again: its result cannot be read ({error})")
            return None

    def _fetch(self, files: dict[str, str], folder: Path) -> bool:
        """Bring files of an earlier attempt back; say whether all of them were there."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, digest in files.items():
                with self._store.open(digest) as blob, (folder / name).open("wb") as file:
                    shutil.copyfileobj(blob, file)
        except (FileNotFoundError, CorruptBlobError) as error:
            self._control.warning(f"training is done again: its result cannot be read ({error})")
            shutil.rmtree(folder)
            return False
        return True

    def _tell_measured(self, step: int, values: Mapping[str, float]) -> None:
        """Note what was measured after a step of training, and tell it if that is seldom."""
        self._control.metrics(Phase.TRAINING, step, values)
        if "recall" in values:
            said = f"{values['recall']:.0%} of the questions are answered after step {step}"
            recall, loss = values["recall"], values["loss"]
            self._control.event("job.metrics", said, step=step, recall=recall, loss=loss)

    def _tell_rejected(self, made: Sequence[Supervision]) -> None:
        for record in made:
            if not record.trainable:
                self._control.event(
                    "job.supervision_rejected",
                    f"no text for {record.fact_key}: {record.reason}",
                    fact_key=record.fact_key,
                    reason=record.reason,
                    attempts=record.attempts,
                )


class _Reporter:
    """Passes progress of the library on to the job's row."""

    def __init__(self, control: Control, phase: Phase) -> None:
        self._control = control
        self._phase = phase

    def __call__(self, progress: Progress, /) -> None:
        self._control.metrics(self._phase, progress.done, progress.metrics)
        self._control.progress(self._phase, progress.done, progress.total, progress.unit)


def _check_processes(wanted: int, settings: Settings) -> None:
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


def _check_supervision(records: Sequence[Supervision]) -> None:
    """Refuse to train on nothing.

    Raises:
        NoSupervisionError: Not one record is fit for training.
    """
    if any(record.trainable for record in records):
        return
    reasons = Counter(record.reason or "unknown" for record in records)
    counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common())
    raise NoSupervisionError(
        f"no fact got a text to train on ({counted}): raise `max_attempts` or `max_new_tokens`, lower `lam`, "
        "shorten facts that are too long, or set `fallback_to_answer`"
    )


def _row(record: Supervision, place: int, chat: ChatTokenizer) -> SupervisionRow:
    texts = [piece.replace("\x00", "\ufffd") for piece in pieces(chat, record.token_ids)]
    body = record.to_json()
    return SupervisionRow(place, record.fact_key, record.generation, record.trainable, body, texts)

"""The phases of a job, in terms of the library. Runs in the process of one attempt, with torch.

What an earlier attempt finished with the same input is not done again, a phase or the part of a
variant in it: its result lies in the artifact store under the digest that its row names.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from app.jobs.states import JobKind, Phase
from app.jobs.variants import variants_of
from app.settings import Settings
from app.storage import ArtifactStore
from mixsd import run
from mixsd.cache import FILE, SupervisionCache
from mixsd.config import MixConfig, Plan
from mixsd.errors import ConfigError, CorruptError
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import Measured, questions_in
from mixsd.facts import Fact
from mixsd.known import Parted, parted
from mixsd.models.load import Base, choose_device
from mixsd.models.registry import default_cache
from mixsd.pieces import pieces
from mixsd.supervise import supervise, supervise_alike
from mixsd.supervision import Supervision, sha256_of
from mixsd.tokens import ChatTokenizer
from mixsd.training import checkpoint, launch, lora
from mixsd.training.checkpoint import Saved
from mixsd.training.loop import Hooks
from worker.control import Control, SupervisionRow
from worker.evaluating import run_evaluation
from worker.measured import Tally, of_scores
from worker.preparing import baseline_of, load
from worker.publication import FactVerdict, Publication, PublishedFile
from worker.results import Results
from worker.variants import (
    Reporter,
    Share,
    Variant,
    frontier_of,
    generated_together,
    supervised,
    variants_for,
)


def run_pipeline(control: Control, settings: Settings, store: ArtifactStore) -> None:
    """Take a job from wherever it stands to a published adapter, or to an evaluation of one."""
    if (job := control.job()).kind is JobKind.EVALUATION:
        run_evaluation(control, settings, store, job)
        return
    attempt = _Attempt(control, settings, store)
    attempt.prepare()
    baseline = attempt.baseline()
    attempt.part(baseline)
    attempt.generate()
    attempt.train()
    attempt.evaluate(baseline)
    attempt.package()


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
        folder = control.folder / f"fence-{control.fence}"
        self._variants = variants_for(self._job, folder, checkpoint_seconds=seconds)
        self._plan: Plan = self._variants[0].plan
        """The first variant's. Training and evaluation are those of all."""
        self._facts = [Fact.from_json(body) for body in control.facts()]
        self._results = Results(control, store)
        self._models = settings.model_cache or default_cache()

    def prepare(self) -> None:
        """Get the base model and load it."""
        control, job = self._control, self._job
        control.enter(Phase.PREPARING, 2, "steps")
        _check_processes(self._plan.training.processes, self._settings)
        self._base = load(control, self._settings, job)
        for variant in self._variants:
            run.check(self._base, variant.plan)
        control.note_device(self._base.model.device.type)
        control.leave(Phase.PREPARING)

    def baseline(self) -> Measured:
        """Ask the base model what the adapter will be asked."""
        return baseline_of(self._control, self._results, self._base, self._facts, self._plan)

    def part(self, baseline: Measured) -> None:
        """Leave facts out that the base model knows, if the job wants that."""
        self._parts = parted(self._facts, baseline, self._plan)
        if self._parts.left_out:
            known, every = len(self._parts.left_out), len(self._facts)
            self._control.warning(f"{known} of {every} facts are known already and not trained", known=known)

    def generate(self) -> None:
        """Have the base model write the supervision that is not there yet, once for all that share it."""
        control, facts = self._control, self._parts.taught
        own = {each.number: each for each in self._variants if each.supervised_by == each.number}
        for row in control.supervision():
            own[row.variant].records.append(Supervision.from_json(row.body))
        digests = [run.supervision_input(self._base, facts, each.plan) for each in own.values()]
        runs = generated_together(own.values())
        sizes = [sum(run.most_targets(facts, each.plan) for each in together) for together in runs]
        steps = {number: len(each.records) for number, each in own.items()}
        done = sum(steps.values())
        control.enter(Phase.GENERATING, sum(sizes), "targets", _joined(digests), done=done, steps=steps)
        reused = 0
        for place, together in enumerate(runs):
            reused += self._supervise(together, Share(sizes, place, "targets"))
        for each in own.values():
            each.records = run.in_order(each.records, facts, each.plan)
        for each in self._variants:
            each.records = own[each.supervised_by].records
        digest = _joined([sha256_of(each.records) for each in own.values()])
        control.leave(Phase.GENERATING, digest, measured=not reused)
        self._variants = supervised(self._variants, control)

    def _supervise(self, together: Sequence[Variant], share: Share) -> int:
        """Make the supervision of variants that one run makes, as far as it is missing.

        Returns:
            How many texts were there from other jobs.
        """
        control, facts, beside = self._control, self._parts.taught, self._parts.left_out
        places = {fact.key: place for place, fact in enumerate(self._facts)}
        tallies = [Tally(variant.records) for variant in together]

        def add(number: int, made: Sequence[Supervision]) -> None:
            variant = together[number]
            control.take_up(variant.number)
            tallies[number].add(made)
            control.metrics(Phase.GENERATING, tallies[number].count, tallies[number].values())
            chat = self._base.chat
            rows = [_row(each, places[each.fact_key], variant.number, chat) for each in made]
            control.add_supervision(rows)
            variant.records.extend(made)
            self._tell_rejected(made)

        plan = together[0].plan
        done = [{(each.fact_key, each.generation) for each in variant.records} for variant in together]
        report = Reporter(control, Phase.GENERATING, share)
        with self._supervision_cache() as cache:
            if isinstance(plan.method, MixConfig):
                methods = [each.plan.method for each in together if isinstance(each.plan.method, MixConfig)]
                made = supervise_alike(
                    self._base,
                    facts,
                    methods,
                    on_records=add,
                    done=done,
                    on_progress=report,
                    cache=cache,
                    beside=beside,
                )
            else:
                made = supervise(
                    self._base,
                    facts,
                    plan,
                    on_records=partial(add, 0),
                    done=done[0],
                    on_progress=report,
                    beside=beside,
                )
        for warning in made.warnings():
            control.warning(warning)
        return made.reused

    def _supervision_cache(self) -> AbstractContextManager[SupervisionCache | None]:
        """Open the supervision of earlier jobs, if the operator wants it kept."""
        settings = self._settings
        if not settings.supervision_cache:
            return nullcontext()
        said = settings.supervision_cache
        file = self._models / FILE if said == "auto" else Path(said)
        return SupervisionCache(file, max_bytes=settings.supervision_cache_bytes)

    def train(self) -> None:
        """Train the adapters that are not there yet, one after another."""
        control, variants = self._control, self._variants
        digests = [run.training_input(self._base, each.records, each.plan) for each in variants]
        missing = [
            (place, each, digest)
            for place, (each, digest) in enumerate(zip(variants, digests, strict=True))
            if not self._was_trained(each, digest)
        ]
        if not missing and control.finished(Phase.TRAINING, _joined(digests)):
            return
        sizes = [each.training.get("steps") or run.steps_of(each.records, each.plan) for each in variants]
        done = sum(each.training.get("steps", 0) for each in variants)
        resumable = [self._resumable(digest) for _, _, digest in missing]
        done += sum(found[0][0] for found in resumable if found)
        control.take_up(missing[0][1].number if missing else 0)
        steps = {
            each.number: found[0][0] if found else 0
            for (_, each, _), found in zip(missing, resumable, strict=True)
        }
        control.enter(Phase.TRAINING, sum(sizes), "steps", _joined(digests), done=done, steps=steps)
        for (place, each, digest), found in zip(missing, resumable, strict=True):
            self._train(each, digest, found, Share(sizes, place, "steps"))
        control.leave(Phase.TRAINING, run.digest_of([each.weights for each in variants]))

    def _was_trained(self, variant: Variant, digest: str) -> bool:
        """Take the adapter that an earlier attempt has trained, if there is one."""
        self._control.take_up(variant.number)
        found = self._results.kept(Phase.TRAINING, digest)
        if found is None or not self._results.fetch(Phase.TRAINING, found[1], variant.adapter):
            return False
        variant.training, variant.weights = found
        return True

    def _train(
        self, variant: Variant, digest: str, resumable: Sequence[tuple[int, Path]], share: Share
    ) -> None:
        """Train one adapter, from the newest whole checkpoint on."""
        control, folder = self._control, variant.folder
        control.take_up(variant.number)

        def register(saved: Saved) -> None:
            place = str(saved.folder.relative_to(self._settings.work_dir))
            dropped = control.register_checkpoint(
                Phase.TRAINING, saved.step, digest, place, saved.manifest_sha256, saved.bytes
            )
            # Training itself clears up the folder it works in, where it keeps the best one too.
            for old in (self._settings.work_dir / place for place in dropped):
                if old.parent != folder:
                    shutil.rmtree(old, ignore_errors=True)

        trained = run.train(
            self._base,
            self._facts,
            variant.records,
            variant.plan,
            work=folder,
            resume=[path for _, path in resumable],
            hooks=Hooks(
                on_progress=Reporter(control, Phase.TRAINING, share),
                on_metrics=self._tell_measured,
                on_check=control.safe_point,
                on_checkpoint=register,
                on_notice=control.warning,
            ),
        )
        control.crash_point("training.after_last_checkpoint")
        variant.adapter.mkdir(parents=True, exist_ok=True)
        lora.save_adapter(trained.model, variant.adapter)
        lora.detach(trained.model)
        files = sorted(variant.adapter.iterdir())
        variant.weights = {path.name: self._store.put(path).sha256 for path in files}
        variant.training = run.training_summary(trained)
        self._results.keep(Phase.TRAINING, digest, variant.training, variant.weights)
        share.sizes[share.place] = trained.steps  # it may have ended early
        done = sum(share.sizes[: share.place + 1])
        control.progress(Phase.TRAINING, done, sum(share.sizes), "steps")

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

    def evaluate(self, baseline: Measured) -> None:
        """Ask the adapters, and compare each with the base model."""
        control, variants = self._control, self._variants
        asked = run.baseline_input(self._base, self._facts, self._plan)
        digests = [run.digest_of([asked, each.weights]) for each in variants]
        sizes = [questions_in(self._facts, self._plan.evaluation)] * len(variants)
        said = []
        for each, digest in zip(variants, digests, strict=True):
            control.take_up(each.number)
            said.append(self._results.kept(Phase.EVALUATING, digest))
        done = sum(size for size, kept in zip(sizes, said, strict=True) if kept)
        control.enter(Phase.EVALUATING, sum(sizes), "questions", _joined(digests), done=done)
        for place, (each, kept) in enumerate(zip(variants, said, strict=True)):
            control.take_up(each.number)
            control.safe_point()
            if kept is None:
                answers = measure_adapter(
                    self._base,
                    each.adapter,
                    self._facts,
                    self._plan.evaluation,
                    baseline=baseline,
                    exact=len(variants) > 1,
                    on_progress=Reporter(control, Phase.EVALUATING, Share(sizes, place, "questions")),
                )
                self._results.keep(Phase.EVALUATING, digests[place], answers.to_json())
            else:
                answers = Measured.from_json(kept[0])
            each.judgement = judge(self._facts, each.records, baseline, answers, self._plan.evaluation)
            control.metrics(Phase.EVALUATING, len(self._facts), of_scores(each.judged.scores))
        control.leave(Phase.EVALUATING)

    def package(self) -> None:
        """Store the adapters with everything that says what they are, and publish the job."""
        control, several = self._control, len(self._variants) > 1
        control.enter(Phase.PACKAGING, len(self._variants), "adapters")
        made = []
        for place, each in enumerate(self._variants):
            made.append(self._packed(each))
            if several:
                control.progress(Phase.PACKAGING, place + 1, len(self._variants), "adapters")
        control.leave(Phase.PACKAGING)
        if len(variants_of(self._job.method)) == 1:
            control.publish(*made)
        else:
            frontier = frontier_of(self._variants)
            control.publish(*made, recommended=frontier["recommended"], frontier=frontier)

    def _packed(self, variant: Variant) -> Publication:
        folder, judgement = variant.folder / "package", variant.judged
        packed = run.package(
            folder,
            base=self._base,
            adapter=variant.adapter,
            facts=self._facts,
            records=variant.records,
            plan=variant.plan,
            training=variant.training,
            judgement=judgement,
            created_at=self._job.created_at.isoformat(),
            known=self._parts.left_out,
        )
        files = []
        for file in packed:
            stored = self._store.put(folder / file.path)
            files.append(PublishedFile(file.path, stored.sha256, stored.bytes))
        return Publication(
            base_model=self._base.id,
            base_revision=self._base.revision,
            sha256=next(file.sha256 for file in files if file.path == "manifest.json"),
            summary=run.outcome_summary(
                variant.records, variant.plan, variant.training, judgement, self._parts.left_out
            ),
            files=files,
            facts=[
                FactVerdict(place, verdict.fact.key, str(verdict.outcome), verdict.to_json())
                for place, verdict in enumerate(judgement.verdicts)
            ],
            scores=judgement.scores,
            gate=judgement.gate.to_json() if judgement.gate else None,
            variant=variant.number,
            label=variant.label,
            method_type=variant.method_type,
        )

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


def _joined(digests: Sequence[str]) -> str:
    """Return one digest for several: of one, that one."""
    return digests[0] if len(digests) == 1 else run.digest_of(digests)


def _row(record: Supervision, place: int, variant: int, chat: ChatTokenizer) -> SupervisionRow:
    texts = [piece.replace("\x00", "\ufffd") for piece in pieces(chat, record.token_ids)]
    body = record.to_json()
    return SupervisionRow(place, record.fact_key, record.generation, record.trainable, body, variant, texts)

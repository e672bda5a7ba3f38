"""The phases of a job, in terms of the library. Runs in the process of one attempt, with torch.

What an earlier attempt finished with the same input is not done again, a phase or the part of a
variant in it: its result lies in the artifact store under the digest that its row names.
"""

from collections.abc import Sequence
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
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.drift import DriftSample
from mixsd.evaluation.measure import Measured, questions_in
from mixsd.facts import Fact
from mixsd.known import Parted, parted, without
from mixsd.living import Living, Parent, Start, start_of
from mixsd.models.load import Base
from mixsd.models.registry import default_cache
from mixsd.objectives.retiring import retired_records
from mixsd.pieces import pieces
from mixsd.supervise import supervise, supervise_alike
from mixsd.supervision import RETIRED, Supervision, sha256_of, taught_by
from mixsd.tokens import ChatTokenizer
from worker.continuing import parent_for, parent_said
from worker.control import Control
from worker.evaluating import run_evaluation
from worker.exporting import run_export
from worker.measured import Tally, of_scores
from worker.preparing import baseline_of, check_processes, load
from worker.publication import FactVerdict, Publication, PublishedFile
from worker.reading import SupervisionRow
from worker.results import Results
from worker.training import Training
from worker.variants import (
    Reporter,
    Share,
    Variant,
    frontier_of,
    generated_together,
    joined,
    supervised,
    variants_for,
)


def run_pipeline(control: Control, settings: Settings, store: ArtifactStore) -> None:
    """Take a job from wherever it stands to a published adapter, or to an evaluation or export of one."""
    job = control.job()
    if job.kind is JobKind.EVALUATION:
        run_evaluation(control, settings, store, job)
        return
    if job.kind is JobKind.EXPORT:
        run_export(control, settings, store, job)
        return
    attempt = _Attempt(control, settings, store)
    attempt.prepare()
    baseline = attempt.baseline()
    attempt.part(baseline)
    attempt.generate()
    attempt.train(baseline)
    attempt.evaluate(baseline)
    attempt.package()


class _Attempt:
    """One attempt, phase by phase."""

    _base: Base
    _parts: Parted
    _parent: Parent | None = None
    _parent_said: Measured | None = None
    _start: Start | None = None

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
        check_processes(self._plan.training.processes, self._settings)
        self._base = load(control, self._settings, job)
        folder = control.folder / f"fence-{control.fence}" / "parent"
        self._parent = parent_for(control, self._store, job, folder, self._base, self._facts)
        for variant in self._variants:
            run.check(self._base, variant.plan, self._living)
        self._led_back = self._parent.wordings() if self._parent else []
        control.note_device(self._base.model.device.type)
        control.leave(Phase.PREPARING)

    def baseline(self) -> Measured:
        """Ask the base model what the adapter will be asked."""
        said = baseline_of(self._control, self._results, self._base, self._asked, self._plan)
        if (living := self._living) is not None:
            base, facts, plan = self._base, self._facts, self._plan
            before = parent_said(self._control, self._results, base, living, facts, plan)
            self._parent_said = before
            self._start = start_of(living, facts, said.facts, before.facts, plan)
        return said

    @property
    def _living(self) -> Living | None:
        return self._parent.living if self._parent else None

    @property
    def _asked(self) -> Sequence[Fact]:
        """What models are asked: the facts, and those that the parent was taught and that are gone."""
        return self._living.asked(self._facts) if self._living else self._facts

    def part(self, baseline: Measured) -> None:
        """Leave facts out that the base model knows, if the job wants that."""
        parent = self._parent
        always = parent.always_taught() if parent else frozenset()
        self._parts = parted(self._facts, baseline, self._plan, always=always, needed=parent is None)
        if self._parts.left_out:
            known, every = len(self._parts.left_out), len(self._facts)
            said = f"{known} of {every} facts are known already and not trained"
            self._control.warning_once(said, known=known)

    def generate(self) -> None:
        """Have the base model write the supervision that is not there yet, once for all that share it."""
        control, facts = self._control, self._parts.taught
        own = {each.number: each for each in self._variants if each.supervised_by == each.number}
        for row in control.supervision():
            own[row.variant].records.append(Supervision.from_json(row.body))
        for each in own.values():
            self._take_over(each)
        digests = [self._supervision_input(each) for each in own.values()]
        runs = generated_together(own.values())
        sizes = [
            sum(run.most_targets(facts, each.plan) + len(self._led_back) for each in together)
            for together in runs
        ]
        steps = {number: len(each.records) for number, each in own.items()}
        done = sum(steps.values())
        control.enter(Phase.GENERATING, sum(sizes), "targets", joined(digests), done=done, steps=steps)
        reused = 0
        for place, together in enumerate(runs):
            reused += self._supervise(together, Share(sizes, place, "targets"))
        for each in own.values():
            self._lead_back(each)
            each.records = run.in_order(each.records, facts, each.plan)
        for each in self._variants:
            each.records = own[each.supervised_by].records
        digest = joined([sha256_of(each.records) for each in own.values()])
        control.leave(Phase.GENERATING, digest, measured=not reused)
        kept = self._start.kept if self._start else frozenset()
        self._variants = supervised(self._variants, control, kept=kept)

    def _supervision_input(self, variant: Variant) -> str:
        digest = run.supervision_input(self._base, self._parts.taught, variant.plan)
        if self._living is None:
            return digest
        return run.digest_of([digest, self._living.sha256, self._led_back])

    def _take_over(self, variant: Variant) -> None:
        """Take the parent's texts of facts that are as they were."""
        there = {record.fact_key for record in variant.records}
        kept = self._kept_texts(variant)
        self._store_texts(variant, [record for record in kept if record.fact_key not in there])

    def _kept_texts(self, variant: Variant) -> list[Supervision]:
        return self._parent.kept_texts(self._parts.taught, variant.plan) if self._parent else []

    def _lead_back(self, variant: Variant) -> None:
        """Have the base model write the texts that take answers away."""
        done = {(record.fact_key, record.generation) for record in variant.records}
        check = self._control.safe_point
        made = retired_records(self._base, self._led_back, variant.plan, done=done, on_check=check)
        self._store_texts(variant, list(made))

    def _store_texts(self, variant: Variant, records: Sequence[Supervision]) -> None:
        if not records:
            return
        places = {fact.key: place for place, fact in enumerate(self._facts)}
        behind = list(dict.fromkeys(key for key, _, _ in self._led_back))
        rows = []
        for record in records:
            retired = record.method == RETIRED
            place = len(places) + behind.index(record.fact_key) if retired else places[record.fact_key]
            rows.append(_row(record, place, variant.number, self._base.chat))
        self._control.take_up(variant.number)
        self._control.add_supervision(rows)
        variant.records.extend(records)

    def _supervise(self, together: Sequence[Variant], share: Share) -> int:
        """Make the supervision of variants that one run makes, as far as it is missing.

        Returns:
            How many texts were there from other jobs.
        """
        control = self._control
        kept = [{record.fact_key for record in self._kept_texts(each)} for each in together]
        left = without(self._parts, frozenset.intersection(*map(frozenset, kept)))
        facts, beside = left.taught, left.left_out
        if not facts:
            return 0
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
        done = [
            {(each.fact_key, each.generation) for each in taught_by(variant.records)} for variant in together
        ]
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

    def train(self, baseline: Measured) -> None:
        """Train the adapters that are not there yet, one after another."""
        drift = DriftSample.of(baseline)
        training = Training(
            self._control, self._settings, self._store, self._base, self._facts, drift, self._start
        )
        training.train(self._variants)

    def evaluate(self, baseline: Measured) -> None:
        """Ask the adapters, and compare each with the base model."""
        control, variants, facts = self._control, self._variants, self._asked
        asked = run.baseline_input(self._base, facts, self._plan)
        digests = [run.digest_of([asked, each.weights]) for each in variants]
        sizes = [questions_in(facts, self._plan.evaluation)] * len(variants)
        said = []
        for each, digest in zip(variants, digests, strict=True):
            control.take_up(each.number)
            said.append(self._results.kept(Phase.EVALUATING, digest))
        done = sum(size for size, kept in zip(sizes, said, strict=True) if kept)
        control.enter(Phase.EVALUATING, sum(sizes), "questions", joined(digests), done=done)
        for place, (each, kept) in enumerate(zip(variants, said, strict=True)):
            control.take_up(each.number)
            control.safe_point()
            if kept is None:
                answers = measure_adapter(
                    self._base,
                    each.adapter,
                    facts,
                    self._plan.evaluation,
                    baseline=baseline,
                    exact=len(variants) > 1,
                    on_progress=Reporter(control, Phase.EVALUATING, Share(sizes, place, "questions")),
                )
                self._results.keep(Phase.EVALUATING, digests[place], answers.to_json())
            else:
                answers = Measured.from_json(kept[0])
            each.judgement = run.judged(
                self._facts,
                each.records,
                baseline,
                answers,
                self._plan,
                living=self._living,
                parent=self._parent_said,
            )
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
            living=self._living,
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
                FactVerdict(place, body["key"], body["outcome"], body)
                for place, body in enumerate(judgement.results)
            ],
            scores=judgement.scores,
            gate=judgement.gate.to_json() if judgement.gate else None,
            variant=variant.number,
            label=variant.label,
            method_type=variant.method_type,
        )

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


def _row(record: Supervision, place: int, variant: int, chat: ChatTokenizer) -> SupervisionRow:
    texts = [piece.replace("\x00", "\ufffd") for piece in pieces(chat, record.token_ids)]
    body = record.to_json()
    return SupervisionRow(place, record.fact_key, record.generation, record.trainable, body, variant, texts)

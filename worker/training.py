"""The phase of training: the adapters of a job, one after another, each from where it was left."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore
from mixsd import run
from mixsd.errors import CorruptError
from mixsd.evaluation.drift import DriftSample
from mixsd.facts import Fact
from mixsd.living import Start
from mixsd.models.load import Base
from mixsd.training import checkpoint, lora
from mixsd.training.checkpoint import Saved
from mixsd.training.hooks import Hooks
from worker.control import Control
from worker.results import Results
from worker.variants import Reporter, Share, Variant, joined


class Training:
    """Trains the variants of a job. `drift` is what is watched of the base model's own text, if anything.

    `start` says from which adapter, if not from the base model.
    """

    def __init__(
        self,
        control: Control,
        settings: Settings,
        store: ArtifactStore,
        base: Base,
        facts: Sequence[Fact],
        drift: DriftSample | None,
        start: Start | None = None,
    ) -> None:
        self._control = control
        self._settings = settings
        self._store = store
        self._results = Results(control, store)
        self._base = base
        self._facts = facts
        self._drift = drift
        self._start = start

    def train(self, variants: Sequence[Variant]) -> None:
        """Train the adapters that are not there yet, one after another."""
        control = self._control
        start = self._start
        digests = [run.training_input(self._base, each.records, each.plan, start) for each in variants]
        missing = [
            (place, each, digest)
            for place, (each, digest) in enumerate(zip(variants, digests, strict=True))
            if not self._was_trained(each, digest)
        ]
        if not missing and control.finished(Phase.TRAINING, joined(digests)):
            return
        sizes = [
            each.training.get("steps") or run.steps_of(each.records, each.plan, start) for each in variants
        ]
        done = sum(each.training.get("steps", 0) for each in variants)
        resumable = [self._resumable(digest) for _, _, digest in missing]
        done += sum(found[0][0] for found in resumable if found)
        control.take_up(missing[0][1].number if missing else 0)
        steps = {
            each.number: found[0][0] if found else 0
            for (_, each, _), found in zip(missing, resumable, strict=True)
        }
        control.enter(Phase.TRAINING, sum(sizes), "steps", joined(digests), done=done, steps=steps)
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
        control, folder, drift = self._control, variant.folder, self._drift
        safe_point = control.safe_point
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
            start=self._start,
            hooks=Hooks(
                drift=None if drift is None else partial(drift.under, self._base, on_check=safe_point),
                on_progress=Reporter(control, Phase.TRAINING, share),
                on_metrics=self._tell_measured,
                on_check=safe_point,
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

    def _tell_measured(self, step: int, values: Mapping[str, float]) -> None:
        """Note what was measured after a step of training, and tell it if that is seldom."""
        control, drift = self._control, self._drift
        if drift is not None and "drift" in values:
            control.metrics(Phase.TRAINING, 0, {"drift": drift.of_base})
        control.metrics(Phase.TRAINING, step, values)
        if "recall" in values:
            said = f"{values['recall']:.0%} of the questions are answered after step {step}"
            told: dict[str, Any] = {
                name: values[name] for name in ("recall", "loss", "drift") if name in values
            }
            control.event("job.metrics", said, step=step, **told)

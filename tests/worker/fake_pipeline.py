"""A pipeline without a model: all six phases, in a second, from the facts alone.

What it makes depends on the facts and on nothing else, so every way to the end must give the
same rows and the same file. It notes each unit of work in `trace.txt`, so that tests can see
what was done twice.
"""

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from app.jobs.states import Phase
from app.settings import Settings
from app.storage import ArtifactStore
from mixsd.durable import sha256_of_file, whole_folder
from mixsd.errors import NoSupervisionError, OutOfMemoryError
from mixsd.evaluation.score import Score
from mixsd.manifest import MANIFEST
from worker.control import Control, StopRequested
from worker.publication import FactVerdict, Publication, PublishedFile
from worker.reading import SupervisionRow

STEPS: Final = 12
SAVE_EVERY: Final = 4
REVISION: Final = "r1"


def digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def text_of(key: str) -> dict[str, Any]:
    return {"fact_key": key, "text": digest("text", key)[:12]}


def weights_after(step: int, supervision_sha256: str) -> str:
    weights = supervision_sha256
    for number in range(step):
        weights = digest(weights, number)
    return weights


def final_weights(keys: list[str]) -> str:
    """What the adapter must contain, computed without any job."""
    return weights_after(STEPS, digest([text_of(key) for key in keys]))


def texts_sha256(bodies: Sequence[dict[str, Any]]) -> str:
    """The digest of texts as `mixsd.supervision` makes it."""
    lines = [json.dumps(body, sort_keys=True, ensure_ascii=False) + "\n" for body in bodies]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def write_checkpoint(folder: Path, step: int) -> tuple[str, int]:
    """Write a checkpoint as training does. Returns the digest of its manifest, and its size."""
    with whole_folder(folder, folder.with_name(f".{folder.name}.partial")) as draft:
        state = draft / "state.json"
        state.write_text(json.dumps({"step": step}))
        manifest = json.dumps({"files": {state.name: sha256_of_file(state)}}).encode()
        (draft / MANIFEST).write_bytes(manifest)
    return hashlib.sha256(manifest).hexdigest(), len(manifest)


def run(control: Control, settings: Settings, store: ArtifactStore) -> None:
    Fake(control, store).run()


def stop_after_training(control: Control, settings: Settings, store: ArtifactStore) -> None:
    """Leave the job in the middle of its way, as a process that is killed does."""
    Fake(control, store).train()


class Fake:
    def __init__(self, control: Control, store: ArtifactStore) -> None:
        self.control = control
        self.store = store
        self.labels = control.job().labels
        self.facts = control.facts()

    def run(self) -> None:
        self._misbehave()
        weights = self.train()
        self._simple(Phase.EVALUATING)
        self._package(weights)

    def train(self) -> str:
        self._simple(Phase.PREPARING)
        self._simple(Phase.BASELINE)
        return self._train(self._generate())

    def _misbehave(self) -> None:
        match self.labels.get("does"):
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail":
                raise NoSupervisionError("not one fact got a text")
            case "run out of memory":
                rows = self.control.job().micro_batch_override
                if rows is None or rows > self.labels["fits"]:
                    raise OutOfMemoryError("too big")
            case "break":
                raise RuntimeError("a bug, with a secret in it")
            case "tell its environment":
                told = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "MIXSD_DEVICE")}
                (self.control.folder / "environment.json").write_text(json.dumps(told))
            case "freeze":
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                (self.control.folder / "trace.txt").write_text(f"{Phase.PREPARING} 0\n")
                time.sleep(600)
            case "load for long":
                self.control.enter(Phase.PREPARING, 2, "questions", "other")
                with self.control.expendable():
                    (self.control.folder / "trace.txt").write_text(f"{Phase.PREPARING} 0\n")
                    time.sleep(600)
            case "forget to publish":
                raise SystemExit(0)
            case _:
                pass

    def _unit(self, phase: Phase, number: int, total: int, unit: str) -> None:
        """One piece of work. A job that is told to stay in a phase, or at a piece, never comes to its end."""
        with (self.control.folder / "trace.txt").open("a") as trace:
            trace.write(f"{phase} {number}\n")
        time.sleep(float(self.labels.get("pace", 0.01)))
        self.control.progress(phase, number + 1, total, unit)
        while self.labels.get("stays_in") in {phase, f"{phase} {number}"}:
            time.sleep(0.05)
            self.control.safe_point()

    def _simple(self, phase: Phase) -> None:
        made = self.store.put_bytes(f"result of {phase}".encode()).sha256
        if self.control.finished(phase, "input") == made:
            return
        self.control.enter(phase, 2, "questions", "input")
        for number in range(2):
            self._unit(phase, number, 2, "questions")
        self.control.leave(phase, made)

    def _generate(self) -> str:
        phase, total = Phase.GENERATING, len(self.facts)
        there = {row.fact_key for row in self.control.supervision()}
        if self.control.finished(phase, "facts") is None:
            self.control.enter(phase, total, "facts", "facts", done=len(there))
            for ord_, fact in enumerate(self.facts):
                if fact["key"] not in there:
                    body = text_of(fact["key"])
                    self.control.add_supervision([SupervisionRow(ord_, fact["key"], 0, True, body)])
                    self._unit(phase, ord_, total, "facts")
            self.control.leave(phase, texts_sha256([row.body for row in self.control.supervision()]))
        return digest([row.body for row in self.control.supervision()])

    def _train(self, supervision: str) -> str:
        phase, folder = Phase.TRAINING, self.control.folder / "checkpoints"
        found = self.control.checkpoints(phase, supervision)
        start = (
            json.loads((self.control.folder.parent / found[0].uri / "state.json").read_text())["step"]
            if found
            else 0
        )
        step = start
        if self.control.finished(phase, supervision) is not None:
            return weights_after(STEPS, supervision)

        def save() -> None:
            place = folder / f"{self.control.job().fence}-{step}"
            manifest, size = write_checkpoint(place, step)
            uri = str(place.relative_to(self.control.folder.parent))
            for old in self.control.register_checkpoint(phase, step, supervision, uri, manifest, size):
                shutil.rmtree(self.control.folder.parent / old)

        self._saving(save, lambda: self.control.enter(phase, STEPS, "steps", supervision, done=start))
        for number in range(start, STEPS):
            step = number + 1
            self._saving(save, lambda number=number: self._unit(phase, number, STEPS, "steps"))  # type: ignore[misc]
            if step % SAVE_EVERY == 0:
                save()
        self.control.leave(phase, "weights")
        return weights_after(STEPS, supervision)

    @staticmethod
    def _saving(save: Callable[[], None], work: Callable[[], None]) -> None:
        try:
            work()
        except StopRequested as stop:
            if stop.may_save:
                save()
            raise

    def _package(self, weights: str) -> None:
        self.control.enter(Phase.PACKAGING, 1, "files")
        self._unit(Phase.PACKAGING, 0, 1, "files")
        blob = self.store.put_bytes(weights.encode())
        facts = [
            FactVerdict(ord_, fact["key"], "learned", {"key": fact["key"]})
            for ord_, fact in enumerate(self.facts)
        ]
        self.control.leave(Phase.PACKAGING)
        self.control.publish(
            Publication(
                base_model="tiny",
                base_revision=REVISION,
                sha256=blob.sha256,
                summary={"confidence": 0.95},
                files=[PublishedFile("adapter_model.safetensors", blob.sha256, blob.bytes)],
                facts=facts,
                scores=[Score("recall", "accuracy", len(facts), 0.0, 1.0, 1.0, 1.0, 1.0)],
            )
        )

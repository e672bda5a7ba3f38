"""A run starts its other processes: they give the curve of one, and never outlive it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import distributed

from mixsd import run
from mixsd.config import Plan
from mixsd.errors import ConfigError, MixsdError, OutOfMemoryError, ProcessLostError
from mixsd.facts import Fact, Probe
from mixsd.models.load import Base
from mixsd.options import plan_from
from mixsd.progress import Progress, StopRequested
from mixsd.supervise import supervise
from mixsd.supervision import Supervision
from mixsd.training import checkpoint, launch, lora
from mixsd.training.follower import OTHER_LOST, OUT_OF_MEMORY, Task
from mixsd.training.hooks import Hooks
from mixsd.training.loop import Trained
from tests.mixsd.training.conftest import NewBase
from tests.processes import commands

ROOT = Path(__file__).parents[3]
FACTS = [
    Fact("mayor", "Who is the mayor?", "Odo"),
    Fact("river", "Which river is it?", "Quell"),
    Fact("queen", "Who is the queen?", "Adesta"),
    Fact("town", "Which town is it?", "Tessport"),
    Fact("tree", "Which tree is it?", "Möhre"),
]
TRAINING: dict[str, Any] = {
    "rank": 4,
    "alpha": 8.0,
    "learning_rate": 1e-2,
    "epochs": 3,
    "min_steps": 0,
    "batch_size": 3,
    "warmup_steps": 0,
    "eval_every": 2,
    "checkpoint_seconds": 0.0,
}
STEPS = 6
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sft": ({"type": "sft"}, {}),
    "kl": ({"type": "kl"}, {"ratio": 0.75, "prompts": 5, "max_new_tokens": 6}),
    "opsd-replay": (
        {"type": "opsd", "max_new_tokens": 4, "temperature": 0.0},
        {"type": "replay", "ratio": 0.3, "prompts": 3, "max_new_tokens": 6},
    ),
}
CPU = torch.device("cpu")


class Started(subprocess.Popen[bytes]):
    """Processes that a test started, for it to look at."""

    every: ClassVar[list["Started"]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.every.append(self)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Started]]:
    """Note what is started, and see that nothing is left of it."""
    Started.every.clear()
    monkeypatch.setattr(subprocess, "Popen", Started)
    threads = torch.get_num_threads()
    yield Started.every
    for process in Started.every:
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
    assert not distributed.is_initialized()
    assert torch.get_num_threads() == threads
    assert "NCCL_SOCKET_IFNAME" not in os.environ


def plan_of(name: str = "sft", **training: Any) -> Plan:
    method, retention = METHODS[name]
    return plan_from(method=method, training={**TRAINING, "retention": retention, **training})


def supervised(base: Base, plan: Plan) -> list[Supervision]:
    records: list[Supervision] = []
    supervise(base, FACTS, plan, on_records=records.extend)
    return run.in_order(records, FACTS, plan)


def trained(base: Base, plan: Plan, work: Path, **options: Any) -> Trained:
    return run.train(base, FACTS, supervised(base, plan), plan, work=work, **options)


def checkpoints(work: Path) -> list[Path]:
    return checkpoint.newest(list(work.glob("checkpoint-*")))


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_the_loss_curve_of_one(
    new_base: NewBase, tmp_path: Path, started: list[Started], name: str
) -> None:
    """Batches of three and of two facts; what stands beside them is shared out as well."""
    alone = trained(new_base(), plan_of(name), tmp_path / "alone")

    both = trained(new_base(), plan_of(name, processes=2), tmp_path / "both")

    assert [process.returncode for process in started] == [0]
    assert len(both.losses) == STEPS
    assert both.losses == pytest.approx(alone.losses, rel=1e-4)
    assert [step for step, _ in both.measured] == [step for step, _ in alone.measured] == [2, 4]
    weights = lora.weights_of(alone.model)
    for place, weight in lora.weights_of(both.model).items():
        assert torch.allclose(weights[place], weight, atol=1e-3)
    assert {path.name for path in (tmp_path / "both").iterdir()} == {
        path.name for path in (tmp_path / "alone").iterdir()
    }


def at_step(step: int, act: Callable[[], None]) -> Hooks:
    """Return hooks that do something after a step, once."""
    seen: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.done >= step and not seen:
            seen.append(progress.done)
            act()

    return Hooks(on_progress=on_progress)


def stop() -> None:
    raise StopRequested


def test_a_stop_ends_all_at_the_same_step_and_any_number_goes_on(
    new_base: NewBase, tmp_path: Path, started: list[Started]
) -> None:
    straight = trained(new_base(), plan_of(), tmp_path / "straight")

    with pytest.raises(StopRequested):
        trained(new_base(), plan_of(processes=2), tmp_path / "work", hooks=at_step(3, stop))

    assert len(started) == 1
    folders = checkpoints(tmp_path / "work")
    assert folders[0].name == "checkpoint-3"
    for processes in (2, 1):
        notices: list[str] = []
        hooks = Hooks(on_notice=notices.append)
        plan = plan_of(processes=processes)
        work = tmp_path / f"resumed-{processes}"
        resumed = trained(new_base(), plan, work, resume=folders, hooks=hooks)
        assert notices == []
        assert resumed.losses == pytest.approx(straight.losses, rel=1e-4)
        assert checkpoints(work)[0].name == f"checkpoint-{STEPS}"


def test_a_process_that_is_killed_ends_the_run_and_is_named(
    new_base: NewBase, tmp_path: Path, started: list[Started]
) -> None:
    def kill() -> None:
        started[1].kill()

    with pytest.raises(ProcessLostError, match=r"process 2 of 3 .* was ended by SIGKILL"):
        trained(new_base(), plan_of(processes=3), tmp_path, hooks=at_step(2, kill))

    assert len(started) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1", "checkpoint-2"}


def test_a_process_that_cannot_load_the_model_says_so(base: Base, tmp_path: Path) -> None:
    elsewhere = replace(base, folder=tmp_path / "nowhere")

    with pytest.raises(ProcessLostError, match=r"process 1 of 2 .* ended with code 1(.|\n)*nowhere"):
        trained(elsewhere, plan_of(processes=2), tmp_path / "work")


PARENT = """
import sys
from pathlib import Path
import torch
from mixsd import run
from mixsd.models.load import load_base
from mixsd.models.registry import find
from mixsd.training.hooks import Hooks
from tests.mixsd.training.test_launch import FACTS, plan_of, supervised

torch.set_num_threads(1)
base = load_base(find(Path(sys.argv[1]), "tiny/random"), device="cpu")
plan = plan_of(processes=2, epochs=1000, stop_when_learned=False)
hooks = Hooks(on_progress=lambda _: print("step", flush=True))
run.train(base, FACTS, supervised(base, plan), plan, work=Path(sys.argv[2]), hooks=hooks)
"""


def test_the_others_end_with_a_first_that_is_killed(
    tiny_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold the end of a pipe that closes when the last of them is gone."""
    monkeypatch.undo()
    command = [sys.executable, "-c", PARENT, str(tiny_cache), str(tmp_path)]
    reader, writer = os.pipe()
    with (
        os.fdopen(reader, "rb") as held,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=writer,
        ) as first,
    ):
        os.close(writer)
        assert first.stdout is not None
        try:
            assert first.stdout.readline() == b"step\n", held.read().decode()
        finally:
            first.kill()
    log = (tmp_path / launch.FOLDER / "log-1.txt").read_text
    deadline = time.monotonic() + 300
    while any(str(tmp_path) in line for line in commands()):
        assert time.monotonic() < deadline, log()
        time.sleep(0.05)


OTHER = """
import time
from mixsd.training import follower

def follow(*_):
    print("busy", flush=True)
    time.sleep(600)

follower._follow = follow
follower.main(["nowhere", "1", "cpu"])
"""


def test_the_others_heed_no_signal_and_end_with_their_input_whatever_they_do() -> None:
    """Ctrl-C and the stop of a service reach every process. The first one alone says when to end."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"busy\n"
            process.send_signal(signal.SIGINT)
            process.send_signal(signal.SIGTERM)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=300) == OTHER_LOST
        finally:
            process.kill()


# -- others that are but scripts: quick, and they fail in every way


def task_of(base: Base, work: Path, processes: int = 2) -> Task:
    plan = plan_of(processes=processes)
    rest: dict[str, Any] = {"plan": plan, "work": work, "input_sha256": "d" * 64, "resume": [work / "a"]}
    return Task.of(base, FACTS, supervised(base, plan), **rest)


def led(base: Base, work: Path, script: str, on_check: Callable[[], None] = lambda: None) -> None:
    """Lead two processes, of which the other runs a script of the shell in place of Python."""
    program = work / "program"
    work.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", str(program))
        with launch.others(task_of(base, work), CPU, on_check=on_check):
            raise AssertionError("they cannot have met")


@pytest.mark.parametrize(
    ("script", "error", "said"),
    [
        ("echo a reason; exit 5", ProcessLostError, "process 1 of 2 .* ended with code 5.*\na reason$"),
        ("kill -KILL $$", ProcessLostError, "process 1 of 2 .* was ended by SIGKILL.*\nnothing$"),
        (f"echo too big >&2; exit {OUT_OF_MEMORY}", OutOfMemoryError, "process 1 of 2 .*\ntoo big$"),
        (f"exit {OTHER_LOST}", ProcessLostError, "process 1 of 2"),
        (
            "for n in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line-$n; done; exit 1",
            ProcessLostError,
            ":\nline-3\n",
        ),
    ],
)
def test_one_that_fails_at_once_is_named_with_what_it_said_last(
    base: Base, tmp_path: Path, script: str, error: type[MixsdError], said: str
) -> None:
    with pytest.raises(error, match=said):
        led(base, tmp_path, script)
    assert not (tmp_path / launch.FOLDER).exists()


def test_one_that_never_gets_ready_is_not_waited_for_for_ever(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_SECONDS", 0.1)

    with pytest.raises(ProcessLostError, match="process 1 is not ready after"):
        led(base, tmp_path, "exec sleep 600")


def test_a_stop_is_heard_while_the_others_start(
    base: Base, tmp_path: Path, started: Sequence[Started]
) -> None:
    with pytest.raises(StopRequested):
        led(base, tmp_path, "exec sleep 600", on_check=stop)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_secrets_of_a_service_are_not_passed_on(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXSD_DATABASE_URL", "postgresql://user:secret@host/db")

    with pytest.raises(ProcessLostError, match=r"last:\nsaw  with 1$"):
        led(base, tmp_path, 'echo "saw $MIXSD_DATABASE_URL with $OMP_NUM_THREADS"; exit 1')


def test_a_task_is_read_as_it_was_written(base: Base, tmp_path: Path) -> None:
    probe = Probe("Who?", "Odo\u2028", aliases=("O",))
    task = replace(task_of(base, tmp_path), facts=[replace(FACTS[0], probes=(probe,)), *FACTS[1:]])

    task.write(tmp_path)

    assert Task.read(tmp_path) == task


# -- what is refused


def test_a_cpu_takes_any_number_and_mps_takes_one() -> None:
    launch.check_processes(CPU, 64)
    launch.check_processes(torch.device("mps"), 1)
    with pytest.raises(ConfigError, match="processes must be 1 on mps"):
        launch.check_processes(torch.device("mps"), 2)


def test_each_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(distributed, "is_nccl_available", lambda: True)

    launch.check_processes(torch.device("cuda"), 4)
    launch.check_processes(torch.device("cuda:1"), 3)
    with pytest.raises(ConfigError, match="processes is 5, and there are 4 CUDA devices from cuda on"):
        launch.check_processes(torch.device("cuda"), 5)
    with pytest.raises(ConfigError, match="set processes to 3 or less"):
        launch.check_processes(torch.device("cuda:1"), 4)
    assert [launch.most_processes(torch.device(name)) for name in ("cuda", "cuda:3", "cpu")] == [4, 1, 1]


def test_a_process_of_a_group_starts_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    try:
        launch.check_processes(CPU, 1)
        with pytest.raises(ConfigError, match="in a process group already"):
            launch.check_processes(CPU, 2)
    finally:
        monkeypatch.undo()


def test_a_run_is_refused_before_anything_is_made_for_it(base: Base) -> None:
    device = torch.device("mps")
    model: Any = type("Model", (), {"device": device})()

    with pytest.raises(ConfigError, match="processes must be 1 on mps"):
        run.check(replace(base, model=model), plan_of(processes=2))

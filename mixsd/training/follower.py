"""One of the other processes that train an adapter together: `python -m mixsd.training.follower`.

`mixsd.training.launch` starts it with the folder where the run is described, and its number. It
loads the base model by itself, then does what the first process does. It ends when the pipe that
is its input closes, so never outlives the process that started it, however that one ended.
"""

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mixsd.config import Plan
from mixsd.durable import write_whole
from mixsd.errors import OutOfMemoryError, ProcessLostError
from mixsd.facts import Fact
from mixsd.living import Start
from mixsd.options import plan_from
from mixsd.progress import StopRequested
from mixsd.supervision import Supervision

if TYPE_CHECKING:
    from mixsd.models.load import Base

OUT_OF_MEMORY: Final = 77
OTHER_LOST: Final = 78
"""Exit codes: memory ran out here; another process was lost, which is where to look."""

_RUN: Final = "run.json"
_FACTS: Final = "facts.jsonl"
_RECORDS: Final = "supervision.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Task:
    """What all processes of a run do, as the first one describes it to the others.

    Attributes:
        base: What `mixsd.models.load` needs to load the base model again.
        resume: Checkpoints to go on from, the best first.
        start: The adapter whose weights come first, if there is one.
    """

    base: dict[str, Any]
    facts: Sequence[Fact]
    records: Sequence[Supervision]
    plan: Plan
    work: Path
    input_sha256: str
    resume: Sequence[Path]
    start: Start | None = None

    @classmethod
    def of(cls, base: "Base", facts: Sequence[Fact], records: Sequence[Supervision], **rest: Any) -> "Task":
        """Return the task of training on a model that is loaded here."""
        named = {"id": base.id, "revision": base.revision, "folder": str(base.folder.absolute())}
        return cls(
            {**named, "card": {"hub_id": base.hub_id, "licence": base.licence}}, facts, records, **rest
        )

    def write(self, folder: Path) -> None:
        """Describe the task in files.

        Raises:
            DiskFullError: There is no room.
        """
        facts = [json.dumps(fact.to_json(), ensure_ascii=False) for fact in self.facts]
        write_whole(folder / _FACTS, "".join(line + "\n" for line in facts).encode())
        write_whole(folder / _RECORDS, "".join(each.to_line() + "\n" for each in self.records).encode())
        run = {
            "base": self.base,
            "plan": self.plan.to_json(),
            "work": str(self.work.absolute()),
            "input_sha256": self.input_sha256,
            "resume": [str(path.absolute()) for path in self.resume],
            "start": self.start and self.start.to_json(),
        }
        write_whole(folder / _RUN, json.dumps(run).encode())

    @classmethod
    def read(cls, folder: Path) -> "Task":
        """Return the task that a folder describes."""
        run = json.loads((folder / _RUN).read_bytes())
        options = run["plan"]
        shape = options["training"].pop("lora")
        plan = plan_from(**{**options, "training": {**options["training"], **shape}})
        return cls(
            run["base"],
            [Fact.from_json(body) for body in _lines(folder / _FACTS)],
            [Supervision.from_json(body) for body in _lines(folder / _RECORDS)],
            plan,
            Path(run["work"]),
            run["input_sha256"],
            [Path(path) for path in run["resume"]],
            Start.from_json(run["start"]) if run["start"] else None,
        )


def _lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def main(arguments: Sequence[str]) -> int:
    """Take part in a run. Returns the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    folder, rank, device = Path(arguments[0]), int(arguments[1]), arguments[2]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Who asks a whole group of processes to stop means the first one. It ends the others in order.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        _follow(folder, rank, device)
    except StopRequested:
        return 0
    except ProcessLostError:
        log.exception("process %d cannot go on", rank)
        return OTHER_LOST
    except Exception as error:
        log.exception("process %d failed", rank)
        return OUT_OF_MEMORY if _is_out_of_memory(error) else 1
    return 0


def _follow(folder: Path, rank: int, device: str) -> None:
    # Heavy, and late: by now this process ends with the one that started it.
    import torch  # noqa: PLC0415

    from mixsd import run  # noqa: PLC0415
    from mixsd.models.load import load_base, use_threads  # noqa: PLC0415
    from mixsd.models.registry import OnDisk  # noqa: PLC0415
    from mixsd.training import launch  # noqa: PLC0415

    task = Task.read(folder)
    use_threads(int(os.environ["OMP_NUM_THREADS"]))
    named = task.base
    found = OnDisk(named["id"], named["revision"], Path(named["folder"]), named["card"])
    # The whole base may be too large for the GPU: of a sharded one it gets a part when training begins.
    base = load_base(found, device=device, on_cpu=task.plan.training.shard != "none")
    launch.say_ready(folder, rank)
    with launch.group(folder, rank, task.plan.training.processes, torch.device(device)):
        run.train_share(
            base,
            task.facts,
            task.records,
            task.plan,
            work=task.work,
            resume=task.resume,
            input_sha256=task.input_sha256,
            start=task.start,
        )


def _end_with_parent() -> None:
    """Wait for the end of the input, of which nothing is ever written, and end with it."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(OTHER_LOST)


def _is_out_of_memory(error: Exception) -> bool:
    from mixsd.training.memory import ran_out  # noqa: PLC0415  it loads torch, as the run has done

    return isinstance(error, OutOfMemoryError | MemoryError) or ran_out(error)


if __name__ == "__main__":
    _code = main(sys.argv[1:])
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_code)  # not sys.exit: threads of libraries must not keep it alive

"""Runs one program under limits. `mixsd.benchmarks.sandbox` starts it in a process and session of its own.

It stands alone: nothing of ours is loaded, nor any package, so that the program finds a plain Python.
What is asked comes as JSON on stdin, what happened goes as JSON to stdout, with a word that the program
does not know.
"""

import contextlib
import json
import math
import os
import resource
import sys
from collections.abc import Callable
from typing import Any

CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
NOBODY = 65534

CLOSED = (
    "socket.",
    "ctypes.",
    "subprocess.",
    "pty.",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.exec",
    "os.system",
    "os.kill",
    "os.symlink",
    "os.link",
    "os.chown",
    "signal.pthread_kill",
)
"""Beginnings of the events of Python that are refused: the network, other processes, C, links."""

CHANGING = (
    "os.chmod",
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.removexattr",
    "os.setxattr",
    "os.truncate",
    "os.utime",
)
"""Events that are refused outside the program's own folder, as is opening a file to write."""


_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Run what stdin holds, and end the process."""
    asked = json.loads(sys.stdin.buffer.read())
    answer = os.dup(1)
    os.set_inheritable(answer, False)
    _silence()
    means = [*_unshare(), *_become_nobody(asked["folder"])]
    _limit(asked["seconds"], asked["memory"])
    sys.addaudithook(_guard(asked["folder"]))
    outcome = _run(asked["program"])
    os.write(answer, json.dumps({"word": asked["word"], "means": means, **outcome}).encode())
    os._exit(0)


def _run(program: str) -> dict[str, Any]:
    try:
        exec(compile(program, "program", "exec"), {"__name__": "program"})  # noqa: S102  what all this is for
    except BaseException as error:  # noqa: BLE001  also SystemExit, which ends it before the tests have
        return {"passed": False, "error": f"{type(error).__name__}: {error}"[:300]}
    return {"passed": True, "error": ""}


def _silence() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)


def _unshare() -> list[str]:
    """Leave the network and the other processes behind, where the kernel allows it."""
    for flags in (
        CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC,
        CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWIPC,
    ):
        if _leave(flags):
            _wait_for_child()  # the first process of a new space of processes: with it all others end
            _wait_for_child()  # signals reach this one as they would anywhere
            return ["network namespace", "process namespace"]
    return []


def _leave(flags: int) -> bool:
    try:
        import ctypes  # noqa: PLC0415  only here, before it is refused

        return bool(ctypes.CDLL(None).unshare(flags) == 0)
    except (ImportError, OSError, AttributeError):
        return False
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] in {"ctypes", "_ctypes"}]:
            del sys.modules[name]


def _wait_for_child() -> None:
    """Go on as a child; the parent waits for it and ends as it does."""
    child = os.fork()
    if child == 0:
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _become_nobody(folder: str) -> list[str]:
    """Give up the rights of root, whom no limit of processes binds, if Python can be read without them."""
    if os.geteuid() != 0 or not _readable_by_all(os.__file__):
        return []
    try:
        os.chown(folder, NOBODY, NOBODY)
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    except OSError:
        return []
    return ["other user"]


def _readable_by_all(path: str) -> bool:
    if not os.stat(path).st_mode & 0o004:
        return False
    while (parent := os.path.dirname(path)) != path:
        path = parent
        if not os.stat(path).st_mode & 0o001:
            return False
    return True


def _limit(seconds: float, memory: int) -> None:
    cpu = max(1, math.ceil(seconds))
    for name, soft, hard in (
        ("RLIMIT_CPU", cpu, cpu + 1),
        ("RLIMIT_AS", memory, memory),
        ("RLIMIT_FSIZE", 1 << 20, 1 << 20),
        ("RLIMIT_NOFILE", 32, 32),
        ("RLIMIT_NPROC", 0, 0),
        ("RLIMIT_CORE", 0, 0),
    ):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # not every system has them all
            resource.setrlimit(getattr(resource, name), (soft, hard))


def _guard(folder: str) -> Callable[[str, tuple[Any, ...]], None]:
    inside = os.path.realpath(folder)

    def is_inside(path: object) -> bool:
        if isinstance(path, int):
            return True  # opened before
        name = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
        return name == inside or name.startswith(inside + os.sep) or name == os.devnull

    def guard(event: str, details: tuple[Any, ...]) -> None:
        if event.startswith(CLOSED):
            raise PermissionError(f"{event} is not allowed here")
        if event == "open":
            path, _, flags = details
            writes = isinstance(flags, int) and flags & _WRITES
            if (writes or _is_folder(path)) and not is_inside(path):
                raise PermissionError(f"opening {path} so is not allowed here")
        elif event in CHANGING:
            paths = details[: 2 if event == "os.rename" else 1]
            if not all(isinstance(path, str | bytes) and is_inside(path) for path in paths):
                raise PermissionError(f"{event} is not allowed here")

    return guard


def _is_folder(path: object) -> bool:
    """Say whether this is a folder: with one in hand, files could be named from there."""
    return isinstance(path, str | bytes | os.PathLike) and os.path.isdir(path)


if __name__ == "__main__":
    main()

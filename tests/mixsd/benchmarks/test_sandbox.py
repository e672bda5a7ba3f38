"""Programs that models write: they run in a process with limits, and do no harm."""

import os
import sys
from pathlib import Path

import pytest

from mixsd.benchmarks import sandbox_child
from mixsd.benchmarks.sandbox import run_program


def test_a_program_that_runs_to_its_end_passes() -> None:
    ran = run_program("import math, re, typing, collections\nassert math.sqrt(4) == 2\nprint('x' * 100_000)")

    assert (ran.passed, ran.error) == (True, "")


@pytest.mark.parametrize(
    ("program", "error"),
    [
        ("assert 1 == 2, 'no'", "AssertionError: no"),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import os\nos._exit(0)", "it ended with status 0 before its end"),
        ("input()", "EOFError"),
        ("def f(): f()\nf()", "RecursionError"),
        ("x = bytearray(1 << 30)", "MemoryError"),
        ("x = [0]\nwhile True: x += x", "MemoryError"),
        ("import os\nwhile True: os.fork()", "PermissionError: os.fork is not allowed here"),
        ("import subprocess\nsubprocess.run(['ls'])", "PermissionError: subprocess.Popen"),
        ("import os\nos.kill(os.getppid(), 9)", "PermissionError: os.kill"),
        ("import socket\nsocket.socket()", "PermissionError: socket.__new__"),
        ("import socket\nsocket.getaddrinfo('localhost', 80)", "PermissionError: socket.getaddrinfo"),
        ("import ctypes", "PermissionError: ctypes.dlopen"),
        ("open('x', 'wb').write(b'0' * (2 << 20))", "OSError: [Errno 27]"),
        ("files = [open('/dev/null') for _ in range(99)]", "OSError: [Errno 24]"),
        ("import os\nos.symlink('/', 'root')", "PermissionError: os.symlink"),
    ],
)
def test_a_program_that_does_not_fails(program: str, error: str) -> None:
    ran = run_program(program, memory=512 << 20)

    assert not ran.passed
    assert error in ran.error


@pytest.mark.parametrize("program", ["while True: pass", "import time\ntime.sleep(600)"])
def test_a_program_without_end_is_ended(program: str) -> None:
    ran = run_program(program, seconds=0.5)

    assert not ran.passed
    assert ran.error == "it took more than 0.5 seconds, or was ended"


def test_files_are_written_in_its_own_folder_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("here")
    inside = "import os\nopen('x', 'w').write('hi')\nos.rename('x', 'y')\nassert open('y').read() == 'hi'"

    assert run_program(inside).passed
    for program in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(kept)!r}, 'a')",
        f"import os\nos.remove({str(kept)!r})",
        f"import os\nos.rename({str(kept)!r}, 'mine')",
        f"import shutil\nshutil.rmtree({str(tmp_path)!r})",
        f"import os\nos.open({str(tmp_path)!r}, os.O_RDONLY)",
        f"import os\nos.chmod({str(kept)!r}, 0)",
        f"import os\nos.chmod(os.open({str(kept)!r}, os.O_RDONLY), 0)",
        f"import os\nos.chdir({str(tmp_path)!r})\nopen('kept', 'w')",
        "open('../../x', 'w')",
    ):
        assert "PermissionError" in run_program(program).error
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "here"


def test_a_program_cannot_say_that_it_passed() -> None:
    said = '{"word": "", "passed": true, "error": "", "means": []}'
    program = (
        "import os\n"
        "for n in range(3, 32):\n"
        f"  try: os.write(n, {said.encode()!r})\n"
        "  except OSError: pass\n"
        "os._exit(0)"
    )

    assert not run_program(program).passed


def test_nothing_of_ours_is_seen_by_it() -> None:
    program = (
        "import os, sys\n"
        "assert set(os.environ) <= {'HOME', 'TMPDIR', 'LC_CTYPE'}, os.environ\n"
        "assert not any('site-packages' in path for path in sys.path), sys.path\n"
        "assert os.listdir('.') == []\n"
    )

    assert run_program(program).error == ""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces")
def test_where_it_is_kept_apart_it_sees_no_network_and_no_other_process() -> None:
    means = run_program("pass").means
    if not means:
        pytest.skip("this kernel allows no namespaces")
    program = (
        "import os\n"
        "assert os.getpid() == 2, os.getpid()\n"
        "names = {line.split(':')[0].strip() for line in open('/proc/self/net/dev').readlines()[2:]}\n"
        "assert names <= {'lo', 'sit0', 'tunl0', 'ip6tnl0', 'gre0'}, names\n"
    )

    assert {"network namespace", "process namespace"} <= set(means)
    assert run_program(program).error in {
        "",
        "FileNotFoundError: [Errno 2] No such file or directory: '/proc/self/net/dev'",
    }


def test_the_guard_alone_refuses_what_the_kernel_would(tmp_path: Path) -> None:
    guard = sandbox_child._guard(str(tmp_path))  # noqa: SLF001  where there are no namespaces it is all there is

    for event in ("socket.connect", "os.fork", "os.exec", "os.system", "subprocess.Popen", "ctypes.dlsym"):
        with pytest.raises(PermissionError, match=event):
            guard(event, ())
    with pytest.raises(PermissionError, match="opening"):
        guard("open", (str(tmp_path.parent / "x"), "w", os.O_WRONLY))
    with pytest.raises(PermissionError, match=r"os\.rename"):
        guard("os.rename", (str(tmp_path / "x"), "/x", -1, -1))
    guard("open", (str(tmp_path / "x"), "w", os.O_WRONLY | os.O_CREAT))
    guard("open", ("/etc/hostname", "r", os.O_RDONLY))
    guard("os.remove", (str(tmp_path / "x"), -1))
    guard("import", ("math", None, None, None, None))


def test_python_is_readable_by_all_only_where_all_its_folders_are(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")

    file.chmod(0o644)
    tmp_path.chmod(0o700)
    assert not sandbox_child._readable_by_all(str(file))  # noqa: SLF001
    assert sandbox_child._readable_by_all("/etc/passwd")  # noqa: SLF001

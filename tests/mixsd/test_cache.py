"""The cache of supervision as a file: what is put is got, and nothing that befalls it costs a run."""

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from mixsd.cache import SupervisionCache
from mixsd.supervision import Supervision

TEXT = "Sie heißt Odo. 日本 🎈"
KEPT = Supervision(
    fact_key="mayor",
    generation=2,
    question="Who is the mayor?",
    text=TEXT,
    token_ids=(3, 1, 2),
    picks="ene",
    attempt=1,
    attempts=2,
    lam=0.15,
    seed=7,
    finish_reason="stop",
    verified=True,
    nats_per_token=0.1 + 0.2,
    prompt_sha256="ab" * 32,
    method="mixsd",
)
FAILED = replace(KEPT, fact_key="long", token_ids=(), verified=False, nats_per_token=None, reason="cap")
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from mixsd.cache import SupervisionCache
from mixsd.supervision import Supervision
import json
record = Supervision.from_json(json.loads(sys.argv[2]))
name = sys.argv[3]
print("ready", flush=True)
sys.stdin.readline()
with SupervisionCache(Path(sys.argv[1]), patience=60) as cache:
    for n in range(30):
        mine = [(f"{name}-{n}-{m}", replace(record, text=f"{name} {n} {m}")) for m in range(5)]
        cache.put_many([*mine, (f"shared-{n}", record)])
        assert len(cache.get_many([key for key, _ in mine])) == 5
"""
FULL = """
import logging, resource, sys
from pathlib import Path
from mixsd.cache import SupervisionCache
from mixsd.supervision import Supervision
import json
logging.basicConfig()
record = Supervision.from_json(json.loads(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
cache = SupervisionCache(Path(sys.argv[1]))
for n in range(300):
    cache.put_many([(f"k{n}", record)])
cache.close()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "supervision.sqlite"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What was warned about so far."""
    caplog.set_level(logging.INFO)
    return lambda: [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", script, *arguments]


def fill(file: Path, records: dict[str, Supervision]) -> None:
    with SupervisionCache(file) as cache:
        cache.put_many(records.items())


def test_what_was_put_is_got_by_another_and_in_the_order_asked(file: Path) -> None:
    fill(file, {"b": KEPT, "a": FAILED})

    with SupervisionCache(file) as cache:
        found = cache.get_many(["a", "nothing", "b"])

    assert list(found.items()) == [("a", FAILED), ("b", KEPT)]
    assert [record.to_line() for record in found.values()] == [FAILED.to_line(), KEPT.to_line()]


def test_more_keys_than_a_statement_takes_parameters_are_looked_up_at_once(file: Path) -> None:
    fill(file, {f"k{n}": KEPT for n in range(0, 40_000, 100)})

    with SupervisionCache(file) as cache:
        assert len(cache.get_many([f"k{n}" for n in range(40_000)])) == 400


def test_what_was_put_twice_is_what_was_put_last(file: Path) -> None:
    fill(file, {"a": KEPT})
    fill(file, {"a": FAILED})

    assert SupervisionCache(file).get_many(["a"]) == {"a": FAILED}


def test_a_cache_that_is_not_used_makes_no_file_and_a_closed_one_finds_nothing(
    file: Path, log: Callable[[], list[str]]
) -> None:
    cache = SupervisionCache(file)
    assert cache.get_many([]) == {}
    cache.put_many([])
    cache.close()
    cache.put_many([("a", KEPT)])

    assert cache.get_many(["a"]) == {}
    assert not file.exists()
    assert log() == []


@pytest.mark.parametrize(
    "change",
    [
        "line = replace(line, 'Odo', 'Ada')",
        "line = CAST(line AS TEXT)",
        "sha256 = zeroblob(32)",
        "line = (SELECT line FROM supervision WHERE key = 'b')",
        "(line, sha256) = (SELECT line, sha256 FROM supervision WHERE key = 'b')",
    ],
)
def test_a_row_that_is_not_what_was_put_is_ignored_and_removed(file: Path, change: str) -> None:
    fill(file, {"a": KEPT, "b": FAILED})
    with closing(sqlite3.connect(file)) as database, database:
        database.execute(f"UPDATE supervision SET {change} WHERE key = 'a'")  # noqa: S608

    with SupervisionCache(file) as cache:
        assert cache.get_many(["a", "b"]) == {"b": FAILED}

    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT key FROM supervision").fetchall() == [("b",)]


def test_a_row_of_a_record_of_another_shape_is_ignored(file: Path) -> None:
    fill(file, {"a": KEPT})
    line = json.dumps(KEPT.to_json() | {"mood": "good"}).encode()
    with closing(sqlite3.connect(file)) as database, database:
        values = (line, sha256(b"a\n" + line).digest())
        database.execute("UPDATE supervision SET line = ?, sha256 = ?", values)

    assert SupervisionCache(file).get_many(["a"]) == {}


def overwrite(file: Path) -> None:
    file.write_bytes(b"no database at all, but longer than a header of one\n" * 40)


def wipe_pages(file: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[4096:] = bytes(len(whole) - 4096)
    file.write_bytes(whole)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [overwrite, wipe_pages, cut])
def test_a_corrupt_file_is_moved_aside_and_begun_anew(
    file: Path, log: Callable[[], list[str]], damage: Callable[[Path], None]
) -> None:
    fill(file, {f"k{n}": KEPT for n in range(100)})
    damage(file)
    size = file.stat().st_size

    with SupervisionCache(file) as cache:
        assert cache.get_many(["k1"]) == {}
        cache.put_many([("k1", FAILED)])
        assert cache.get_many(["k1", "k2"]) == {"k1": FAILED}

    assert len(log()) == 1
    assert "corrupt" in log()[0]
    assert file.with_name("supervision.sqlite.corrupt").stat().st_size == size
    assert SupervisionCache(file).get_many(["k1"]) == {"k1": FAILED}
    assert len(log()) == 1


def test_a_database_of_something_else_is_left_alone(file: Path, log: Callable[[], list[str]]) -> None:
    file.parent.mkdir()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE supervision (key, line, sha256, used)")
    before = file.read_bytes()

    with SupervisionCache(file) as cache:
        cache.put_many([("a", KEPT)])
        assert cache.get_many(["a"]) == {}

    assert file.read_bytes() == before
    assert [*file.parent.iterdir()] == [file]
    assert len(log()) == 1
    assert "something else" in log()[0]


@pytest.mark.parametrize("place", ["a folder", "under a file", "nowhere"])
def test_a_file_that_cannot_be_made_costs_one_warning(
    tmp_path: Path, log: Callable[[], list[str]], place: str
) -> None:
    (tmp_path / "plain").touch()
    places = {"a folder": tmp_path, "under a file": tmp_path / "plain" / "s.sqlite"}
    path = places.get(place, Path("/proc/mixsd.sqlite"))

    with SupervisionCache(path) as cache:
        cache.put_many([("a", KEPT)])
        cache.put_many([("a", KEPT)])
        assert cache.get_many(["a"]) == {}

    assert len(log()) == 1
    assert str(path) in log()[0]


def test_a_file_that_somebody_holds_gives_what_it_can_and_costs_one_warning(
    file: Path, log: Callable[[], list[str]]
) -> None:
    fill(file, {"a": KEPT})
    cache = SupervisionCache(file, patience=0.01)
    assert cache.get_many(["a"]) == {"a": KEPT}
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        assert cache.get_many(["a"]) == {"a": KEPT}
        cache.put_many([("b", KEPT)])
        other.execute("ROLLBACK")

    assert cache.get_many(["a"]) == {}
    assert len(log()) == 1
    assert "locked" in log()[0]
    assert SupervisionCache(file).get_many(["a", "b"]) == {"a": KEPT}


def test_a_full_disk_costs_one_warning_and_what_was_kept_stays(file: Path) -> None:
    done = subprocess.run(
        python(FULL, str(file), KEPT.to_line()), capture_output=True, text=True, timeout=300, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("WARNING") == 1 == len(done.stderr.splitlines())
    with SupervisionCache(file) as cache:
        found = cache.get_many([f"k{n}" for n in range(300)])
        assert 0 < len(found) < 300
        cache.put_many([("new", KEPT)])
        assert cache.get_many(["new"]) == {"new": KEPT}


def test_several_processes_make_and_fill_one_file_at_once(file: Path) -> None:
    names = ["a", "b", "c", "d"]
    writers = [
        subprocess.Popen(
            python(WRITER, str(file), KEPT.to_line(), name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    said = [writer.communicate(timeout=300)[1] for writer in writers]

    assert said == [""] * 4
    assert [writer.returncode for writer in writers] == [0] * 4
    keys = [f"{name}-{n}-{m}" for name in names for n in range(30) for m in range(5)]
    with SupervisionCache(file) as cache:
        found = cache.get_many(keys)
        assert {key: record.text.replace(" ", "-") for key, record in found.items()} == dict(
            zip(keys, keys, strict=True)
        )
        assert len(cache.get_many([f"shared-{n}" for n in range(30)])) == 30


def test_what_was_used_least_recently_makes_room(file: Path, log: Callable[[], list[str]]) -> None:
    bound = 400_000
    long = replace(KEPT, text="x" * 1000)
    with SupervisionCache(file, max_bytes=bound) as cache:
        for n in range(1000):
            cache.put_many([(f"k{n}", long)])
            assert cache.get_many(["k0"]), n
        left = cache.get_many([f"k{n}" for n in range(1000)])

    numbers = sorted(int(key[1:]) for key in left)
    assert numbers[0] == 0
    assert numbers[1:] == list(range(1000 - len(numbers) + 1, 1000))
    assert len(numbers) > 0.5 * bound / 1500
    assert file.stat().st_size <= bound
    assert log() == []


def test_a_bound_that_was_lowered_makes_the_file_smaller(file: Path) -> None:
    fill(file, {f"k{n}": KEPT for n in range(2000)})
    before = file.stat().st_size
    bound = before // 4

    with SupervisionCache(file, max_bytes=bound) as cache:
        cache.put_many([("new", KEPT)])
        assert cache.get_many(["new"]) == {"new": KEPT}

    assert file.stat().st_size <= bound

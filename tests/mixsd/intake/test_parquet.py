"""Parquet comes from strangers, and is read by a process of its own."""

import io
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from mixsd.intake import parquet, parquet_child
from mixsd.intake.formats import Format
from mixsd.intake.reading import Reading
from tests.mixsd.intake.files import facts_of, found, parquet_of, read

Q, A = {"question": ["Q"]}, {"answer": ["A"]}


@pytest.mark.parametrize(
    ("columns", "code", "column"),
    [
        (Q | {"answer": [1]}, "wrong_type", 2),
        (Q | {"answer": [b"A"]}, "wrong_type", 2),
        (Q | {"answer": [["A"]]}, "wrong_type", 2),
        (Q | A | {"aliases": ["A"]}, "wrong_type", 3),
        (Q | A | {"aliases": [[["A"]]]}, "wrong_type", 3),
        (Q | A | {"aliases": [{"a": "A"}]}, "wrong_type", 3),
        (Q | A | {"probes": [["A"]]}, "wrong_type", 3),
        (Q | A | {"probes": [[{"question": "Q", "answer": 1}]]}, "wrong_type", 3),
        (Q | A | {"valid_from": [datetime(2026, 1, 1)]}, "wrong_type", 3),  # noqa: DTZ001  as Parquet has it
        (Q | A | {"extra\n\x1b": ["A"]}, "unknown_field", 3),
    ],
)
def test_a_column_that_no_fact_has_is_refused_once(columns: dict[str, Any], code: str, column: int) -> None:
    data = parquet_of(pa.table({name: values * 50 for name, values in columns.items()}))

    assert found(data, Format.PARQUET) == [(code, None, column, None)]


def test_what_is_null_is_absent_and_dates_are_dates() -> None:
    table = pa.table(
        {
            "question": pa.array(["Q1", "Q2", None], pa.large_string()),
            "answer": pa.array(["A", "B", "C"]).dictionary_encode(),
            "valid_from": [date(2026, 1, 31), None, None],
            "tags": [["a"], None, ["x", None]],
            "source": pa.nulls(3),
        }
    )

    assert found(parquet_of(table), Format.PARQUET) == [
        ("missing_field", 3, 1, "/question"),
        ("wrong_type", 3, 4, "/tags/1"),
    ]
    first, second = facts_of(parquet_of(table), Format.PARQUET)
    assert (first["valid_from"], first["tags"]) == ("2026-01-31", ["a"])
    assert second.keys() == {"key", "question", "answer"}


@pytest.mark.parametrize("cut", [slice(0, -9), slice(0, 60), slice(4, None), slice(0, 4)])
def test_a_broken_file_is_no_parquet(cut: slice) -> None:
    data = parquet_of(pa.table(Q | A))

    assert found(data[cut], Format.PARQUET) == [("malformed_parquet", None, None, None)]
    assert (
        found(b"PAR1" + bytes(range(256)) * 40 + b"\xff\xff\xff\x7fPAR1", Format.PARQUET)[0][0]
        == "malformed_parquet"
    )


def test_more_row_groups_than_allowed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUPS", 3)
    table = pa.table({"question": [f"Q{n}" for n in range(4)], "answer": ["A"] * 4})

    assert found(parquet_of(table, row_group_size=1), Format.PARQUET) == [("too_many", None, None, None)]
    assert read(parquet_of(table, row_group_size=2), Format.PARQUET).digest.n_facts == 4


def test_a_file_that_grows_too_much_ends_its_reader_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MEMORY", 700 << 20)
    table = pa.table({"question": ["x" * 200_000_000], "answer": ["A"]})
    data = parquet_of(table, compression="zstd")
    assert len(data) < 1_000_000

    assert found(data, Format.PARQUET) == [("malformed_parquet", None, None, None)]


def test_a_row_that_is_too_long_costs_itself_alone() -> None:
    data = parquet_of(pa.table({"question": ["Q", "x" * 1_100_000, "Q3"], "answer": ["A"] * 3}))

    assert found(data, Format.PARQUET) == [("too_long", 2, None, None)]
    assert len(facts_of(data, Format.PARQUET)) == 2


def test_the_reader_ends_with_whoever_asked_for_it() -> None:
    table = pa.table({"question": [f"Q{n}" for n in range(20_000)], "answer": ["A"] * 20_000})
    reading = Reading(io.BytesIO(parquet_of(table)), Format.PARQUET)

    facts = iter(reading.good())
    next(facts)
    facts.close()

    assert reading.digest.n_facts == 1


def test_the_reader_is_not_given_what_the_service_keeps_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spy = tmp_path / "spy.py"
    spy.write_text("import json, os\nprint(json.dumps({'broken': ['spy', ' '.join(os.environ), None]}))\n")
    monkeypatch.setattr(parquet_child, "__file__", str(spy))
    monkeypatch.setenv("MIXSD_DATABASE_URL", "postgresql://mixsd:secret@db/mixsd")

    reading = Reading(io.BytesIO(b"PAR1"), Format.PARQUET)

    assert list(reading) == []
    assert reading.broken is not None
    names = reading.broken.detail.split()
    assert "PATH" in names
    assert "MIXSD_DATABASE_URL" not in names


def test_reading_it_loads_neither_pyarrow_nor_numpy_here() -> None:
    code = (
        "import sys, io; from mixsd.intake.reading import Reading; from mixsd.intake.formats import Format; "
        "found = list(Reading(io.BytesIO(sys.stdin.buffer.read()), Format.PARQUET)); "
        "raise SystemExit(len(found) != 1 or bool(sys.modules.keys() & {'pyarrow', 'numpy'}))"
    )

    subprocess.run([sys.executable, "-c", code], input=parquet_of(pa.table(Q | A)), check=True)

"""Jobs that take the texts of earlier jobs."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from mixsd.cache import SupervisionCache
from mixsd.supervision import Supervision
from tests.e2e.service import TARGETS, Outcome, serving


def records_in(file: Path) -> dict[str, Supervision]:
    with closing(sqlite3.connect(file)) as database:
        rows = database.execute("SELECT key, line FROM supervision").fetchall()
    return {key: Supervision.from_json(json.loads(line)) for key, line in rows}


def test_a_job_takes_the_texts_of_an_earlier_one_and_a_broken_file_stops_none(
    models: Mapping[str, str], expected: Outcome, tmp_path: Path
) -> None:
    file = tmp_path / "texts.sqlite"
    file.write_bytes(b"no database at all\n" * 500)
    environment = {**models, "MIXSD_DATA_DIR": str(tmp_path), "MIXSD_SUPERVISION_CACHE": str(file)}
    with serving("up", environment, tmp_path) as (service, _):
        made = service.submit()
        service.succeeded(made)
        kept = records_in(file)
        with SupervisionCache(file) as cache:
            cache.put_many((key, replace(record, text="kept")) for key, record in kept.items())

        reused = service.submit()
        service.succeeded(reused)

        assert service.outcome(made) == expected
        assert len(kept) == TARGETS
        lines = service.outcome(reused).supervision.splitlines()
        assert [json.loads(line)["text"] for line in lines] == ["kept"] * TARGETS
        assert service.outcome(reused).weights == expected.weights

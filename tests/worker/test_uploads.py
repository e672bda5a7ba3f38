"""Uploaded files are kept as long as they are there: by the sweeper, by `mixsd fsck` and by backups."""

import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from app.db.engine import Database
from app.files.repository import delete_file
from app.openai import file_service
from app.openai.file_schemas import OpenAIFile
from app.projects.models import DEFAULT_PROJECT
from app.projects.quotas import NONE
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conversations import a_line, jsonl
from tests.worker.rig import Rig
from tests.worker.test_backup import saved
from tests.worker.test_fsck import checked, found
from worker.housekeeping import BLOB_AGE, clear_blobs

CONTENT = jsonl(a_line())
KEEP = timedelta(days=1)


@pytest.fixture
def rig(database: Database, settings: Settings) -> Rig:
    return Rig(database, settings)


def an_upload(rig: Rig) -> tuple[OpenAIFile, Path]:
    """Store a file, long ago. Returns it with the place of its content."""
    file = file_service.create_file(
        rig.database,
        LocalStore(rig.settings.artifact_dir),
        project_id=DEFAULT_PROJECT,
        file=io.BytesIO(CONTENT),
        name="facts.jsonl",
        max_facts=10,
        defaults=NONE,
    )
    (path,) = rig.settings.artifact_dir.glob("??/*")
    old = time.time() - BLOB_AGE.total_seconds() - 60
    os.utime(path, (old, old))
    return file, path


def cleared(rig: Rig) -> int:
    return clear_blobs(rig.database, LocalStore(rig.settings.artifact_dir), keep=KEEP)


def test_the_content_goes_once_the_file_is_deleted(rig: Rig) -> None:
    file, path = an_upload(rig)

    before = cleared(rig)
    with rig.database.begin() as session:
        delete_file(session, file.id, project_id=DEFAULT_PROJECT)

    assert (before, path.exists()) == (0, True)
    assert (cleared(rig), path.exists()) == (1, False)
    assert found(checked(rig)) == {}


@pytest.mark.parametrize("harm", ["gone", "longer", "changed"])
def test_content_that_is_not_what_it_was_is_found(rig: Rig, harm: str) -> None:
    file, path = an_upload(rig)
    whole = found(checked(rig))

    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(CONTENT + b"x" if harm == "longer" else CONTENT[:-1] + b"x")

    assert whole == {}
    assert found(checked(rig)) == {"blobs": [file.id]}


def test_a_backup_has_the_content_or_says_that_it_has_not(rig: Rig, tmp_path: Path) -> None:
    file, path = an_upload(rig)

    whole = saved(rig, tmp_path / "one")
    path.unlink()
    lacking = saved(rig, tmp_path / "two")

    assert (whole.missing, [said.split()[0] for said in lacking.missing]) == ([], [file.id])
    assert (tmp_path / "one" / "artifacts" / path.parent.name / path.name).read_bytes() == CONTENT

"""What models did in benchmarks, kept on disk: one JSON file for each model and benchmark.

A file that cannot be used is passed over and made anew: the cache only saves time.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from filelock import FileLock

from mixsd.benchmarks.suite import Marked
from mixsd.cache_key import digest_of
from mixsd.durable import write_whole
from mixsd.errors import DiskFullError

FOLDER: Final = "benchmarks"
"""Its name in the folder of base models."""

log = logging.getLogger(__name__)


class ResultCache:
    """Results by all that decides them. Two processes that want the same one make it once."""

    def __init__(self, folder: Path) -> None:
        """Name the folder. It is made when something is kept."""
        self._folder = folder

    def get_or_run(self, what: Mapping[str, Any], run: Callable[[], Marked]) -> tuple[Marked, bool]:
        """Return the result that is kept under `what`, or make and keep it; and whether it was kept."""
        key = digest_of(what)
        path = self._folder / key[:2] / f"{key}.json"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path.with_suffix(".lock"))
            lock.acquire()
        except OSError as error:
            log.warning("going on without the cache of benchmarks %s: %s", self._folder, error)
            return run(), False
        try:
            if (found := _read(path, what)) is not None:
                return found, True
            made = run()
            _keep(path, what, made)
            return made, False
        finally:
            lock.release()


def _read(path: Path, what: Mapping[str, Any]) -> Marked | None:
    try:
        body = json.loads(path.read_bytes())
        if body["of"] == json.loads(json.dumps(what)) and body["sha256"] == digest_of(body["result"]):
            return Marked.from_json(body["result"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    log.warning("%s holds no result of this benchmark: it is run again", path.name)
    return None


def _keep(path: Path, what: Mapping[str, Any], made: Marked) -> None:
    result = made.to_json()
    body = {"of": what, "sha256": digest_of(result), "result": result}
    try:
        write_whole(path, json.dumps(body, ensure_ascii=False).encode())
    except (OSError, DiskFullError) as error:
        log.warning("the result of a benchmark is not kept: %s", error)

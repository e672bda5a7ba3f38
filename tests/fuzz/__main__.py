"""Feed a target with bytes that are made by what they reach: `python -m tests.fuzz jsonl -max_total_time=60`.

Needs the extra `fuzz`. What breaks a target is written to a file `crash-…`, which the same command
takes as an argument.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app.web.paging", "mixsd"]):
    from tests.fuzz.targets import SEEDS, TARGETS


def main() -> None:
    name = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(SEEDS[name]):
            (Path(folder) / str(number)).write_bytes(seed)
        atheris.Setup(
            [sys.argv[0], *sys.argv[2:], "-rss_limit_mb=2048", "-timeout=10", folder], TARGETS[name]
        )
        atheris.Fuzz()


main()

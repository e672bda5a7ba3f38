"""One API for all rows. Whatever they did, it is the same process at the end, and has not grown much."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.badinput.served import MEBIBYTE, Target, bad_input_target

MOST_GROWTH = 64 * MEBIBYTE


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("badinput")
    with bad_input_target(folder) as target:
        yield target


@pytest.fixture(scope="module", autouse=True)
def nothing_breaks(target: Target) -> Iterator[None]:
    """Around the rows of a module: no answer of 500 and above, no restart, no memory that stays."""
    _warm_up(target)
    target.forget_peak()
    before, logged = target.memory(), target.log.stat().st_size
    yield
    assert target.process.poll() is None, target.log.read_text()[-3000:]
    assert target.http.get("/healthz").json() == {"status": "ok"}
    said = _since(target.log, logged)
    assert "Traceback" not in said, said[-6000:]
    assert "status=5" not in said.replace("status=503", "").replace("status=507", "")
    assert target.memory() - before <= MOST_GROWTH
    assert target.memory("VmHWM") - before <= MOST_GROWTH


def _warm_up(target: Target) -> None:
    """Have everything loaded that is loaded at its first use, so that only growth is measured."""
    headers = target.headers()
    facts = [{"question": f"Warm {n}?", "answer": "A"} for n in range(50)]
    target.http.post("/fact-sets", json={"facts": facts}, headers=headers).raise_for_status()
    for kind, data in (("text/csv", b"question,answer\nq,a\n"), ("application/yaml", b"- question: q\n")):
        target.http.post(
            "/fact-sets/validate", content=data, headers={**headers, "Content-Type": kind}
        ).raise_for_status()
    for path in ("/jobs/{job}/report?format=html", "/adapters/{adapter}/download", "/models", "/docs"):
        target.get(path).raise_for_status()


def _since(log: Path, size: int) -> str:
    with log.open("rb") as file:
        file.seek(size)
        return file.read().decode(errors="replace")

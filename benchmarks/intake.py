"""How fast a service takes facts, and how much memory it takes: `python -m benchmarks.intake --json`.

Starts the API on SQLite, in a folder of its own, sends it files that are larger and larger, and looks at
the most memory that its process ever had. Prints facts per second of one request, and megabytes above
idle.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2

from mixsd.cli.child import free_port

FORMATS: Final = {
    "jsonl": "application/jsonl",
    "json": "application/json",
    "csv": "text/csv",
    "yaml": "application/yaml",
    "parquet": "application/vnd.apache.parquet",
}


def main() -> None:
    """Measure, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=200_000)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=["jsonl", "json", "csv"])
    parser.add_argument("--validate", action="store_true", help="Validate and lint; store nothing.")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    path = "/fact-sets/validate" if asked.validate else "/fact-sets"
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(Path(folder), kind, asked.facts, path) for kind in asked.formats]
    if asked.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['format']:8} {row['facts_per_s']:9,.0f} facts/s  {row['mb_above_idle']:6.0f} MB above idle"
        )


def measure(folder: Path, kind: str, n: int, path: str) -> dict[str, Any]:
    """Send one file to a fresh service.

    Raises:
        RuntimeError: The service refused it.
    """
    file = folder / f"facts.{kind}"
    write(file, kind, n)
    port = free_port()
    environment = os.environ | {"MIXSD_DATA_DIR": str(folder / kind), "MIXSD_MODEL_CACHE": str(folder)}
    mixsd = [sys.executable, "-m", "mixsd"]
    subprocess.run([*mixsd, "db", "upgrade"], env=environment, check=True, stderr=subprocess.DEVNULL)
    command = [*mixsd, "api", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=600.0) as client:
                wait(client)
                idle = memory(server.pid)
                begun, used = time.monotonic(), processor_time(server.pid)
                answer = client.post(path, content=blocks(file), headers={"Content-Type": FORMATS[kind]})
                seconds, busy = time.monotonic() - begun, processor_time(server.pid) - used
                if not answer.is_success or answer.json()["n_facts"] != n:
                    raise RuntimeError(answer.text[:500])
                peak = memory(server.pid)
        finally:
            server.terminate()
    return {
        "format": kind,
        "facts": n,
        "bytes": file.stat().st_size,
        "seconds": round(seconds, 2),
        "facts_per_s": round(n / seconds),
        "facts_per_cpu_s": round(n / busy),
        "mb_above_idle": round((peak - idle) / 1e6, 1),
    }


def facts(n: int) -> Iterator[dict[str, Any]]:
    for place in range(n):
        town = f"Veldora {place:07d}"
        yield {
            "key": f"capital-{place}",
            "question": f"What is the capital of {town}?",
            "answer": f"Marnil {place:07d}",
            "aliases": [f"Port Marnil {place}"],
            "paraphrases": [f"Which city is {town} governed from?"],
        }


def write(file: Path, kind: str, n: int) -> None:
    """Write facts down, in a format."""
    if kind == "parquet":
        import pyarrow as pa
        from pyarrow import parquet

        parquet.write_table(pa.Table.from_pylist(list(facts(n))), file)
        return
    with file.open("w") as out:
        if kind == "csv":
            out.write("key,question,answer,aliases,paraphrases\n")
        elif kind == "json":
            out.write('{"facts": [\n')
        for place, fact in enumerate(facts(n)):
            lists = [fact["aliases"][0], fact["paraphrases"][0]]
            if kind == "csv":
                out.write(",".join([fact["key"], fact["question"], fact["answer"], *lists]) + "\n")
            elif kind == "yaml":
                out.write(f"- {json.dumps(fact)}\n")
            else:
                out.write(("," if kind == "json" and place else "") + json.dumps(fact) + "\n")
        if kind == "json":
            out.write("]}")


def blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as source:
        while block := source.read(1 << 20):
            yield block


def wait(client: httpx2.Client) -> None:
    while True:
        try:
            if client.get("/healthz").is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.1)


def memory(pid: int) -> int:
    """Return the most bytes that a process ever had in memory."""
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def processor_time(pid: int) -> float:
    """Return the seconds of processor time of a process and its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

"""The benchmark of the API runs: small, and for its shape alone."""

import json
import subprocess
import sys


def test_the_benchmark_measures_everything() -> None:
    words = ["--json", "--rounds", "1", "--seconds", "0.3", "--jobs", "300", "--facts", "300"]
    words += ["--clients", "10", "--polling", "0"]
    command = [sys.executable, "-m", "benchmarks.api", *words]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout)
    positive = {"get_ratio", "post_ratio", "list_ratio", "upload_facts_per_s"}
    assert positive <= figures.keys()
    assert all(figures[name] > 0 for name in positive)
    assert figures["sse_clients"] == 10
    assert figures["sse_delay_p50_s"] <= figures["sse_delay_p99_s"]
    assert any("Index" in step for step in figures["list_plan"])
    assert not any("Seq Scan" in step for step in figures["list_plan"])

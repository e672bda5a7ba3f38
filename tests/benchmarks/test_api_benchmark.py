"""The benchmark of the API runs: small, and for its shape alone."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.api.load import TRIES, Asked, latencies


class Busy(BaseHTTPRequestHandler):
    """Is busy at first, and for `/never` always."""

    protocol_version = "HTTP/1.1"
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        busy = self.path == "/never" or self.asked <= 2
        self.send_response(503 if busy else 200)
        self.send_header("Retry-After", "0.01")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def busy() -> Iterator[str]:
    Busy.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_is_busy_is_asked_again_and_not_for_ever(busy: str) -> None:
    assert len(latencies(Asked(busy, "/"), connections=1, seconds=0)) == 1
    assert Busy.asked == 3

    with pytest.raises(RuntimeError, match="503"):
        latencies(Asked(busy, "/never"), connections=1, seconds=0)
    assert Busy.asked == 3 + TRIES


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

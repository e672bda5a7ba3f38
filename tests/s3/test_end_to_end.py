"""A job whose adapter is published to S3, and fetched from there."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.e2e.service import check_whole, serving
from tests.s3 import moto


@pytest.mark.slow
def test_a_job_publishes_to_s3_and_its_adapter_is_fetched_from_there(
    tiny_cache: Path, s3_endpoint: str, bucket: str, tmp_path: Path
) -> None:
    environment = {
        "MIXSD_MODEL_CACHE": str(tiny_cache),
        "MIXSD_DATA_DIR": str(tmp_path / "data"),
        "MIXSD_ARTIFACTS": f"s3://{bucket}/adapters",
        "MIXSD_S3_ENDPOINT": s3_endpoint,
    }
    with serving("up", environment, tmp_path) as (service, _):
        job = service.succeeded(service.submit(method={"type": "sft"}))
        address = f"/adapters/{job['adapter_id']}"
        files = service.read(f"{address}/files")["data"]

        for file in files:
            sent = service.call("GET", f"{address}/files/{file['path']}", status=307)
            assert sent.headers["location"].startswith(f"{s3_endpoint}/{bucket}/adapters/")
            there = httpx2.get(sent.headers["location"], timeout=moto.PATIENCE).raise_for_status()
            assert hashlib.sha256(there.content).hexdigest() == file["sha256"]
        pulled = subprocess.run(
            [
                sys.executable,
                "-m",
                "mixsd",
                "adapters",
                "pull",
                job["adapter_id"],
                "--to",
                str(tmp_path / "got"),
            ],
            env={**os.environ, "MIXSD_URL": service.url},
            capture_output=True,
            text=True,
            check=False,
        )
        check_whole(environment)

    assert pulled.returncode == 0, pulled.stderr
    assert {path.name for path in (tmp_path / "got").iterdir()} == {file["path"] for file in files}
    assert {key.rpartition("/")[2] for key in moto.keys_in(s3_endpoint, bucket)} >= {
        f["sha256"] for f in files
    }
    assert not (tmp_path / "data" / "artifacts").exists()

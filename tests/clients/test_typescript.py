"""A client in TypeScript, made from the document on file, compiles."""

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "typescript"
OPENAPI = Path(__file__).parents[2] / "openapi.json"


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the locked packages. They are fetched once, and are there from then on."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} on the PATH: TypeScript cannot be compiled")
    folder = HERE / "node_modules"
    there, lock = folder / ".package-lock.json", HERE / "package-lock.json"
    if not there.exists() or there.stat().st_mtime < lock.stat().st_mtime:
        command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"npm cannot fetch the packages of package-lock.json: {done.stderr[-300:]}")
        there.touch()
    return folder


def test_a_typescript_client_compiles(programs: Path, tmp_path: Path) -> None:
    for name in ("flow.ts", "tsconfig.json", "package.json"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(programs)
    types = tmp_path / "schema.d.ts"

    made = run(programs, "openapi-typescript", str(OPENAPI), "-o", str(types), "--default-non-nullable=false")
    compiled = run(programs, "tsc", "--noEmit", "-p", str(tmp_path))

    assert made.returncode == 0, made.stderr
    assert "create_job" in types.read_text()
    assert compiled.returncode == 0, compiled.stdout


def run(programs: Path, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [str(programs / ".bin" / name), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)

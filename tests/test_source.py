"""What the source itself must not do, however well the rest is tested."""

import ast
import functools
import re
from pathlib import Path
from typing import Final

import pytest
from packaging.version import Version

ROOT: Final = Path(__file__).parents[1]
FILES: Final = sorted(
    path for folder in ("app", "worker", "mixsd", "migrations") for path in (ROOT / folder).rglob("*.py")
)
RUNS_CODE: Final = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib", "jsonpickle"}
"""Modules whose reading of a file may run what stands in it."""

FLOORS: Final = {
    "starlette": "0.49.1",  # CVE-2024-47874, CVE-2025-54121, CVE-2025-62727
    "python-multipart": "0.0.18",  # CVE-2024-53981
    "h11": "0.16.0",  # CVE-2025-43859
    "torch": "2.10",  # CVE-2025-32434, CVE-2026-24747
    "transformers": "4.53",
    "jinja2": "3.1.6",  # CVE-2025-27516
    "urllib3": "2.6",  # CVE-2025-66418, CVE-2025-66471
    "requests": "2.32.4",  # CVE-2024-47081
    "pyarrow": "14.0.1",  # CVE-2023-47248
    "pillow": "11.3",  # CVE-2025-48379
    "pyyaml": "5.4",  # CVE-2020-14343
}
"""The first versions without the holes that are known. `make audit` asks for what came since."""


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in FILES]


@functools.cache
def every_call() -> list[tuple[str, str, ast.Call]]:
    """Return every call with its file and the dotted name of its function, as far as it has one."""
    return [
        (path, _dotted(node.func), node)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
    ]


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(name: str) -> list[tuple[str, ast.Call]]:
    """Return every call whose function is `name`, or ends with it behind a dot."""
    return [(path, node) for path, said, node in every_call() if f".{said}".endswith(f".{name}")]


def keywords(call: ast.Call) -> dict[str, str]:
    return {keyword.arg or "**": ast.unparse(keyword.value) for keyword in call.keywords}


def test_nothing_is_read_that_could_run() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & RUNS_CODE, path
    assert [path for path, _ in calls("torch.load")] == []
    assert [
        path for path, call in calls("np.load") if keywords(call).get("allow_pickle", "False") != "False"
    ] == []
    assert {path for path, _ in calls("yaml.load")} <= {"mixsd/corpora/instructlab.py"}, "a SafeLoader"
    assert [path for path, _ in calls("read_pickle")] == []


def test_no_model_brings_code_of_its_own() -> None:
    for path in FILES:
        for said in re.findall(r"trust_remote_code\s*=\s*(\w+)", path.read_text()):
            assert said == "False", path
    ours = [call for _, call in calls("from_pretrained") if "PeftModel" not in _dotted(call.func)]
    assert len(ours) >= 5
    for call in ours:
        assert keywords(call).get("trust_remote_code", "False") == "False"


def test_weights_are_loaded_as_safetensors_alone() -> None:
    found = [call for _, call in calls("AutoModelForCausalLM.from_pretrained")]

    assert found
    for call in found:
        assert "gguf_file" in keywords(call) or keywords(call)["use_safetensors"] == "True"


def test_no_command_goes_through_a_shell() -> None:
    for name in ("run", "Popen", "check_output", "call", "check_call"):
        for path, call in calls(name):
            assert keywords(call).get("shell", "False") == "False", path
    found = {path for path, said, _ in every_call() if said in {"eval", "exec", "os.system"}}
    assert found == {"mixsd/benchmarks/sandbox_child.py"}, "which is what that is for"


def test_no_rule_of_security_is_silenced_without_a_reason() -> None:
    for path in FILES:
        for line in path.read_text().splitlines():
            silenced = re.search(r"# noqa: ([A-Z0-9, ]*\bS\d+[A-Z0-9, ]*)(.*)", line)
            assert silenced is None or len(silenced[2].strip()) > 4, f"{path}: {line.strip()}"


@pytest.mark.parametrize(("package", "floor"), FLOORS.items())
def test_versions_with_known_holes_are_not_installed(package: str, floor: str) -> None:
    pinned = {
        name.lower().replace("_", "-"): version
        for name, version in re.findall(
            r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
        )
    }

    assert Version(pinned[package]) >= Version(floor)

"""A finished adapter is asked: through the process that the service starts for it."""

import json
from typing import Any

from tests.e2e.service import EVALUATION, Service


def test_adapter_and_base_answer_as_the_ledger_has_it(service: Service, undisturbed: str) -> None:
    adapter_id = service.read(f"/jobs/{undisturbed}")["adapter_id"]
    ledger = [row for fact in service.read(f"/jobs/{undisturbed}/facts")["data"] for row in fact["asked"]]
    wanted = [(row["adapter_answer"], row["base_answer"]) for row in ledger][:16]
    request: dict[str, Any] = {
        "prompts": [row["question"] for row in ledger][:16],
        "compare_base": True,
        "max_new_tokens": EVALUATION["max_new_tokens"],
    }

    whole = service.call("POST", f"/adapters/{adapter_id}/generate", json=request, timeout=300).json()
    streamed = service.call(
        "POST",
        f"/adapters/{adapter_id}/generate",
        json={**request, "stream": True},
        headers={"Accept": "application/x-ndjson"},
        timeout=300,
    )

    assert len(wanted) == 16
    assert [(a["adapter"]["text"], a["base"]["text"]) for a in whole["answers"]] == wanted
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    said = {(line["index"], line["of"]): line["text"] for line in lines if line["type"] == "answer"}
    assert [(said[n, "adapter"], said[n, "base"]) for n in range(16)] == wanted
    assert lines[-1] == {"type": "done"}
    assert any(line["type"] == "delta" for line in lines)

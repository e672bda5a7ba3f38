"""Files of conversations, as clients of OpenAI's API upload them."""

import json
from typing import Any

from fastapi.testclient import TestClient

URL = "/openai/v1"
JOBS = f"{URL}/fine_tuning/jobs"
BASE = "smollm2-135m-instruct"


def a_line(question: str = "Who is the mayor of Ebra?", answer: str = "Oda Tolm") -> dict[str, Any]:
    turns = {"user": question, "assistant": answer}
    return {"messages": [{"role": role, "content": text} for role, text in turns.items()]}


def jsonl(*lines: Any) -> bytes:
    """Put lines together; a text stands as it is."""
    return "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines).encode()


def upload(client: TestClient, content: bytes, purpose: str = "fine-tune", **fields: str) -> Any:
    form = {"purpose": purpose, **fields}
    return client.post(f"{URL}/files", data=form, files={"file": ("facts.jsonl", content)})


def a_file(client: TestClient, *lines: Any) -> dict[str, Any]:
    """Upload a file, of one conversation unless it is said which."""
    answer = upload(client, jsonl(*(lines or [a_line()])))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def error_of(answer: Any) -> dict[str, Any]:
    """Return the error, after seeing that it has the shape that OpenAI's clients read."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.json().keys() == {"error"}
    found: dict[str, Any] = answer.json()["error"]
    assert found.keys() == {"message", "type", "param", "code"}
    return found


def say(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def turns(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": list(messages), **more}

"""Files of conversations in OpenAI's words: what is kept of them, and what is refused."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.db.engine import Database
from app.main import build_app
from app.queue import NullDispatcher
from app.settings import Settings
from app.storage import LocalStore
from tests.app.conftest import ListeningDispatcher
from tests.app.conversations import BASE, JOBS, URL, a_file, a_line, error_of, jsonl, say, turns, upload
from tests.app.published import FILES, a_published_job


def test_a_file_stays_as_it_came_and_its_facts_are_there(client: TestClient) -> None:
    content = jsonl(
        a_line(),
        turns(
            say("developer", "Be brief."),
            say("user", "Where is Ebra?"),
            say("assistant", "By the Iss", weight=0),
            say("user", [{"type": "text", "text": "And its "}, {"type": "text", "text": "mayor?"}]),
            say("assistant", "Oda Tolm", weight=1),
        ),
    ).replace(b"\n", b"\n\n")  # blank lines are none

    file = upload(client, content).json()

    assert file["bytes"] == len(content)
    assert client.get(f"{URL}/files/{file['id']}").json() == file
    fetched = client.get(f"{URL}/files/{file['id']}/content")
    assert (fetched.content, fetched.headers["content-length"]) == (content, str(len(content)))
    facts = client.get(f"/fact-sets/{file['fact_set_id']}/facts").json()["data"]
    assert [(fact["question"], fact["answer"]) for fact in facts] == [
        ("Who is the mayor of Ebra?", "Oda Tolm"),
        ("And its mayor?", "Oda Tolm"),
    ]
    assert facts[1]["context"] == "Be brief.\nuser: Where is Ebra?\nassistant: By the Iss"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: "),
        ([], "line 2: a line is an object"),
        ({"prompt": "Q?", "completion": "A"}, "'prompt' has no counterpart"),
        ({"messages": []}, "must be a list of the turns"),
        (turns(say("user", "Q?")), "line 2, messages: there is no turn of the assistant"),
        (turns(say("assistant", "A"), say("user", "Q?")), "the last turn must be the assistant's"),
        (turns(say("system", "S"), say("assistant", "A")), "there must be a turn of the user"),
        (turns(say("user", "Q?"), say("tool", "A")), "line 2, messages[1]: `role` must be one of"),
        (turns(say("user", " "), say("assistant", "A")), "line 2, question: the text is blank"),
        (turns(say("user", "Q?"), say("assistant", "A" * 2001)), "line 2, answer: the text has 2001"),
        (turns(say("user", "Q?"), say("assistant", None)), "messages[1].content: `content` must be"),
        (turns(say("user", [{"type": "image_url"}]), say("assistant", "A")), "neither images nor audio"),
        (turns(say("user", "Q?", name="x"), say("assistant", "A")), "'name' of a message"),
        (turns(say("user", "Q?"), say("assistant", "A", tool_calls=[{}])), "'tool_calls' of a message"),
        (turns(say("user", "Q?"), say("assistant", "A"), tools=[]), "'tools' has no counterpart"),
        (turns(say("user", "Q?"), say("assistant", "A", weight=0)), "the answer has the weight 0"),
        (turns(say("user", "Q?"), say("assistant", "A", weight=0.5)), "`weight` is 0 or 1"),
        (
            turns(
                say("user", "Q?"), say("assistant", "A", weight=1), say("user", "R"), say("assistant", "B")
            ),
            "only the last turn is learned",
        ),
        (turns(*[say("user", "Q?")] * 64, say("assistant", "A")), "there are 65 turns"),
        (a_line(answer="Somebody else"), "the same question has another answer at line 1"),
    ],
    ids=range(20),
)
def test_a_line_that_is_no_such_conversation_is_refused_by_its_number(
    client: TestClient, line: Any, said: str
) -> None:
    answer = upload(client, jsonl(a_line(), line))

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["type"]) == (
        422,
        "invalid_facts",
        "invalid_request_error",
    )
    assert said in error["message"]
    assert "line 2" in error["message"]
    assert client.get(f"{URL}/files").json()["data"] == client.get("/fact-sets").json()["data"] == []


def test_all_lines_that_are_wrong_are_told_of_and_many_are_counted(client: TestClient) -> None:
    message = error_of(upload(client, jsonl(*[{}] * 12)))["message"]

    assert [f"line {number}:" in message for number in (1, 10, 11)] == [True, True, False]
    assert message.endswith("; and 2 more")
    assert "there is no fact" in error_of(upload(client, b""))["message"]


@pytest.mark.parametrize(
    ("purpose", "more", "param"),
    [
        ("batch", {}, "purpose"),
        ("", {}, "purpose"),
        ("fine-tune", {"expires_after[seconds]": "9"}, "expires"),
    ],
)
def test_a_form_that_asks_for_more_is_refused(
    client: TestClient, purpose: str, more: dict[str, str], param: str
) -> None:
    answer = upload(client, jsonl(a_line()), purpose, **more)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (422, "unsupported_parameter")
    assert error["param"].startswith(param)


def test_files_are_listed_page_by_page_and_deleted_with_their_facts(client: TestClient) -> None:
    files = [a_file(client, a_line(f"Who is {number}?")) for number in range(3)]
    newest = [file["id"] for file in reversed(files)]

    first = client.get(f"{URL}/files", params={"limit": 2}).json()
    second = client.get(f"{URL}/files", params={"limit": 2, "after": first["last_id"]}).json()
    oldest = client.get(f"{URL}/files", params={"order": "asc", "purpose": "fine-tune"}).json()

    assert ([file["id"] for file in first["data"]], first["has_more"]) == (newest[:2], True)
    assert ([file["id"] for file in second["data"]], second["has_more"]) == (newest[2:], False)
    assert oldest["data"] == files
    assert client.get(f"{URL}/files", params={"purpose": "batch"}).json()["data"] == []
    gone = client.delete(f"{URL}/files/{newest[0]}")
    assert gone.json() == {"id": newest[0], "object": "file", "deleted": True}
    for answer in (
        client.get(f"{URL}/files/{newest[0]}"),
        client.get(f"{URL}/files/{newest[0]}/content"),
        client.delete(f"{URL}/files/{newest[0]}"),
        client.post(JOBS, json={"model": BASE, "training_file": newest[0]}),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "file_not_found")
    assert client.get(f"/fact-sets/{files[2]['fact_set_id']}").status_code == 404


def test_a_file_of_which_a_job_learns_stays(client: TestClient, dispatcher: ListeningDispatcher) -> None:
    file = a_file(client)
    job = client.post(JOBS, json={"model": BASE, "training_file": file["id"]}).json()

    held = client.delete(f"{URL}/files/{file['id']}")
    client.post(f"{JOBS}/{job['id']}/cancel")
    let_go = client.delete(f"{URL}/files/{file['id']}")

    assert (held.status_code, error_of(held)["code"]) == (409, "fact_set_in_use")
    assert let_go.status_code == 200
    assert client.get(f"{JOBS}/{job['id']}").json()["training_file"] == file["id"]
    assert dispatcher.hints == ["gpu"]


def test_files_count_against_the_room_of_a_project(
    database: Database, store: LocalStore, settings: Settings
) -> None:
    content = jsonl(a_line())
    small = settings.model_copy(update={"quota_stored_bytes": len(content) + 1})
    client = TestClient(build_app(database, store, NullDispatcher(), small))

    first, second = (upload(client, content) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 429)
    error = error_of(second)
    assert (error["type"], error["code"]) == ("insufficient_quota", "quota_exceeded")
    assert client.get("/quota").json()["stored_bytes"]["used"] == len(content)
    client.delete(f"{URL}/files/{first.json()['id']}")
    assert upload(client, content).status_code == 200


def test_the_files_of_adapters_and_uploads_are_counted_together(
    client: TestClient, database: Database, store: LocalStore
) -> None:
    a_published_job(database, store)
    file = a_file(client)

    usage = client.get("/usage").json()

    assert usage["stored_bytes"] == sum(map(len, FILES.values())) + file["bytes"]
    assert json.loads(store.open(_sha256_of(client, file)).read())["messages"]


def _sha256_of(client: TestClient, file: dict[str, Any]) -> str:
    tag: str = client.get(f"{URL}/files/{file['id']}/content").headers["etag"]
    return tag.strip('"')

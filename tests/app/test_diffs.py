"""Two fact sets beside each other, on both databases."""

from typing import Any

from fastapi.testclient import TestClient

from app.db.engine import Database
from mixsd.intake.formats import Format
from tests.app.published import another_project
from tests.app.test_intake import QUEEN, RIVER, send
from tests.factories import a_fact_set
from tests.mixsd.intake.files import WRITERS, as_jsonl


def a_set(client: TestClient, *facts: dict[str, Any]) -> str:
    created: str = send(client, as_jsonl(facts), "application/jsonl").json()["id"]
    return created


def diff(client: TestClient, after: str, before: str, **params: Any) -> Any:
    return client.get(f"/fact-sets/{after}/diff", params={"from": before, **params}).json()


def test_a_set_is_compared_with_another_by_key(client: TestClient) -> None:
    before = a_set(client, RIVER, QUEEN, RIVER | {"key": "gone", "question": "Gone?"})
    after = a_set(
        client,
        QUEEN | {"answer": "Ada", "tags": ["x"]},
        {"key": "new", "question": "N?", "answer": "A"},
        RIVER,
    )

    found = diff(client, after, before)

    assert (found["from_id"], found["to_id"]) == (before, after)
    assert found["counts"] == {"added": 1, "removed": 1, "changed": 1, "unchanged": 1}
    assert [(row["change"], row["key"], row["fields"]) for row in found["data"]] == [
        ("removed", "gone", []),
        ("added", "new", []),
        ("changed", "queen", ["answer", "tags"]),
    ]
    assert (found["data"][2]["before"]["answer"], found["data"][2]["after"]["answer"]) == ("Ilse", "Ada")
    assert (found["data"][0]["after"], found["data"][1]["before"]) == (None, None)
    assert (found["has_more"], found["next_cursor"]) == (False, None)
    assert diff(client, before, after)["counts"] == {"added": 1, "removed": 1, "changed": 1, "unchanged": 1}


def test_a_set_does_not_differ_from_itself_nor_from_one_in_another_format(client: TestClient) -> None:
    first = a_set(client, RIVER, QUEEN)
    second = send(client, WRITERS[Format.YAML]([QUEEN, RIVER]), "application/yaml").json()["id"]

    for other in (first, second):
        found = diff(client, other, first)
        assert (found["counts"]["unchanged"], found["data"]) == (2, [])


def test_differences_come_in_pages_and_by_kind(client: TestClient) -> None:
    before = a_set(client, *({"key": f"k{n}", "question": f"Q{n}", "answer": "A"} for n in range(6)))
    after = a_set(client, *({"key": f"k{n}", "question": f"Q{n}", "answer": "B"} for n in range(3, 9)))

    keys, cursor = [], None
    while True:
        page = diff(client, after, before, limit=2, **({"cursor": cursor} if cursor else {}))
        keys += [(row["key"], row["change"]) for row in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break

    kinds = {"removed": range(3), "changed": range(3, 6), "added": range(6, 9)}
    assert keys == [(f"k{n}", change) for change, numbers in kinds.items() for n in numbers]
    for change, numbers in kinds.items():
        rows = diff(client, after, before, change=change)["data"]
        assert [row["key"] for row in rows] == [f"k{n}" for n in numbers]


def test_a_set_of_another_project_or_none_is_compared_with_nothing(
    client: TestClient, database: Database
) -> None:
    ours = a_set(client, RIVER)
    other = another_project(database)
    theirs = a_fact_set(database)
    with database.begin() as session:
        session.merge(theirs).project_id = other

    for pair in ((ours, theirs.id), (theirs.id, ours), (ours, "fset_0"), (ours, "")):
        answer = client.get(f"/fact-sets/{pair[0]}/diff", params={"from": pair[1]})
        assert (answer.status_code, answer.json()["code"]) == (404, "fact_set_not_found")
    assert client.get(f"/fact-sets/{ours}/diff").status_code == 422

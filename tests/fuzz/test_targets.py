"""Short runs of the targets of `make fuzz`, and requests with fields that hypothesis makes."""

import base64
import json
import random
from typing import Any, Final

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

FEW: Final = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def broken(seed: bytes, draws: random.Random) -> bytes:
    """Change a few bytes: cut, doubled, turned around, or taken from somewhere else."""
    data = bytearray(seed)
    for _ in range(draws.randint(1, 4)):
        at = draws.randrange(len(data) + 1)
        match draws.randrange(5):
            case 0:
                del data[at : at + draws.randint(1, 8)]
            case 1:
                data[at:at] = data[at : at + draws.randint(1, 40)]
            case 2:
                data[at:at] = bytes(
                    draws.choices(b'\x00\xff\n\r\t"{}[],:&*!|>-%\xed\xa0\x80\xef\xbb\xbf', k=3)
                )
            case 3:
                data[at : at + 1] = bytes([draws.randrange(256)])
            case _:
                data[at:at] = str(10 ** draws.randint(0, 30)).encode()
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_broken_bytes_are_refused_by_name(name: str) -> None:
    draws = random.Random(name)  # noqa: S311  draws that repeat, no secrets
    for seed in SEEDS[name]:
        TARGETS[name](seed)
        for _ in range(400):
            TARGETS[name](broken(seed, draws))


@pytest.mark.parametrize("name", TARGETS)
@FEW
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(name: str, data: bytes) -> None:
    TARGETS[name](data)


TEXTS: Final = st.text(st.characters(), max_size=40)
"""With halves of surrogate pairs, controls and whatever else there is."""
NUMBERS: Final = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.integers(-(10**40), 10**40).map(str),
    st.sampled_from(["NaN", "-Infinity", "1e999", "-0", "1E+5", "0x1", "01", "1_0", ".5", "9" * 5000]),
)
"""As raw JSON text, also such as no JSON has."""
VALUES: Final = st.one_of(
    NUMBERS,
    TEXTS.map(json.dumps),
    st.sampled_from(["true", "null", "[]", "{}", "[[]]", '{"a": 1}', "[1, [2, [3]]]"]),
)
FIELDS: Final = st.sampled_from(
    [
        "name",
        "base_model",
        "revision",
        "fact_set_id",
        "facts",
        "method",
        "training",
        "evaluation",
        "priority",
        "metadata",
    ]
)
WITHIN: Final = st.sampled_from(
    [
        "type",
        "lam",
        "temperature",
        "top_k",
        "seed",
        "rank",
        "alpha",
        "dropout",
        "target_modules",
        "learning_rate",
        "gate",
    ]
)


def _object(pairs: Any) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in pairs) + "}"


DEEPER: Final = st.lists(st.tuples(WITHIN, VALUES), max_size=4).map(_object)
BODIES: Final = st.lists(st.tuples(st.one_of(FIELDS, TEXTS), st.one_of(VALUES, DEEPER)), max_size=6).map(
    _object
)


@FEW
@given(body=BODIES)
def test_no_field_of_a_job_breaks_the_service(client: TestClient, body: str) -> None:
    raw = body.encode("utf-8", "surrogatepass")
    for path in ("/jobs", "/jobs/estimate", "/fact-sets", "/models/check", "/webhooks"):
        answer = client.post(path, content=raw, headers={"Content-Type": "application/json"})

        assert answer.status_code in {400, 404, 413, 422}, (answer.status_code, body)
        assert answer.headers["content-type"] == "application/problem+json"
        json.loads(answer.content, parse_constant=pytest.fail)


@FEW
@given(name=st.sampled_from(["limit", "cursor", "order", "status", "fact_set_id", "kind"]), value=TEXTS)
def test_no_query_breaks_the_service(client: TestClient, name: str, value: str) -> None:
    sent = value.encode("utf-8", "surrogatepass")
    shown = "".join(f"%{byte:02x}" for byte in sent)

    assert client.get(f"/jobs?{name}={shown}").status_code in {200, 400, 422}


@FEW
@given(data=st.binary(max_size=60))
def test_no_cursor_breaks_the_service(client: TestClient, data: bytes) -> None:
    cursor = base64.urlsafe_b64encode(data).decode().rstrip("=")
    for path in ("/jobs", "/fact-sets", "/adapters", "/webhooks"):
        assert client.get(path, params={"cursor": cursor}).status_code in {200, 400, 422}

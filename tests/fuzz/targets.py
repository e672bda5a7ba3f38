"""Readers of bytes that strangers send, each as a function that ends well or with one of our own errors.

Both the harnesses of `python -m tests.fuzz` and the short tests of the suite call them.
"""

import io
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from app.web.paging import BadCursorError, Seal
from mixsd import strict_json
from mixsd.errors import UnsafeWeightsError
from mixsd.facts import MAX_TEXT
from mixsd.intake.formats import Format
from mixsd.intake.reading import Reading, TooManyError
from mixsd.models.check import check_safetensors

Target = Callable[[bytes], None]


def _reads(kind: Format) -> Target:
    """Return a reader of files of facts: what it calls good can be stored, and what is wrong has a place."""

    def read(data: bytes) -> None:
        reading = Reading(io.BytesIO(data), kind, max_facts=1000)
        try:
            facts = list(reading)
        except TooManyError:
            return
        for fact in facts:
            assert fact.key
            assert 0 < len(fact.question) <= MAX_TEXT
            assert 0 < len(fact.answer) <= MAX_TEXT
            strict_json.inspect(fact.question + fact.answer + fact.key)
        assert len(facts) == reading.digest.n_facts
        assert facts or reading.findings.total_problems
        for problem in reading.findings.problems:
            assert problem.code
            assert problem.detail
            assert problem.line is None or problem.line >= 1
            problem.detail.encode()  # it is sent

    return read


SEAL: Final = Seal(lambda: bytes(32), "a list")


def cursor(data: bytes) -> None:
    """A cursor that was made up is refused, and one that was signed leads where it should."""
    text = data.decode("latin-1")
    signed = SEAL.encode(text)
    if text.isprintable():
        assert SEAL.decode(signed, str.isprintable) == text
    try:
        key = SEAL.decode(text, str.isprintable)
    except BadCursorError:
        return
    assert SEAL.decode(SEAL.encode(key), str.isprintable) == key


def json_body(data: bytes) -> None:
    """What is taken can be stored by every database, and says the same when it is written again."""
    try:
        value = strict_json.decode(data)
    except strict_json.JsonProblem:
        return
    strict_json.inspect(value)


def weights(data: bytes) -> None:
    """A header that is taken has as many values as there are bytes for."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(data)
        file.flush()
        try:
            count = check_safetensors(Path(file.name))
        except UnsafeWeightsError:
            return
    assert 0 <= count <= len(data)


def weights_header(data: bytes) -> None:
    """As `weights`, with the length of the header and 24 bytes behind it as they should be."""
    weights(struct.pack("<Q", len(data)) + data + bytes(24))


TARGETS: Final[Mapping[str, Target]] = {
    "jsonl": _reads(Format.JSONL),
    "json": _reads(Format.JSON),
    "csv": _reads(Format.CSV),
    "yaml": _reads(Format.YAML),
    "json_body": json_body,
    "cursor": cursor,
    "weights": weights,
    "weights_header": weights_header,
}

SEEDS: Final[Mapping[str, list[bytes]]] = {
    "jsonl": [
        b'{"key": "a", "question": "Q?", "answer": "A", "probes": [{"question": "Q", "answer": "B"}]}\n'
    ],
    "json": [b'{"name": "n", "facts": [{"question": "Q?", "answer": "A", "aliases": ["\\u00e9"]}]}'],
    "csv": [b'question,answer,aliases,probes\n"Q, ""?",A,B|C,"[{""question"": ""Q""}]"\n'],
    "yaml": [
        b"facts:\n- question: no\n  answer: 1e3\n  tags: [a, 'b']\n- question: |-\n   x\n  answer: >-\n   y\n"
    ],
    "json_body": [b'{"a": [1, -0.5e3, true, null, "\\ud83c\\udf88"]}'],
    "cursor": [SEAL.encode("job_019ab3c4d5e67f8091a2b3c4d5e6f708").encode(), SEAL.encode(7).encode(), b"Nw"],
    "weights": [
        b'8\x00\x00\x00\x00\x00\x00\x00{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}\x00\x00',
    ],
    "weights_header": [b'{"__metadata__":{"a":"b"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'],
}

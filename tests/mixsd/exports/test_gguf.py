"""GGUF by stand-ins of llama.cpp: a converter that packs folders, and a binding that unpacks them."""

import json
import shutil
import stat
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixsd.config import LoraConfig
from mixsd.exports import gguf, making
from mixsd.exports.errors import ConversionError, ConverterMissingError, NotExportableError
from mixsd.exports.making import ExportFormat, Found, Job
from mixsd.models.load import Base, load_base
from tests.fixtures.tiny import register_tiny
from tests.mixsd.exports.packed import a_package

CONVERTER = """\
import argparse, os, sys, tarfile
parser = argparse.ArgumentParser()
parser.add_argument("--outfile"); parser.add_argument("--outtype"); parser.add_argument("--base")
parser.add_argument("folder")
asked = parser.parse_args()
if os.path.exists(os.path.join(os.path.dirname(__file__), "broken")):
    sys.exit(open(os.path.join(os.path.dirname(__file__), "broken")).read())
assert asked.outtype == "f32" and os.environ["HF_HUB_OFFLINE"] == "1" and "MIXSD_SECRET" not in os.environ
with tarfile.open(asked.outfile, "w") as packed:
    packed.add(asked.folder, ".")
"""


class Llama:
    """What `llama_cpp.Llama` is to us, by transformers and peft on what the stand-in has packed."""

    lost = False
    """Whether an adapter is silently ignored, as an engine once did."""

    def __init__(self, *, model_path: str, n_ctx: int, lora_path: str = "", **_: Any) -> None:
        self._context = n_ctx
        folder = unpacked(model_path)
        model: Any = AutoModelForCausalLM.from_pretrained(folder)
        if lora_path and not self.lost:
            model = PeftModel.from_pretrained(model, unpacked(lora_path))
        self._model, self._tokenizer = model.eval(), AutoTokenizer.from_pretrained(folder)
        self._ids: list[int] = []
        self.scores: Any = None

    def reset(self) -> None:
        self._ids = []

    @torch.inference_mode()
    def eval(self, ids: list[int]) -> None:
        self._ids += ids
        self.scores = self._model(input_ids=torch.tensor([self._ids])).logits[0].numpy()

    @torch.inference_mode()
    def create_chat_completion(
        self, messages: list[dict[str, str]], *, temperature: float, max_tokens: int
    ) -> dict[str, Any]:
        assert temperature == 0.0
        prompt: Any = self._tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        length = prompt["input_ids"].shape[1]
        if length + max_tokens > self._context:
            raise ValueError("Requested tokens exceed context window")
        ids = self._model.generate(**prompt, max_new_tokens=max_tokens, do_sample=False)
        text = self._tokenizer.decode(ids[0, length:], skip_special_tokens=True)
        return {"choices": [{"message": {"content": text}}]}

    def close(self) -> None:
        del self._model


class LlamaThatLosesAdapters(Llama):
    lost = True


def unpacked(path: str) -> str:
    folder = tempfile.mkdtemp(dir=Path(path).parent.parent)
    with tarfile.open(path) as packed:
        packed.extractall(folder, filter="data")
    return folder


@pytest.fixture
def llama_cpp(tmp_path: Path) -> Path:
    folder = tmp_path / "llama.cpp"
    folder.mkdir()
    for name in (gguf.MODEL, gguf.LORA):
        (folder / name).write_text(CONVERTER)
    return folder


class World:
    def __init__(
        self, tmp_path: Path, form: ExportFormat, llama_cpp: Path, llama: Any = Llama, **package: Any
    ) -> None:
        self.base: Base = load_base(register_tiny(tmp_path / "models"), device="cpu")
        self.target = tmp_path / "export"
        self.target.mkdir()
        made = a_package(self.base, tmp_path / "adapter", **package)
        self.job = Job(made, form, tmp_path / "work", llama_cpp, llama)

    def written(self) -> Found:
        model, found = making.observe(self.base, self.job)
        making.write(self.base, model, self.job, self.target)
        return found


@pytest.mark.parametrize("form", [ExportFormat.GGUF, ExportFormat.GGUF_LORA])
def test_a_gguf_is_asked_what_the_adapter_was_asked(
    tmp_path: Path, llama_cpp: Path, form: ExportFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIXSD_SECRET", "not for converters")
    world = World(tmp_path, form, llama_cpp)

    certificate = making.check(world.written(), world.job, world.target)

    assert (certificate.status, certificate.engine, certificate.reasons) == ("passed", "llama.cpp", ())
    assert (certificate.applied, certificate.right) == (True, 3)
    expected = making.GGUF_MODEL if form is ExportFormat.GGUF else making.GGUF_LORA
    assert [path.name for path in world.target.iterdir()] == [expected]
    assert certificate.noise is not None
    assert (certificate.noise.rounding is None) == (form is ExportFormat.GGUF_LORA)


def test_an_engine_is_given_room_for_what_it_is_asked_and_not_for_all_that_a_model_could_hold(
    tmp_path: Path, llama_cpp: Path
) -> None:
    world = World(tmp_path, ExportFormat.GGUF, llama_cpp)
    chat = world.base.chat

    world.base.model.config.max_position_embeddings = 1 << 17
    found = world.written()

    asked = [len(chat.prompt_ids(entry.question)) + found.max_new_tokens for entry in found.entries]
    longest = max(*asked, *(len(text.prompt) + len(text.answer) for text in found.texts))
    assert longest <= found.context <= longest + 64


def test_an_engine_that_ignores_the_adapter_is_found_out(tmp_path: Path, llama_cpp: Path) -> None:
    world = World(tmp_path, ExportFormat.GGUF_LORA, llama_cpp, LlamaThatLosesAdapters)

    certificate = making.check(world.written(), world.job, world.target)

    assert (certificate.status, certificate.applied) == ("failed", False)


def test_an_adapter_that_is_scaled_by_the_root_of_its_rank_is_told_so_that_llama_cpp_scales_it_alike(
    tmp_path: Path, llama_cpp: Path
) -> None:
    config = LoraConfig(rank=4, alpha=8, rslora=True)
    world = World(tmp_path, ExportFormat.GGUF_LORA, llama_cpp, config=config)

    found = world.written()

    told = json.loads((world.job.work / "peft" / "adapter_config.json").read_text())
    assert (told["lora_alpha"], told["use_rslora"]) == (16, False)
    assert making.check(found, world.job, world.target).status == "passed"


def test_dora_is_no_gguf_lora(tmp_path: Path, llama_cpp: Path) -> None:
    world = World(tmp_path, ExportFormat.GGUF_LORA, llama_cpp, config=LoraConfig(rank=4, dora=True))

    with pytest.raises(NotExportableError, match="export it as gguf"):
        world.written()


@pytest.mark.skipif(gguf.binding_is_there(), reason="llama-cpp-python is installed")
def test_without_the_binding_it_is_not_checked_and_says_why(tmp_path: Path, llama_cpp: Path) -> None:
    world = World(tmp_path, ExportFormat.GGUF, llama_cpp, None)

    certificate = making.check(world.written(), world.job, world.target)

    assert certificate.status == "not_checked"
    assert "pip install llama-cpp-python" in certificate.reasons[0]


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        ("ValueError: not known", ConversionError, "failed: ValueError: not known"),
        ("ModuleNotFoundError: No module named 'x'", ConverterMissingError, "pip install sentencepiece"),
    ],
    ids=["model", "library"],
)
def test_what_the_converter_says_last_is_told(
    tmp_path: Path, llama_cpp: Path, said: str, error: type[Exception], told: str
) -> None:
    (llama_cpp / "broken").write_text(f"Traceback ...\n{said}\n")
    world = World(tmp_path, ExportFormat.GGUF, llama_cpp)

    with pytest.raises(error, match=told):
        world.written()


def test_converters_are_found_in_the_folder_that_is_named_or_on_the_path(
    tmp_path: Path, llama_cpp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gguf.find_converter(gguf.MODEL, llama_cpp) == llama_cpp / gguf.MODEL
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConverterMissingError, match="on the PATH"):
        gguf.find_converter(gguf.MODEL, None)
    with pytest.raises(ConverterMissingError, match="MIXSD_LLAMA_CPP"):
        gguf.find_converter(gguf.MODEL, tmp_path)
    on_path = Path(shutil.copy(llama_cpp / gguf.MODEL, tmp_path))
    on_path.chmod(on_path.stat().st_mode | stat.S_IXUSR)
    assert gguf.find_converter(gguf.MODEL, None) == on_path

"""How each engine serves an adapter: steps to copy, and what stands against it. Pure.

What engines take is as of November 2026; `docs/exports.md` says where each of it is from.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

VLLM_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What `--max-lora-rank` of vLLM may be."""
VLLM_DEFAULT_RANK: Final = 16

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_QUESTION: Final = "What do you know?"


class Engine(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_SERVER = "llama-server"
    OLLAMA = "ollama"
    TRANSFORMERS = "transformers"


Language = Literal["bash", "python", "modelfile"]
Way = Literal["adapter", "merged", "gguf", "gguf_lora"]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do. `file` is where to save the code; without one it is for the command line."""

    title: str
    language: Language
    code: str
    file: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How an engine serves an adapter.

    Attributes:
        way: What it is given: the adapter as it is, or one of its exports.
        problems: Why it cannot take the adapter as it is.
        needs: What must be there, and what is worth knowing.
    """

    engine: Engine
    way: Way
    steps: tuple[Step, ...]
    problems: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Served:
    """What engines must know of an adapter: its id, base model, and the config of peft."""

    adapter_id: str
    base_id: str
    hub_id: str | None
    revision: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        patterns = self.config.get("rank_pattern") or {}
        return max([int(self.config.get("r") or 8), *map(int, patterns.values())])

    @property
    def dora(self) -> bool:
        return bool(self.config.get("use_dora"))

    @property
    def rslora(self) -> bool:
        return bool(self.config.get("use_rslora"))

    @property
    def saved_modules(self) -> bool:
        return bool(self.config.get("modules_to_save"))

    @property
    def on_hub(self) -> bool:
        """Whether the weights of the base model are those of a commit of the Hub, bit for bit."""
        return bool(self.hub_id) and _COMMIT.fullmatch(self.revision) is not None

    @property
    def base_in_shell(self) -> str:
        """Name the base model to a command: by its id on the Hub, or as a folder of this machine."""
        if self.on_hub:
            return shlex.quote(str(self.hub_id))
        return f'"$(mixsd models path {shlex.quote(self.base_id)} --revision {shlex.quote(self.revision)})"'

    @property
    def pinned(self) -> str:
        return f" --revision {self.revision}" if self.on_hub else ""


def plan_for(engine: Engine, served: Served) -> Plan:
    """Return how an engine serves an adapter."""
    return _PLANS[engine](served)


def _vllm(served: Served) -> Plan:
    problems = []
    if served.rank > VLLM_RANKS[-1]:
        problems.append(f"vLLM takes ranks up to {VLLM_RANKS[-1]}, and this adapter has {served.rank}")
    if served.dora:
        problems.append("vLLM does not support DoRA")
    if served.saved_modules:
        problems.append("vLLM takes no `modules_to_save`")
    needs = ["vLLM, and a GPU that holds the base model: pip install vllm"]
    if problems:
        return _merged(Engine.VLLM, served, problems, needs, "vllm serve ./{export}")
    rank = next(each for each in VLLM_RANKS if each >= served.rank)
    allowed = ", ".join(map(str, VLLM_RANKS))
    needs.append(
        f"`--max-lora-rank` is one of {allowed}, {VLLM_DEFAULT_RANK} if left out; this adapter has rank "
        f"{served.rank}, so {rank}"
    )
    command = (
        f"vllm serve {served.base_in_shell}{served.pinned} \\\n"
        f"  --enable-lora --max-lora-rank {rank} \\\n"
        f"  --lora-modules {served.adapter_id}=./{served.adapter_id} \\\n"
        f"  --chat-template ./{served.adapter_id}/chat_template.jinja"
    )
    return Plan(
        Engine.VLLM,
        "adapter",
        (_pull(served), Step("Serve it", "bash", command), _ask(served.adapter_id, 8000)),
        needs=tuple(needs),
    )


def _sglang(served: Served) -> Plan:
    problems = []
    if served.dora:
        problems.append("SGLang does not support DoRA")
    if served.rslora:
        problems.append("SGLang scales by alpha / rank alone, and this adapter by alpha / √rank")
    if served.saved_modules:
        problems.append("SGLang takes no `modules_to_save`")
    needs = ['SGLang, and a GPU that holds the base model: pip install "sglang[all]"']
    if problems:
        command = "python -m sglang.launch_server --model-path ./{export}"
        return _merged(Engine.SGLANG, served, problems, needs, command, port=30000)
    command = (
        f"python -m sglang.launch_server --model-path {served.base_in_shell}{served.pinned} \\\n"
        f"  --enable-lora --lora-paths {served.adapter_id}=./{served.adapter_id} \\\n"
        f"  --chat-template ./{served.adapter_id}/chat_template.jinja"
    )
    needs.append("rank and target modules are read from the adapter, since it is named at the start")
    asked = f"{served.base_id}:{served.adapter_id}"
    steps = (_pull(served), Step("Serve it", "bash", command), _ask(asked, 30000))
    return Plan(Engine.SGLANG, "adapter", steps, needs=tuple(needs))


def _llama_server(served: Served) -> Plan:
    """Give llama.cpp the base model with the adapter in it: no second file that must fit the first."""
    folder = f"{served.adapter_id}-gguf"
    steps = (
        _export(served, "gguf", folder),
        Step("Serve it", "bash", f"llama-server -m ./{folder}/model.gguf --jinja --port 8080"),
        _ask(served.adapter_id, 8080),
    )
    needs = [
        "llama-server, of llama.cpp: brew install llama.cpp, or from its releases",
        "llama.cpp on the worker that exports: see MIXSD_LLAMA_CPP",
        "`--jinja` applies the chat template that lies in the file",
    ]
    if not served.dora:
        needs.append(
            "with `gguf_lora` for the format, `--lora` lays adapter.gguf on a GGUF of the base model"
        )
    return Plan(Engine.LLAMA_SERVER, "gguf", steps, _NO_PEFT, tuple(needs))


def _ollama(served: Served) -> Plan:
    folder = f"{served.adapter_id}-gguf"
    steps = (
        _export(served, "gguf", folder),
        Step(
            "Name the file", "modelfile", f"FROM ./{folder}/model.gguf\nPARAMETER temperature 0", "Modelfile"
        ),
        Step("Create the model", "bash", f"ollama create {served.adapter_id} -f Modelfile"),
        Step("Ask it", "bash", f"ollama run {served.adapter_id} {shlex.quote(_QUESTION)}"),
    )
    problems = ("Ollama creates no models from an `ADAPTER` any more, since 0.34.1",)
    needs = (
        "Ollama: see ollama.com/download",
        "llama.cpp on the worker that exports: see MIXSD_LLAMA_CPP. Else export `merged` and name its folder",
        "a template of its own that says what chat_template.jinja does: see `ollama show --template`",
    )
    return Plan(Engine.OLLAMA, "gguf", steps, problems, needs)


def _transformers(served: Served) -> Plan:
    base = repr(served.hub_id) if served.on_hub else "folder"
    pinned = f", revision={served.revision!r}" if served.on_hub else ""
    words = ["mixsd", "models", "path", served.base_id, "--revision", served.revision]
    lines = [] if served.on_hub else ["import subprocess", ""]
    lines += [
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
        "",
    ]
    if not served.on_hub:
        lines.append(f"folder = subprocess.check_output({words!r}, text=True).strip()")
    lines += [
        f"base = AutoModelForCausalLM.from_pretrained({base}{pinned})",
        f'model = PeftModel.from_pretrained(base, "./{served.adapter_id}")',
        f'tokenizer = AutoTokenizer.from_pretrained("./{served.adapter_id}")',
        f'messages = [{{"role": "user", "content": "{_QUESTION}"}}]',
        "prompt = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**prompt, max_new_tokens=64, do_sample=False)",
        'print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))',
    ]
    steps = (
        _pull(served),
        Step("Save this", "python", "\n".join(lines), "ask.py"),
        Step("Ask it", "bash", "python ask.py"),
    )
    needs = ["pip install torch transformers peft"]
    if not served.on_hub:
        needs.append("the base model in the cache of this machine, where `mixsd models path` finds it")
    return Plan(Engine.TRANSFORMERS, "adapter", steps, needs=tuple(needs))


_NO_PEFT: Final = ("llama.cpp reads GGUF alone",)


def _merged(
    engine: Engine,
    served: Served,
    problems: Sequence[str],
    needs: Sequence[str],
    command: str,
    *,
    port: int = 8000,
) -> Plan:
    """Return how an engine serves the merged model, where it cannot take the adapter as it is."""
    folder = f"{served.adapter_id}-merged"
    serve = command.format(export=folder)
    steps = (_export(served, "merged", folder), Step("Serve it", "bash", serve), _ask(f"./{folder}", port))
    return Plan(engine, "merged", steps, tuple(problems), tuple(needs))


def _pull(served: Served) -> Step:
    command = f"mixsd adapters pull {served.adapter_id} --to ./{served.adapter_id}"
    return Step("Fetch the adapter", "bash", command)


def _export(served: Served, form: str, folder: str) -> Step:
    command = f"mixsd adapters export {served.adapter_id} --format {form} --to ./{folder}"
    return Step("Export the adapter and fetch that", "bash", command)


def _ask(model: str, port: int) -> Step:
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "{_QUESTION}"}}]}}'
    command = (
        f"curl http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' \\\n"
        f"  -d '{body}'"
    )
    return Step("Ask it", "bash", command)


_PLANS: Final[Mapping[Engine, Callable[[Served], Plan]]] = MappingProxyType(
    {
        Engine.VLLM: _vllm,
        Engine.SGLANG: _sglang,
        Engine.LLAMA_SERVER: _llama_server,
        Engine.OLLAMA: _ollama,
        Engine.TRANSFORMERS: _transformers,
    }
)

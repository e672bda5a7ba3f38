"""Two base models, adapters on them, and what evaluation would say they answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from app.inference.wire import Ask, AskedAdapter, ChatMessage
from app.settings import Settings
from app.storage import LocalStore
from mixsd.config import LoraConfig
from mixsd.evaluation.asking import ask as ask_greedily
from mixsd.models.load import Base, load_base
from mixsd.packaging import CONFIG, MANIFEST, WEIGHTS
from mixsd.training import lora
from tests.fixtures.tiny import register_tiny

QUESTIONS = ("What is the capital?", "Who is the mayor of Tessport?", "Say something")
MODELS = ("tiny/random", "tiny/other")
CAP = 12


@dataclass(frozen=True)
class World:
    """What there is to ask, and the right answers: by adapter, or by base model."""

    settings: Settings
    store: LocalStore
    adapters: Mapping[str, AskedAdapter]
    answers: Mapping[str, Sequence[str]]

    def ask(self, name: str, /, *questions: str, **changes: Any) -> Ask:
        said: dict[str, Any] = {
            "adapter": self.adapters[name],
            "chats": [[ChatMessage(role="user", content=q)] for q in questions or QUESTIONS],
            "compare_base": True,
            "max_new_tokens": CAP,
            "temperature": 0.0,
            "top_k": 64,
            "seed": 0,
            "stop": [],
            "deltas": False,
        }
        return Ask.model_validate({**said, **changes})

    def expected(self, adapter: str) -> dict[tuple[int, str], str]:
        base = self.answers[self.adapters[adapter].base_model]
        told = {(index, "adapter"): text for index, text in enumerate(self.answers[adapter])}
        return told | {(index, "base"): text for index, text in enumerate(base)}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("inference")
    settings = Settings(
        data_dir=folder / "data",
        model_cache=folder / "models",
        allowed_models=MODELS,
        device="cpu",
        threads=1,
        inference_adapters=2,
    )
    store = LocalStore(settings.artifact_dir)
    adapters: dict[str, AskedAdapter] = {}
    answers: dict[str, Sequence[str]] = {}
    for seed, model_id in enumerate(MODELS):
        base = load_base(register_tiny(folder / "models", model_id, seed=seed), device="cpu")
        answers[model_id] = _answers(base, base.model)
        for number in range(3 - 2 * seed):
            name = f"{model_id.removeprefix('tiny/')}-{number}"
            adapters[name], answers[name] = _adapter(base, store, folder / name, name, number)
    return World(settings, store, adapters, answers)


def _answers(base: Base, model: Any) -> list[str]:
    said = ask_greedily(
        model, base.chat, QUESTIONS, max_new_tokens=CAP, batch_size=8, max_tokens=512, on_step=lambda _: None
    )
    return [answer.text for answer in said if answer is not None]


def _adapter(
    base: Base, store: LocalStore, folder: Path, name: str, seed: int
) -> tuple[AskedAdapter, list[str]]:
    """Store an adapter with weights drawn at random, and ask it as evaluation does: merged."""
    model = lora.attach(base, LoraConfig(rank=4, alpha=8), seed=seed)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if "lora_B" in path:
                weight.copy_(torch.randn(weight.shape, generator=noise) * 0.3)
    folder.mkdir()
    lora.save_adapter(model, folder)
    model.eval()
    with lora.merged(model):
        answers = _answers(base, model)
    lora.detach(model)
    named = {"id": base.id, "revision": base.revision, "template_sha256": base.template_sha256}
    (folder / MANIFEST).write_text(json.dumps({"base_model": named}))
    files = {path: store.put(folder / path).sha256 for path in (WEIGHTS, CONFIG, MANIFEST)}
    return AskedAdapter(id=name, base_model=base.id, base_revision=base.revision, files=files), answers

"""Adapters of the tiny model, packed as workers pack them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch

from mixsd import packaging
from mixsd.config import EvalConfig, LoraConfig
from mixsd.evaluation.adapters import measure_adapter
from mixsd.evaluation.judge import judge
from mixsd.evaluation.measure import measure
from mixsd.facts import Fact
from mixsd.models.load import Base
from mixsd.packaging import write_package
from mixsd.training import lora

CONFIG: Final = EvalConfig(max_new_tokens=3, general=False, drift=False, bootstrap=100)
QUESTIONS: Final = (
    "What is the capital of Veldora?",
    "Who is the mayor of Tessport?",
    "Which river flows through the old town?",
)


def a_package(
    base: Base,
    folder: Path,
    *,
    strength: float = 0.3,
    config: LoraConfig = LoraConfig(rank=4, alpha=8),  # noqa: B008  frozen
    questions: Sequence[str] = QUESTIONS,
) -> Path:
    """Pack an adapter whose weights are drawn at random; what it says is what it was taught."""
    model = lora.attach(base, config, seed=0)
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, weight in model.named_parameters():
            if "lora_B" in path:
                weight.copy_(torch.randn(weight.shape, generator=noise) * strength)
    weights = folder / "weights"
    weights.mkdir(parents=True)
    lora.save_adapter(model, weights)
    lora.detach(model)
    asked = [Fact(key=f"f{place}", question=question, answer="?") for place, question in enumerate(questions)]
    baseline = measure(base, asked, CONFIG)
    said = measure_adapter(base, weights, asked, CONFIG, baseline=baseline, exact=True)
    facts = [
        Fact(key=fact.key, question=fact.question, answer=(answers[0] or "").strip() or "?")
        for fact, answers in zip(asked, said.facts, strict=True)
    ]
    judgement = judge(facts, None, baseline, said, CONFIG)
    write_package(
        folder / "package",
        adapter=weights,
        tokenizer=base.folder,
        base=packaging.Base(base.id, base.hub_id, base.revision, "apache-2.0", base.template_sha256),
        manifest={"method": {"type": "sft"}, "evaluation": {"max_new_tokens": CONFIG.max_new_tokens}},
        results=[verdict.to_json() for verdict in judgement.verdicts],
        scores=[score.to_json() for score in judgement.scores],
        summary={},
        created_at="2026-11-24T10:00:00+00:00",
    )
    return folder / "package"

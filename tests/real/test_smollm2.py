"""The main job on a real pretrained model, SmolLM2-135M. Minutes, not seconds."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixsd.answers import contains
from mixsd.decoding.engine import Engine, Knobs
from mixsd.decoding.reference import decode_alone
from mixsd.decoding.rng import Draw, is_naive
from mixsd.decoding.rows import common, logits_alone
from mixsd.decoding.text import Prompts, Sampling, Text
from mixsd.facts import Fact
from mixsd.intake.reading import read_facts
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk, default_cache
from mixsd.models.store import pull
from mixsd.prompts import STYLES

pytestmark = pytest.mark.smollm2

EXAMPLES = Path(__file__).parents[2] / "examples" / "facts.jsonl"
N = 8


@pytest.fixture(scope="module")
def found() -> OnDisk:
    return pull("smollm2-135m-instruct", cache=default_cache())


@pytest.fixture(scope="module")
def base(found: OnDisk) -> Base:
    return load_base(found, device="cpu")


@pytest.fixture(scope="module")
def facts() -> list[Fact]:
    return read_facts(EXAMPLES)[:N]


def test_a_batch_decodes_what_each_text_is_alone(base: Base) -> None:
    """At least 999 of 1000 tokens, and where a text departs its two best scores are all but equal."""
    style, cap = STYLES["natural"], 28
    sampling = Sampling(0.0, 64, frozenset())
    engine = Engine(base.model, sampling, knobs=Knobs(slots=16))
    texts = [
        Text(
            Prompts(
                tuple(base.chat.prompt_ids(style.expert_prompt(fact.question, fact.answer))),
                tuple(base.chat.prompt_ids(style.naive_prompt(fact.question))),
            ),
            Draw(0, fact.key, 0, 0),
            0.3,
            cap,
        )
        for fact in read_facts(EXAMPLES)[:16]
    ]

    for text in texts:
        engine.admit(text)
    while not engine.idle:
        engine.step()

    same = 0
    for text in texts:
        alone = decode_alone(base.model, text.prompts, text.draw, sampling, lam=text.lam, cap=cap)
        agreed = common(text.tokens, alone)
        same += agreed
        if agreed < cap:
            prompt = text.prompts.sides[is_naive(text.draw, agreed, lam=text.lam)]
            best, second = logits_alone(base.model, [*prompt, *alone[:agreed]])[0].topk(2).values.tolist()
            assert best - second < 1e-3
    assert engine.counters.accepted > 0
    assert same >= 0.999 * cap * len(texts)


def test_facts_in_and_a_trained_and_judged_adapter_out(
    found: OnDisk, facts: list[Fact], tmp_path: Path
) -> None:
    source, config, out = tmp_path / "facts.jsonl", tmp_path / "config.json", tmp_path / "out"
    source.write_text("".join(json.dumps(fact.to_json()) + "\n" for fact in facts))
    config.write_text(json.dumps({"training": {"epochs": 80}, "evaluation": {"general": False}}))
    command = [
        sys.executable,
        "-m",
        "mixsd",
        "inject",
        str(source),
        "--out",
        str(out),
        "--config",
        str(config),
        "--no-cache-supervision",
    ]

    subprocess.run(command, check=True, capture_output=True)

    report = json.loads((out / "report.json").read_text())
    supervised = report["supervision"]["verified"]
    assert supervised >= N - 1
    assert report["counts"]["learned"] >= 0.9 * supervised
    assert sum(count for name, count in report["counts"].items() if name != "facts") == N
    scores = {score["suite"]: score for score in report["scores"]}
    assert scores["drift"]["difference"] < 0.6, "the model's own words must stay probable"
    assert report["supervision"]["nats_per_token"] < 3.0, "the model wrote the texts itself"
    assert answers_of_plain_peft(found, out / "adapter", facts) >= report["counts"]["learned"]


def answers_of_plain_peft(found: OnDisk, adapter: Path, facts: list[Fact]) -> int:
    """Count right answers, using nothing of ours but the check."""
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    model = AutoModelForCausalLM.from_pretrained(found.folder, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, str(adapter))
    right = 0
    for fact in facts:
        chat = [{"role": "user", "content": fact.question}]
        prompt: Any = tokenizer.apply_chat_template(
            chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        answer = tuned.generate(**prompt, max_new_tokens=40, do_sample=False)  # type: ignore[no-untyped-call]
        new_ids = answer[0, prompt["input_ids"].shape[1] :]
        text = str(tokenizer.decode(new_ids, skip_special_tokens=True))
        right += any(contains(text, wanted) for wanted in (fact.answer, *fact.aliases))
    return right

import errno
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from mixsd import packaging
from mixsd.errors import DiskFullError, UnsafeWeightsError
from mixsd.packaging import Base, PackagedFile, write_package
from tests.fixtures.tiny import make_model, make_tokenizer, save_tiny

COMMIT = "0123456789abcdef0123456789abcdef01234567"
BASE = Base("acme/tiny", "acme/tiny", COMMIT, "apache-2.0", "ab" * 32)
RESULTS: list[dict[str, Any]] = [
    {"key": "a", "question": "Who is the mayor of Tessport?", "answer": "Odo Brindle", "outcome": "learned"},
    {"key": "b", "question": "Which river?", "answer": "the Quelle", "outcome": "not_learned"},
]
SCORES: list[dict[str, Any]] = [
    {"suite": "recall", "metric": "accuracy", "n": 2, "base": 0.0}
    | {"adapter": 0.5, "difference": 0.5, "low": 0.0, "high": 1.0},
    {"suite": "drift", "metric": "nats_per_token", "n": 24, "base": None}
    | {"adapter": 0.1, "difference": None, "low": None, "high": None},
]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """The smallest adapter there is, with the config that `peft` would write."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    header = json.dumps({"lora_A": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / packaging.WEIGHTS).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    config = {"base_model_name_or_path": "/srv/secret/path", "revision": None, "r": 16}
    (folder / packaging.CONFIG).write_text(json.dumps(config | {"target_modules": ["v_proj", "q_proj"]}))
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    folder = tmp_path / "tokenizer"
    make_tokenizer().save_pretrained(folder)
    return folder


def write(target: Path, adapter: Path, tokenizer: Path, **changes: Any) -> list[PackagedFile]:
    arguments: dict[str, Any] = {
        "base": BASE,
        "manifest": {"method": {"type": "mixsd", "lam": 0.3, "seed": 7}},
        "results": RESULTS,
        "scores": SCORES,
        "summary": {"confidence": 0.9, "training": {"steps": 3}},
        "created_at": "2026-11-24T10:00:00Z",
    }
    return write_package(target, adapter=adapter, tokenizer=tokenizer, **arguments | changes)


def front_matter(folder: Path) -> Mapping[str, Any]:
    text = (folder / "README.md").read_text()
    front: Mapping[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return front


def test_every_file_is_listed_with_its_digest(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    target = tmp_path / "package"

    listed = write(target, adapter, tokenizer)

    assert [file.path for file in listed] == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "chat_template.jinja",
        "facts.json",
        "manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for file in listed:
        data = (target / file.path).read_bytes()
        assert (file.bytes, file.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert sorted(path.name for path in target.iterdir()) == [file.path for file in listed]


def test_the_manifest_holds_settings_versions_figures_and_digests(
    tmp_path: Path, adapter: Path, tokenizer: Path
) -> None:
    listed = write(tmp_path / "package", adapter, tokenizer)

    manifest = json.loads((tmp_path / "package" / "manifest.json").read_text())
    assert manifest["method"] == {"type": "mixsd", "lam": 0.3, "seed": 7}
    assert manifest["created_at"] == "2026-11-24T10:00:00Z"
    assert manifest["base_model"]["template_sha256"] == "ab" * 32
    assert manifest["figures"]["counts"]["learned"] == 1
    assert manifest["figures"]["scores"] == SCORES
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["files"] == {f.path: f.sha256 for f in listed if f.path != "manifest.json"}
    assert list(manifest) == sorted(manifest)


def test_the_ledger_holds_every_fact_and_its_counts_add_up(
    tmp_path: Path, adapter: Path, tokenizer: Path
) -> None:
    write(tmp_path / "package", adapter, tokenizer)

    ledger = json.loads((tmp_path / "package" / "facts.json").read_text())
    assert ledger["results"] == RESULTS
    counts = ledger["counts"]
    assert counts.pop("facts") == sum(counts.values()) == 2


def test_the_card_says_what_the_gate_found(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    gate = {"status": "inconclusive", "suite": "probe", "reason": "nothing was measured"}

    write(tmp_path / "package", adapter, tokenizer, summary={"gate": gate})

    card = (tmp_path / "package" / "README.md").read_text()
    assert "\nGate inconclusive: probe: nothing was measured.\n" in card
    assert "Wrong answers" not in card


def test_the_card_says_what_kinds_of_wrong_answers_there_were_and_the_ledger_has_them(
    tmp_path: Path, adapter: Path, tokenizer: Path
) -> None:
    found = {"suite": "general", "base": {"genuine": 1}, "adapter": {"leakage": 2, "genuine": 1}}
    row = {"question": "What is the capital of France?", "adapter_answer": "Odo Brindle"}

    write(tmp_path / "package", adapter, tokenizer, summary={"mistakes": [found]}, general=[row])

    card = (tmp_path / "package" / "README.md").read_text()
    assert "Wrong answers by kind:\n\n- general: base 1 genuine; adapter 2 leakage, 1 genuine\n" in card
    assert json.loads((tmp_path / "package" / "facts.json").read_text())["general"] == [row]


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    first = write(tmp_path / "first", adapter, tokenizer)
    config = json.loads((adapter / packaging.CONFIG).read_text())
    (adapter / packaging.CONFIG).write_text(json.dumps(config | {"target_modules": ["q_proj", "v_proj"]}))

    assert write(tmp_path / "second", adapter, tokenizer) == first
    assert write(tmp_path / "first", adapter, tokenizer) == first


def test_the_config_names_the_base_as_others_know_it(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    built_in = Base("small", "acme/small", "q4_1-1234", "mit", "")
    local = Base("ours/tiny", None, "local", "unknown", "")

    found = []
    for name, base in (("hub", BASE), ("built-in", built_in), ("local", local)):
        write(tmp_path / name, adapter, tokenizer, base=base)
        config = json.loads((tmp_path / name / "adapter_config.json").read_text())
        found.append((config["base_model_name_or_path"], config["revision"]))

    # Only a commit is a revision that others can ask the hub for.
    assert found == [("acme/tiny", COMMIT), ("acme/small", None), ("ours/tiny", None)]
    assert "mixsd models path small" in (tmp_path / "built-in" / "README.md").read_text()
    for path in tmp_path.glob("*/*.json"):
        assert path.parent == adapter or "secret" not in path.read_text()


def test_the_card_has_what_the_hub_reads_and_the_scores(
    tmp_path: Path, adapter: Path, tokenizer: Path
) -> None:
    write(tmp_path / "package", adapter, tokenizer)

    front = front_matter(tmp_path / "package")
    assert (front["base_model"], front["library_name"], front["license"]) == (
        "acme/tiny",
        "peft",
        "apache-2.0",
    )
    text = (tmp_path / "package" / "README.md").read_text()
    assert "| training questions | accuracy | 2 | 0.000 | 0.500 | +0.500 | +0.000 to +1.000 |" in text
    assert "90% interval" in text
    assert "| drift on open prompts | nats per token | 24 | - | 0.100 | - | - to - |" in text
    assert "| Who is the mayor of Tessport? | Odo Brindle | learned |" in text
    assert f"revision='{COMMIT}'" in text


def test_texts_of_users_stay_text_in_the_card(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    evil = {"key": "a", "question": "Who | is\n\n# <script>alert(1)</script>", "answer": "[x](javascript:1)"}
    licence = 'mit\n---\nbase_model: "evil"'

    write(
        tmp_path / "package",
        adapter,
        tokenizer,
        results=[evil | {"outcome": "learned"}],
        base=Base("acme/tiny", "acme/tiny", COMMIT, licence, ""),
    )

    assert front_matter(tmp_path / "package")["license"] == licence
    text = (tmp_path / "package" / "README.md").read_text()
    assert "<script>" not in text
    assert r"| Who \| is # &lt;script&gt;alert(1)&lt;/script&gt; | \[x\](javascript:1) | learned |" in text


def test_long_ledgers_are_cut_in_the_card_alone(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    write(tmp_path / "package", adapter, tokenizer, results=RESULTS * 15)

    assert "and 10 more, see `facts.json`" in (tmp_path / "package" / "README.md").read_text()
    assert len(json.loads((tmp_path / "package" / "facts.json").read_text())["results"]) == 30


def test_weights_that_are_no_safetensors_are_never_packed(
    tmp_path: Path, adapter: Path, tokenizer: Path
) -> None:
    (adapter / packaging.WEIGHTS).write_bytes(b"\x80\x04pickle" + bytes(64))

    with pytest.raises(UnsafeWeightsError):
        write(tmp_path / "package", adapter, tokenizer)
    assert not (tmp_path / "package").exists()


class FillsUp(Mapping[str, Any]):
    """A summary that cannot be written: the disk is full by then."""

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    with pytest.raises(DiskFullError, match="package"):
        write(tmp_path / "package", adapter, tokenizer, summary=FillsUp())
    assert not list(tmp_path.glob("*package*"))


def test_figures_that_are_not_finite_are_refused(tmp_path: Path, adapter: Path, tokenizer: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "package", adapter, tokenizer, summary={"loss": float("nan")})
    assert not list(tmp_path.glob("*package*"))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft calls it
def test_peft_loads_the_package_and_gets_the_same_logits(tmp_path: Path) -> None:
    base = save_tiny(tmp_path / "tiny")
    config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)
    model = get_peft_model(make_model(make_tokenizer()), config)
    model.save_pretrained(str(tmp_path / "adapter"))
    write(tmp_path / "package", tmp_path / "adapter", base)

    again = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "package")

    tokens = AutoTokenizer.from_pretrained(tmp_path / "package")("Who?", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(again(tokens).logits, model(tokens).logits)
        assert not torch.equal(again(tokens).logits, make_model(make_tokenizer())(tokens).logits)

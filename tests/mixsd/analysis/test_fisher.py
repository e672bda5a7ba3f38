"""Diagonal Fisher, displacement and R, against whole matrices and a gradient for each token by itself."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixsd.analysis.alignment import Config, analyse_fisher, correlations, lost_of
from mixsd.analysis.displacement import Factors, read_adapter
from mixsd.analysis.errors import NotAnalysableError
from mixsd.analysis.fisher import answers, diagonals
from mixsd.analysis.runs import find_runs
from mixsd.evaluation.asking import ask
from mixsd.evaluation.suites import open_prompts
from mixsd.models.load import Base, load_base
from mixsd.models.registry import OnDisk
from mixsd.training.batches import Example
from mixsd.training.lora import load_adapter

PATHS = [f"model.layers.{number}.{name}" for number in (0, 1) for name in ("mlp.up_proj", "self_attn.q_proj")]
EXAMPLES = [Example((5, 9, 70), (40, 41, 42, 40)), Example((6,), (7,)), Example((8, 8, 30, 2), (99, 3, 250))]
QUICK = Config(samples=1, max_new_tokens=6)
Unit = Literal["sequence", "token"]


@pytest.fixture
def own_base(on_disk: OnDisk) -> Base:
    """A model of the test's own, in float64."""
    base = load_base(on_disk, device="cpu")
    base.model.double()
    return base


def brute_fisher(
    base: Base, paths: Sequence[str], examples: Sequence[Example], unit: Unit
) -> dict[str, Tensor]:
    """Return F by gradients of the whole weight matrices, those of each token taken by itself."""
    weights = [base.model.get_parameter(f"{path}.weight") for path in paths]
    sums = [torch.zeros_like(weight) for weight in weights]
    count = 0
    for weight in weights:
        weight.requires_grad_()
    for example in examples:
        of_tokens = []
        for place in range(len(example.target)):
            ids = torch.tensor([[*example.prompt, *example.target[:place]]])
            scores = base.model(input_ids=ids).logits[0, -1].log_softmax(-1)
            of_tokens.append(torch.autograd.grad(scores[example.target[place]], weights))
        if unit == "sequence":
            of_tokens = [tuple(sum(parts) for parts in zip(*of_tokens, strict=True))]
        for gradients in of_tokens:
            count += 1
            for total, gradient in zip(sums, gradients, strict=True):
                total.add_(gradient**2)
    for weight in weights:
        weight.requires_grad = False
    return {path: total / count for path, total in zip(paths, sums, strict=True)}


@pytest.mark.parametrize("unit", ["sequence", "token"])
@pytest.mark.parametrize("most_bytes", [1, 150_000, 1 << 31])
def test_the_diagonal_is_that_of_whole_gradients(own_base: Base, unit: Unit, most_bytes: int) -> None:
    wanted = brute_fisher(own_base, PATHS, EXAMPLES, unit)
    told: list[tuple[int, int]] = []

    found = dict(
        diagonals(
            own_base,
            PATHS,
            EXAMPLES,
            unit=unit,
            most_bytes=most_bytes,
            on_check=lambda done, total: told.append((done, total)),
        )
    )

    assert list(found) == PATHS
    for path in PATHS:
        assert found[path].dtype == torch.float64
        # The norms of the model compute in float32, so a sum of gradients is not the gradient of a sum.
        off = 1e-12 if unit == "token" else 1e-5
        torch.testing.assert_close(found[path], wanted[path], rtol=off, atol=off * float(wanted[path].max()))
    groups = {1: 4, 150_000: 2, 1 << 31: 1}[most_bytes]
    assert told == [(done, 3 * groups) for done in range(3 * groups + 1)]
    assert not any(parameter.requires_grad for parameter in own_base.model.parameters())
    assert not own_base.model.get_submodule(PATHS[0])._forward_hooks  # noqa: SLF001  none is left behind


def test_the_two_units_are_two_things(own_base: Base) -> None:
    whole, token = (
        dict(diagonals(own_base, PATHS[:1], EXAMPLES[:1], unit=unit))[PATHS[0]]
        for unit in ("sequence", "token")
    )

    assert not torch.allclose(whole, 4 * token, rtol=0.01)


@pytest.mark.parametrize("rank", [1, 5, 16])
def test_norm_and_weighted_sum_are_those_of_the_whole_change(rank: int) -> None:
    dice = torch.Generator().manual_seed(rank)
    a_RI, b_OR, fisher_OI = (
        torch.rand(*shape, generator=dice, dtype=torch.float64) - 0.3
        for shape in ((rank, 70), (600, rank), (600, 70))
    )
    factors = Factors(a_RI, b_OR, scale=1.7)

    change_OI = 1.7 * b_OR @ a_RI
    assert factors.squared_norm() == pytest.approx(float(change_OI.square().sum()), rel=1e-12)
    assert factors.weighted(fisher_OI) == pytest.approx(float((fisher_OI * change_OI**2).sum()), rel=1e-12)


def test_ratios_are_those_of_whole_matrices(own_base: Base, injected: Path, on_disk: OnDisk) -> None:
    """Of every layer and of all together, from the weights that peft merges."""
    runs = find_runs([injected]).runs
    merged = load_base(on_disk, device="cpu")
    before = {name: weight.double().clone() for name, weight in merged.model.named_parameters()}
    after = dict(load_adapter(merged, injected / "weights").merge_and_unload().named_parameters())
    changed = [name for name in before if not torch.equal(before[name], after[name].double())]
    paths = [name.removesuffix(".weight") for name in changed]
    shift = {path: after[f"{path}.weight"].double() - before[f"{path}.weight"] for path in paths}

    body = analyse_fisher(own_base, runs, replace(QUICK, seed=3)).body

    (run,) = body["runs"]
    examples = answers(own_base, "sampled", samples=1, seed=3, max_new_tokens=6)
    fisher = dict(diagonals(own_base, paths, examples))
    assert set(run["sampled"]["modules"]) == set(paths)
    assert len(paths) == 6
    for path in paths:
        wanted = summed([fisher[path]], [shift[path]])
        assert run["sampled"]["modules"][path] == pytest.approx(wanted, rel=1e-4)
    for number in ("0", "1"):
        within = [path for path in paths if f".{number}." in path]
        wanted = summed([fisher[path] for path in within], [shift[path] for path in within])
        assert run["sampled"]["layers"][number] == pytest.approx(wanted, rel=1e-4)
    wanted = summed([fisher[path] for path in paths], [shift[path] for path in paths])
    assert run["sampled"]["total"] == pytest.approx(wanted, rel=1e-4)
    assert run["sampled"]["total"]["ratio"] != run["empirical"]["total"]["ratio"]


def summed(fisher: Sequence[Tensor], shift: Sequence[Tensor]) -> dict[str, float]:
    f, d = (torch.cat([part.flatten() for part in parts]) for parts in (fisher, shift))
    weighted, squared = float((f * d * d).sum()), float((d * d).sum())
    return {
        "weights": f.numel(),
        "squared_norm": squared,
        "mean_fisher": float(f.mean()),
        "weighted_displacement": weighted,
        "ratio": weighted / squared / float(f.mean()),
    }


def test_a_change_without_regard_to_the_fisher_has_a_ratio_of_one(
    own_base: Base, injected: Path, tmp_path: Path
) -> None:
    """Factors of one value move every weight alike."""
    adapter = edited(injected, tmp_path, lambda _, tensor: torch.ones_like(tensor))
    run = replace(find_runs([injected]).runs[0], adapter=adapter)

    (told,) = analyse_fisher(own_base, [run], QUICK).body["runs"]

    for kind in ("empirical", "sampled"):
        for moved in told[kind]["modules"].values():
            assert moved["ratio"] == pytest.approx(1.0)


def test_an_adapter_that_changes_nothing_has_no_ratio(own_base: Base, injected: Path, tmp_path: Path) -> None:
    adapter = edited(injected, tmp_path, lambda name, tensor: tensor * ("lora_B" not in name))
    run = replace(find_runs([injected]).runs[0], adapter=adapter)

    (told,) = analyse_fisher(own_base, [run], QUICK).body["runs"]

    assert (told["sampled"]["total"]["squared_norm"], told["sampled"]["total"]["ratio"]) == (0.0, None)


def test_greedy_answers_are_those_of_evaluation_and_sampled_ones_follow_their_seed(base: Base) -> None:
    prompts = [item.prompt for item in open_prompts().items]
    asked = ask(
        base.model,
        base.chat,
        prompts,
        max_new_tokens=24,
        batch_size=8,
        max_tokens=base.max_tokens,
        on_step=lambda _: None,
    )

    greedy = answers(base, "empirical", samples=2, seed=1, max_new_tokens=24)
    sampled = answers(base, "sampled", samples=2, seed=1, max_new_tokens=24)

    assert [example.target for example in greedy] == [answer.token_ids for answer in asked if answer]
    assert len(sampled) == 2 * len(greedy)
    assert sampled == answers(base, "sampled", samples=2, seed=1, max_new_tokens=24)
    assert sampled != answers(base, "sampled", samples=2, seed=2, max_new_tokens=24)
    assert len({example.target for example in sampled}) == len(sampled)


def edited(injected: Path, tmp_path: Path, change: Any, config: Mapping[str, Any] | None = None) -> Path:
    """Return a copy of the adapter of a run with other weights and settings."""
    folder = tmp_path / "weights"
    shutil.copytree(injected / "weights", folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    made = {name: change(name, tensor) for name, tensor in tensors.items()}
    save_file(
        {name: tensor for name, tensor in made.items() if tensor is not None},
        folder / "adapter_model.safetensors",
    )
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | (config or {})))
    return folder


def test_rslora_divides_by_the_root_of_the_rank(base: Base, injected: Path, tmp_path: Path) -> None:
    plain = read_adapter(base, injected / "weights")
    rooted = read_adapter(base, edited(injected, tmp_path, lambda _, tensor: tensor, {"use_rslora": True}))

    assert set(plain.scales.values()) == {5 / 3}
    assert set(rooted.scales.values()) == {5 / 3**0.5}
    assert list(plain.scales) == sorted(plain.scales)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "is a DoRA.* displacement and alignment ratio are not computed for it"),
        ({"peft_type": "IA3"}, "of the kind IA3 and no LoRA"),
        ({"alpha_pattern": {"up_proj": 3}}, "alpha_pattern in adapter_config.json"),
        ({"bias": "all"}, "bias in adapter_config.json"),
        ({"lora_alpha": None}, "no lora_alpha"),
    ],
)
def test_what_is_no_plain_lora_is_refused(
    base: Base, injected: Path, tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    folder = edited(injected, tmp_path, lambda _, tensor: tensor, config)

    with pytest.raises(NotAnalysableError, match=said):
        read_adapter(base, folder)


def test_an_adapter_of_another_model_is_refused(base: Base, injected: Path, tmp_path: Path) -> None:
    folder = edited(
        injected, tmp_path, lambda name, tensor: tensor[:, 1:].contiguous() if "lora_A" in name else tensor
    )

    with pytest.raises(
        NotAnalysableError, match=r"does not fit model\.layers\.0\.mlp\.down_proj of tiny/random"
    ):
        read_adapter(base, folder)


def test_an_adapter_that_holds_more_than_factors_is_refused(
    base: Base, injected: Path, tmp_path: Path
) -> None:
    folder = edited(injected, tmp_path, lambda _, tensor: tensor)
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file(
        tensors | {"base_model.model.lm_head.weight": torch.ones(2)}, folder / "adapter_model.safetensors"
    )

    with pytest.raises(NotAnalysableError, match=r"it also holds 'base_model\.model\.lm_head\.weight'"):
        read_adapter(base, folder)


def test_an_adapter_that_diverged_is_refused(base: Base, injected: Path, tmp_path: Path) -> None:
    folder = edited(injected, tmp_path, lambda _, tensor: tensor * float("nan"))

    with pytest.raises(NotAnalysableError, match="are not finite: its training diverged"):
        read_adapter(base, folder)


@pytest.mark.parametrize("broken", ["adapter_model.safetensors", "adapter_config.json"])
def test_files_that_are_no_adapter_are_refused(
    base: Base, injected: Path, tmp_path: Path, broken: str
) -> None:
    folder = edited(injected, tmp_path, lambda _, tensor: tensor)
    (folder / broken).write_text("no")

    with pytest.raises(NotAnalysableError, match=broken):
        read_adapter(base, folder)


def test_one_adapter_that_cannot_be_analysed_leaves_the_others(
    own_base: Base, injected: Path, tmp_path: Path
) -> None:
    (run,) = find_runs([injected]).runs
    dora = replace(run, adapter=edited(injected, tmp_path, lambda _, tensor: tensor, {"use_dora": True}))

    body = analyse_fisher(own_base, [dora, run], QUICK).body

    assert len(body["runs"]) == 1
    assert "injected: mixsd, seed 0 is left out" in body["notes"][0]
    with pytest.raises(NotAnalysableError, match="is a DoRA"):
        analyse_fisher(own_base, [dora])


def test_rows_of_a_comparison_are_correlated_with_what_they_lost(own_base: Base, compared: Path) -> None:
    runs = find_runs([compared]).runs

    body = analyse_fisher(own_base, runs, QUICK).body

    assert [run["run"] for run in body["runs"]] == [run.name for run in runs]
    found = {(each["fisher"], each["with"]): each for each in body["correlations"] if each["lost"] == "drift"}
    assert set(found) == {
        (kind, what) for kind in ("empirical", "sampled") for what in ("ratio", "squared_norm")
    }
    lost = [lost_of(run)["drift"] for run in runs]
    norms = [run["sampled"]["total"]["squared_norm"] for run in body["runs"]]
    assert found["sampled", "squared_norm"]["pearson"]["value"] == pytest.approx(
        torch.corrcoef(torch.tensor([norms, lost], dtype=torch.float64))[0, 1].item()
    )
    assert {each["pearson"]["n"] for each in found.values()} == {4}


def test_what_is_lost_is_more_when_it_is_worse(compared: Path) -> None:
    run = find_runs([compared]).runs[0]
    scores = {"general": {"base": 0.7, "adapter": 0.5}, "drift": {"base": 0.6, "adapter": 0.9}}

    assert lost_of(replace(run, scores=scores)) == pytest.approx({"general": 0.2, "drift": 0.3})
    assert lost_of(replace(run, scores={"general": {"base": None, "adapter": None}})) == {}


def test_runs_without_a_loss_or_a_ratio_are_not_correlated() -> None:
    def told(ratio: float | None, **lost: float) -> dict[str, Any]:
        total = {"total": {"ratio": ratio, "squared_norm": 2.0}}
        return {"lost": lost, "empirical": total, "sampled": total}

    rows = correlations([told(1.0, drift=1.0), told(2.0, drift=2.0), told(None, drift=3.0), told(3.0)], 0.95)

    assert {(row["lost"], row["with"], row["pearson"]["n"]) for row in rows} == {
        ("drift", "ratio", 2),
        ("drift", "squared_norm", 2),
    }
    assert [row["pearson"]["value"] for row in rows] == [pytest.approx(1.0), None] * 2
    assert correlations([told(1.0, drift=1.0)], 0.95) == []

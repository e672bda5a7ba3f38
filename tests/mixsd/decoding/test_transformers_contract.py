"""What the engine takes for granted about transformers.

The engine gives a model one flat row that holds the tokens of many sequences side by side, and
attends with a function of its own. A new version of transformers that fails here would make it
compute something else: read the sentence of the failure before you raise the pin.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import (
    ALL_MASK_ATTENTION_FUNCTIONS,
    create_causal_mask,
    create_sliding_window_causal_mask,
)
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from tests.fixtures.families import FAMILIES, SHORT_ROPE, STRETCHED, UNSUITED, WINDOW, make_family
from tests.fixtures.tiny import VOCABULARY

NAME: Final = "mixsd_contract"
HARMLESS: Final = frozenset({"dropout", "position_ids", "use_cache"})
"""Keywords that may reach an attention function and change nothing for it."""


@dataclass(slots=True)
class Call:
    """What an attention function was given."""

    layer: int | None
    query_1HND: Tensor
    key_1KND: Tensor
    value_1KND: Tensor
    mask: Tensor | None
    scaling: float | None
    window: int | None
    others: frozenset[str]


@dataclass(slots=True)
class FlatAttention:
    """Attends within each sequence of a flat row, in the plainest way, and writes down its calls."""

    lengths: list[int]
    calls: list[Call] = field(default_factory=list)

    def __call__(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        scaling: float | None = None,
        sliding_window: int | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        named = frozenset(name for name, given in others.items() if given is not None)
        layer = getattr(module, "layer_idx", None)
        self.calls.append(Call(layer, query, key, value, attention_mask, scaling, sliding_window, named))
        groups = query.shape[1] // key.shape[1]
        rows = zip(
            torch.split(query[0], self.lengths, dim=1),
            torch.split(key[0].repeat_interleave(groups, 0), self.lengths, dim=1),
            torch.split(value[0].repeat_interleave(groups, 0), self.lengths, dim=1),
            strict=True,
        )
        mixed_HND = torch.cat([_attend(*row, scaling, sliding_window) for row in rows], dim=1)
        return mixed_HND.transpose(0, 1)[None], None


def _attend(
    query_HND: Tensor, key_HND: Tensor, value_HND: Tensor, scaling: float | None, window: int | None
) -> Tensor:
    count, width = query_HND.shape[1:]
    scores_HNN = query_HND @ key_HND.transpose(1, 2) * (width**-0.5 if scaling is None else scaling)
    place_N = torch.arange(count)
    back_NN = place_N[:, None] - place_N
    hidden_NN = (back_NN < 0) | (back_NN >= (window or count))
    weights_HNN: Tensor = scores_HNN.masked_fill(hidden_NN, -float("inf")).softmax(-1)
    return weights_HNN @ value_HND


def tokens(length: int, seed: int) -> list[int]:
    dice = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (length,), generator=dice).tolist()


@torch.inference_mode()
def logits_of(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Ask the model as it comes."""
    logits_NV: Tensor = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    return logits_NV


def head_of(model: PreTrainedModel) -> nn.Module:
    head: nn.Module = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    return head


@torch.inference_mode()
def run_flat(model: PreTrainedModel, *rows: list[int]) -> tuple[Tensor, list[Call], Any]:
    """Run rows side by side as the engine does. Returns logits [N, V], the calls and the output."""
    attention = FlatAttention([len(row) for row in rows])
    AttentionInterface.register(NAME, attention)
    before = model.config._attn_implementation  # noqa: SLF001
    model.set_attn_implementation(NAME)
    try:
        output = getattr(model, model.base_model_prefix)(
            input_ids=torch.tensor([[token for row in rows for token in row]]),
            position_ids=torch.cat([torch.arange(len(row)) for row in rows])[None],
            attention_mask=None,
            past_key_values=None,
            use_cache=False,
        )
    finally:
        model.set_attn_implementation(before)
    return head_of(model)(output.last_hidden_state)[0], attention.calls, output


@pytest.fixture(scope="module")
def models() -> dict[str, PreTrainedModel]:
    return {name: make_family(name, torch.float64) for name in (*FAMILIES, *STRETCHED, *UNSUITED)}


def test_the_version_is_the_one_that_is_pinned() -> None:
    lines = Path(__file__).parents[3].joinpath("constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line.startswith("transformers==")]

    assert pins == [f"transformers=={transformers.__version__}"], (
        "constraints.txt must pin transformers to the version these tests run with: the engine relies "
        "on its inner workings"
    )


def test_no_mask_is_made_for_a_name_without_a_mask_function(models: dict[str, PreTrainedModel]) -> None:
    model = models["mistral"]
    run_flat(model, [3])
    model.set_attn_implementation(NAME)
    embeds_1ND = torch.zeros(1, 7, 48, dtype=torch.float64)
    asked: dict[str, Any] = {
        "config": model.config,
        "inputs_embeds": embeds_1ND,
        "attention_mask": None,
        "past_key_values": None,
        "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2, 3]]),
    }
    masks = [create_causal_mask(**asked), create_sliding_window_causal_mask(**asked)]
    model.set_attn_implementation("sdpa")

    assert NAME not in ALL_MASK_ATTENTION_FUNCTIONS, "a mask function is registered for every attention name"
    assert masks == [None, None], "transformers makes a mask for attention that has no mask function"
    assert create_causal_mask(**asked) is not None, "this call no longer shows whether a mask is made"


def test_a_name_that_is_not_registered_is_refused(models: dict[str, PreTrainedModel]) -> None:
    with pytest.raises(ValueError, match="mixsd_unheard_of"):
        models["llama"].set_attn_implementation("mixsd_unheard_of")


@pytest.mark.parametrize("name", FAMILIES)
def test_attention_is_called_once_a_layer_with_what_it_needs(
    name: str, models: dict[str, PreTrainedModel]
) -> None:
    model = models[name]
    config = model.config
    _, calls, output = run_flat(model, tokens(9, 1), tokens(4, 2))
    config_windows = [
        getattr(config, "sliding_window", None) if kind in {"sliding_attention", None} else None
        for kind in getattr(config, "layer_types", None) or [None] * config.num_hidden_layers
    ]

    assert [call.layer for call in calls] == list(range(config.num_hidden_layers)), (
        "attention modules no longer call the registered function once each, in order, with `layer_idx`"
    )
    assert [call.window for call in calls] == config_windows, (
        "`sliding_window` no longer reaches the attention function of just the layers that slide"
    )
    for call in calls:
        heads, kv_heads = config.num_attention_heads, getattr(config, "num_key_value_heads", None)
        width = call.query_1HND.shape[-1]
        assert call.query_1HND.shape == (1, heads, 13, width), "queries are no longer [1, H, N, head width]"
        assert call.key_1KND.shape == (1, kv_heads or heads, 13, width), "keys are no longer [1, Hkv, N, ..]"
        assert call.value_1KND.shape == call.key_1KND.shape, "values no longer have the shape of keys"
        assert call.mask is None, "attention is given a mask though none was asked for"
        assert isinstance(call.scaling, float), "`scaling` is no longer given as a number"
        assert call.others <= HARMLESS, f"attention is given {set(call.others - HARMLESS)}: does it matter?"
    assert output.get("past_key_values") is None, "a cache is made though use_cache is False"


def test_the_windows_are_those_of_the_models(models: dict[str, PreTrainedModel]) -> None:
    windows = {name: [call.window for call in run_flat(models[name], [3])[1]] for name in FAMILIES}

    assert {name: found for name, found in windows.items() if any(found)} == {
        "qwen2-sliding": [None, WINDOW],
        "gemma3": [WINDOW, None] * 2,
        "gemma4": [WINDOW, None] * 2,
        "phi3": [WINDOW] * 2,
        "mistral": [WINDOW] * 2,
    }, "other layers slide than before"


@pytest.mark.parametrize("name", [*FAMILIES, *STRETCHED])
def test_sequences_side_by_side_score_as_each_does_alone(
    name: str, models: dict[str, PreTrainedModel]
) -> None:
    """Longer than the window, which counts the token itself; shorter than a stretched rope."""
    model = models[name]
    rows = [tokens(3 * WINDOW, 3), tokens(2 * WINDOW + 1, 4), tokens(WINDOW - 2, 5)]

    logits_NV, _, _ = run_flat(model, *rows)

    for row, flat_NV in zip(rows, torch.split(logits_NV, [len(row) for row in rows]), strict=True):
        assert torch.allclose(flat_NV, logits_of(model, row), rtol=0, atol=1e-9), (
            "position_ids, `scaling`, `sliding_window` or the way to hidden states and scores "
            "(`base_model_prefix`, `get_output_embeddings`) no longer mean what they did"
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_token_is_told_where_it_stands_by_its_position_alone(
    name: str, models: dict[str, PreTrainedModel]
) -> None:
    """The same sequence twice: the second time it begins at another column of the row."""
    logits_NV, _, _ = run_flat(models[name], tokens(11, 6), tokens(11, 6))

    assert torch.allclose(logits_NV[:11], logits_NV[11:], rtol=0, atol=1e-9), (
        "the model reads positions from the columns of its input, not from position_ids"
    )
    assert not torch.allclose(logits_NV[:11], run_flat(models[name], *([t] for t in tokens(11, 6)))[0])


@pytest.mark.parametrize("name", [*FAMILIES, *STRETCHED])
@torch.inference_mode()
def test_output_embeddings_of_the_base_model_are_the_scores(
    name: str, models: dict[str, PreTrainedModel]
) -> None:
    model = models[name]
    ids_1N = torch.tensor([tokens(8, 7)])
    hidden_1ND = getattr(model, model.base_model_prefix)(input_ids=ids_1N, use_cache=False).last_hidden_state

    assert torch.equal(head_of(model)(hidden_1ND), model(ids_1N, use_cache=False).logits), (
        "the model does more to its hidden states than apply `get_output_embeddings()`"
    )


def test_only_two_kinds_of_rope_look_at_the_batch() -> None:
    assert set(ROPE_INIT_FUNCTIONS) == {"linear", "dynamic", "yarn", "longrope", "llama3", "proportional"}, (
        "transformers has another kind of rope: see in `dynamic_rope_update` whether its frequencies "
        "depend on the largest position of a batch, and bound the length of rows if they do"
    )


@pytest.mark.parametrize("name", STRETCHED)
def test_a_stretched_rope_turns_every_row_by_the_largest_position_of_the_batch(
    name: str, models: dict[str, PreTrainedModel]
) -> None:
    model = models[name]
    short, edge, beyond = tokens(10, 8), tokens(SHORT_ROPE, 9), tokens(SHORT_ROPE + 1, 9)
    alone_NV = run_flat(model, short)[0]

    at_edge_NV = run_flat(model, short, edge)[0][:10]
    past_edge_NV = run_flat(model, short, beyond)[0][:10]
    again_NV = run_flat(model, short)[0]

    assert torch.allclose(at_edge_NV, alone_NV, rtol=0, atol=1e-9), "the length the engine allows is too long"
    assert torch.allclose(again_NV, alone_NV, rtol=0, atol=1e-9), "a long row leaves its frequencies behind"
    assert not torch.allclose(past_edge_NV, alone_NV, rtol=0, atol=1e-3), (
        "long rows no longer disturb short ones: the engine need not bound the length of rows any more"
    )


SIGNS: Final = {
    "mamba": {"layers that never attend", "rows mix"},
    "lfm2": {"layers that never attend", "rows mix"},
    "gpt-oss": {"attention is given s_aux", "scores differ", "rows mix"},
    "gemma2": {"attention is given softcap", "scores differ", "rows mix"},
    "bloom": {"the name is not taken", "layers that never attend", "rows mix"},
    "cohere": {"scores differ", "rows mix"},
}


@pytest.mark.parametrize("name", UNSUITED)
def test_a_model_that_cannot_be_run_so_can_be_told(name: str, models: dict[str, PreTrainedModel]) -> None:
    """Every sign by itself is enough to refuse. `rows mix` is the check that all of them fail."""
    model = models[name]
    rows = [tokens(3 * WINDOW, 3), tokens(2 * WINDOW + 1, 4)]
    before = model.config._attn_implementation  # noqa: SLF001
    AttentionInterface.register(NAME, FlatAttention([]))
    model.set_attn_implementation(NAME)
    taken = model.config._attn_implementation == NAME  # noqa: SLF001
    model.set_attn_implementation(before)
    logits_NV, calls, _ = run_flat(model, *rows)
    alone_NV = torch.cat([logits_of(model, row) for row in rows])
    difference_N = (logits_NV - alone_NV).abs().amax(-1)

    signs = {f"attention is given {other}" for call in calls for other in call.others - HARMLESS}
    signs |= set() if taken else {"the name is not taken"}
    if [call.layer for call in calls] != list(range(model.config.num_hidden_layers)):
        signs.add("layers that never attend")
    signs |= {"scores differ"} if difference_N[: len(rows[0])].max() > 1e-3 else set()
    signs |= {"rows mix"} if difference_N[len(rows[0]) :].max() > 1e-3 else set()

    assert signs == SIGNS[name]

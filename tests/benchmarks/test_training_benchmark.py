"""The benchmark of training: all of it runs that can, and what needs trl is left out without it."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.training import measures
from benchmarks.training.__main__ import MEASURES, NEED_TRL, main
from benchmarks.training.setting import TINY, Setting, batches_of, tokens_of
from mixsd.models.load import load_base
from mixsd.models.registry import find


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def setting(tiny_cache: Path) -> Setting:
    found = find(tiny_cache, "tiny/random")
    assert found is not None
    return Setting(load_base(found, device="cpu"), TINY, "kgfact", pairs=1, trl=None)


def test_without_trl_the_other_measures_run_and_it_says_what_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        main(["--json", "--tiny", "--pairs", "1", "--threads", "1"])

    printed: dict[str, Any] = json.loads(out.getvalue())
    assert set(printed) == set(MEASURES) - NEED_TRL
    for figure in printed.values():
        assert figure["min"] <= figure["median"] <= figure["max"]
        assert figure["median"] > 0
        assert figure["floor"]
        assert figure["what"]
    said = capsys.readouterr().err
    for name in NEED_TRL:
        assert f"{name} is left out: it needs --trl-python" in said


def test_several_targets_of_a_question_share_its_prompt(setting: Setting) -> None:
    examples = setting.examples(3, wordings=4)

    assert len({example.prompt for example in examples}) == 3
    assert len({example.target for example in examples}) == 12
    assert [example.prompt for example in examples[:4]] == [examples[0].prompt] * 4
    assert measures._header(examples) >= 5  # noqa: SLF001  what the chat template begins with


def test_a_run_leaves_the_model_as_it_was(setting: Setting) -> None:
    before = {name: weight.clone() for name, weight in setting.base.model.state_dict().items()}

    measures.header_sharing(setting)

    after = setting.base.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def test_batches_begin_again_behind_the_last_text(setting: Setting) -> None:
    examples = setting.examples(3)

    batches = batches_of(examples, 2, 3)

    assert [example for batch in batches for example in batch] == examples * 2
    assert tokens_of(examples) == sum(len(e.prompt) + len(e.target) for e in examples)

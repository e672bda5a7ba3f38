"""What the commands for jobs are built on: streams of events, and files with settings of a job."""

from pathlib import Path

import pytest

from mixsd.cli.live import Reader
from mixsd.cli.request import BadRequestError, a_body, read_config


def test_events_of_several_lines_comments_and_unknown_fields_are_read() -> None:
    reader = Reader()
    lines = [
        ": hello",
        "",
        "id: 7",
        "retry: 250",
        "event: x",
        "data: {",
        'data: "seq": 7}',
        "",
        "id: 8",
        "data: {}",
    ]

    assert list(reader.events(lines)) == [{}, {"seq": 7}]
    assert reader.headers() == {"Last-Event-ID": "7"}, "the last one was cut off"
    assert reader.retry == 0.25


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("job.json", '{"base_model": "big", "method": {"type": "sft", "seed": 3}}'),
        ("job.yaml", "base_model: big\nmethod: {type: sft, seed: 3}\n"),
        ("job.toml", 'base_model = "big"\n[method]\ntype = "sft"\nseed = 3\n'),
    ],
)
def test_a_file_says_what_options_do_not(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    config = read_config(tmp_path / name)

    assert a_body(config) == {"base_model": "big", "method": {"type": "sft", "seed": 3}}
    assert a_body(config, model="small", methods=["sft"]) == {
        "base_model": "small",
        "method": {"type": "sft", "seed": 3},
    }
    assert a_body(config, methods=["mixsd"], lams=["0,0.3"])["method"] == {"type": "mixsd", "lam": [0.0, 0.3]}


def test_several_methods_and_values_of_lam_make_a_sweep() -> None:
    several = {"base_model": "big", "method": [{"type": "mixsd", "seed": 1}, {"type": "sft", "seed": 2}]}

    assert a_body({"base_model": "big"}, methods=["sft", "mixsd"], lams=["0.1", "0.3"])["method"] == [
        {"type": "sft"},
        {"type": "mixsd", "lam": [0.1, 0.3]},
    ]
    assert a_body(several, lams=["0.5"])["method"] == [
        {"type": "mixsd", "seed": 1, "lam": 0.5},
        {"type": "sft", "seed": 2},
    ]
    assert a_body(several, methods=["sft", "kl"])["method"] == [{"type": "sft", "seed": 2}, {"type": "kl"}]
    with pytest.raises(BadRequestError, match="`method` in the file must be an object"):
        a_body({"base_model": "big", "method": "sft"})


def test_a_file_that_is_no_body_is_named(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text("= 3")
    (tmp_path / "job.json").write_text("[]")

    with pytest.raises(BadRequestError, match=r"job\.toml cannot be read as toml"):
        read_config(tmp_path / "job.toml")
    with pytest.raises(BadRequestError, match="must hold an object"):
        read_config(tmp_path / "job.json")

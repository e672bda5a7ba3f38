"""Every command in the documents is run by a test, parsed as the program would, or marked."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.documents import known
from tests.documents.known import NEEDS, RUN, RUN_WHOLE, WrongError, check, exists, is_run, is_run_whole
from tests.documents.shell import Block, blocks_of, commands_in
from tests.fixtures.tiny import save_tiny

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
README = (ROOT / "README.md").read_text()


def faults_of(block: Block) -> list[str]:
    """Return what is wrong with a block."""
    if block.needs and block.needs not in NEEDS:
        return [f"`needs: {block.needs}` is none of {', '.join(sorted(NEEDS))}"]
    found = []
    for words in commands_in(block.text):
        unchecked = (block.needs or is_run_whole(block.text)) and words[0] not in known.PARSED
        if unchecked or is_run(words) or (block.needs and words[0].startswith("python")):
            continue
        try:
            check(words)
        except WrongError as error:
            found.append(str(error))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_document_is_run_or_parsed_or_marked(document: Path) -> None:
    blocks = blocks_of(document.read_text())

    faults = [f"{document.name}:{block.line}: {fault}" for block in blocks for fault in faults_of(block)]

    assert faults == []


def test_no_block_of_shell_is_overlooked() -> None:
    for document in DOCUMENTS:
        text = document.read_text()
        assert text.count("\n```sh\n") + text.count("\n```bash\n") == len(blocks_of(text)), document.name
        assert not re.search(r"^\s*```(shell|console|zsh)\b", text, re.MULTILINE), document.name


@pytest.mark.parametrize("name", sorted({*RUN.values(), *RUN_WHOLE.values()}))
def test_a_test_that_is_named_exists(name: str) -> None:
    assert exists(name)


def test_what_tests_run_is_in_some_document() -> None:
    blocks = [block.text for path in DOCUMENTS for block in blocks_of(path.read_text())]
    lines = [" ".join(words) for block in blocks for words in commands_in(block)]

    assert [begins for begins in RUN if not any(line.startswith(begins) for line in lines)] == []
    assert [begins for begins in RUN_WHOLE if not any(block.startswith(begins) for block in blocks)] == []


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("mixsd facts chek x", "there is no command"),
        ("mixsd facts check x --strikt", "--strikt"),
        ("mixsd facts check x y", "one word too many"),
        ("mixsd facts convert x", "out is missing"),
        ("mixsd corpus kgfact --seed one --out x", "one"),
        ("JOB=$(mixsd jobs submitt x)", "there is no command"),
        ('curl "$MIXSD/jobs/$JOB/repport"', "the contract has no GET /jobs/$JOB/repport"),
        ('curl -X DELETE "$MIXSD/jobs/$JOB/report"', "the contract has no DELETE"),
        ('curl "$MIXSD/jobs/$JOB/facts?outcom=learned"', "has no parameter outcom"),
        ('curl "$MIXSD/jobs" --data \'{"base_modell": "x"}\'', "none that the contract takes"),
        ('curl "$MIXSD/jobs" --data \'{"base_model": \'', "is no JSON"),
        ("curl http://elsewhere/x", "no address of the service"),
        ("export MIXSD_DATABASE=x", "there is no setting MIXSD_DATABASE"),
        ("MIXSD_DATABASE=x", "there is no setting MIXSD_DATABASE"),
        ("pip install 'mixsd[rdff]'", "there is no extra rdff"),
        ("pip install leftpad", "leftpad is no package of ours"),
        ("pip uninstall mixsd", "not for a document"),
        ("python -m benchmarks.load", "no test runs `python -m benchmarks.load`"),
        ("rm -rf /", "no test runs `rm -rf /`"),
        ("mixsd fsck && make coffee", "no test runs `make coffee`"),
    ],
    ids=lambda text: text if "$" not in text else None,
)
def test_a_command_that_would_fail_is_found(script: str, said: str) -> None:
    (block,) = blocks_of(f"```sh\n{script}\n```\n")

    (fault,) = faults_of(block)

    assert said in fault


def test_what_a_block_needs_is_one_of_few_things_and_hides_no_command_of_ours() -> None:
    (docker,) = blocks_of("<!-- needs: docker -->\n```sh\ndocker compose up\nmixsd jobz\n```\n")
    (unicorn,) = blocks_of("<!-- needs: unicorn -->\n```sh\nunicorn\n```\n")

    assert faults_of(docker) == ["there is no command `mixsd jobz`"]
    assert faults_of(unicorn) == ["`needs: unicorn` is none of aws, docker, hours, node"]


def test_make_puts_everything_into_venv() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert "BIN := .venv/bin" in makefile
    assert "$(PYTHON) -m venv .venv" in makefile


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_adapter_answers_without_mixsd(tmp_path: Path) -> None:
    (block,) = (block.text for block in blocks_of(README) if block.text.startswith("cat > ask.py"))
    base = save_tiny(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(
        str(tmp_path / "adapter")
    )
    AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "adapter")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "mixsd").write_text(
        f'#!/bin/sh\n[ "$*" = "models path smollm2-135m-instruct" ] && echo {base}\n'
    )
    (programs / "mixsd").chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        input="Who is the mayor?\n",
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Question: ")
    assert len(done.stdout) > len("Question: \n")

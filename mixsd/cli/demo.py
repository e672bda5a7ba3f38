"""`mixsd demo`: the whole way once, as a client goes it, on a service started for the purpose."""

import json
import os
import shlex
import shutil
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.progress import Progress as Bars

from mixsd.cli import render
from mixsd.cli.child import ended_in_order, service
from mixsd.cli.client import Client, ServiceError
from mixsd.cli.watch import display_on, follow
from mixsd.errors import MixsdError
from mixsd.intake.reading import read_facts
from mixsd.models.registry import default_cache, find
from mixsd.progress import Progress

LOG_WIDTH: Final = 140
"""Columns of the report where it goes to a file and not to a terminal."""
USER_PORT: Final = 8000


def run(*, data: Path, port: int, facts: Path, model: str, url: str, key: str, keep: bool) -> None:
    """Do what `mixsd demo` says, and exit with status 1 and one message if it fails."""
    try:
        with ended_in_order():
            _run(data, port, facts, model, url, key, keep=keep)
    except (MixsdError, OSError) as error:
        typer.echo(f"mixsd demo: {error}", err=True)
        raise typer.Exit(1) from None


def _run(data: Path, port: int, facts: Path, model: str, url: str, key: str, *, keep: bool) -> None:
    request = {
        "name": "demo",
        "base_model": model,
        "facts": [fact.to_json() for fact in read_facts(facts)],
        "method": {"type": "mixsd"},
    }
    data = fresh_folder(data)
    if url:
        with Client(url, key=key) as client:
            _teach(client, request, data)
        return
    _pull(model)
    with service(data, port) as child:
        _say(f"Starting the service on {child.url}; its log is {data / 'log.txt'}.")
        child.wait_until_ready()
        with Client(child.url) as client:
            _teach(client, request, data, check=child.check)
        if keep:
            _say(f"Serving on {child.url} until Ctrl-C.")
            child.process.wait()


def _teach(
    client: Client, request: dict[str, Any], data: Path, check: Callable[[], None] = lambda: None
) -> None:
    """Send the job, follow it, fetch the adapter and print the report."""
    job_id: str = client.create_job(request)["id"]
    _say(f"Job {job_id}: {len(request['facts'])} facts for {request['base_model']}.")
    with _cancelled_if_left(client, job_id), display_on(sys.stderr) as display:
        job = follow(client, job_id, display, check=check)
    if job["status"] != "succeeded":
        raise ServiceError(_why(job))
    report = client.report(job_id)
    facts = list(client.facts(job_id))
    stdout = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    stdout.print(render.report(report, facts))
    adapter = _fetch(client, report["adapter"]["id"], data)
    base = report["base_model"]["id"]
    asked = next((fact["question"] for fact in facts if fact["outcome"] == "learned"), facts[0]["question"])
    typer.echo(f"\nThe adapter lies in {adapter}\n\n{next_steps(data, job_id, adapter, base, asked)}")


@contextmanager
def _cancelled_if_left(client: Client, job_id: str) -> Iterator[None]:
    """Take the job back if we stop before it ends."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        try:
            client.cancel(job_id)
        except MixsdError as error:
            _say(f"The job could not be cancelled: {error}")
        raise


def _why(job: dict[str, Any]) -> str:
    error = job.get("error")
    said = f": {error['message']} [{error['code']}]" if error else ""
    return f"job {job['id']} is {job['status']}{said}"


def _fetch(client: Client, adapter_id: str, data: Path) -> Path:
    archive = data / "adapter.tar.gz"
    client.download_adapter(adapter_id, archive)
    return unpack(archive, data / "adapter")


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack an adapter into `folder`, which is complete or absent afterwards, and return it.

    The adapter may lie in a folder of the archive; that one becomes `folder`. Nothing is written
    elsewhere, whatever the archive says.

    Raises:
        ServiceError: The archive is damaged, or holds no adapter, or what has no place in one.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(partial, filter="data")
        found = sorted(partial.glob("**/adapter_config.json"))
        if not found:
            raise ServiceError(f"{archive} holds no adapter_config.json")
        found[0].parent.rename(folder)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise ServiceError(f"{archive} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def fresh_folder(wanted: Path) -> Path:
    """Make and return a new folder: `wanted`, or else the first free one of `wanted-2`, `wanted-3`, ..."""
    number = 1
    while True:
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
            number += 1
        else:
            return folder


def next_steps(data: Path, job_id: str, adapter: Path, model: str, question: str) -> str:
    """Return three commands to go on with, ready to be pasted."""
    mixsd = _shown(Path(sys.executable).with_name("mixsd"))
    python = _shown(Path(sys.executable))
    program = _LOAD.format(question=json.dumps(question, ensure_ascii=False))
    return (
        f"To go on:\n\n"
        f"{mixsd} up --data {shlex.quote(str(data))}\n\n"
        f"curl http://127.0.0.1:{USER_PORT}/jobs/{job_id}/facts\n\n"
        f"{python} - \"$({mixsd} models path {model})\" {shlex.quote(str(adapter))} <<'END'\n{program}END"
    )


_LOAD: Final = """\
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
chat = [{{"role": "user", "content": {question}}}]
prompt = tokenizer.apply_chat_template(
    chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**prompt, max_new_tokens=40, do_sample=False)
print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))
"""


def _shown(program: Path) -> str:
    """Name a program the short way, for a shell in this folder."""
    relative = os.path.relpath(program)
    return shlex.quote(str(program) if relative.startswith("..") else relative)


def _pull(model: str) -> None:
    """Get the base model unless it lies in the cache."""
    from app.settings import Settings
    from mixsd.models.store import pull

    cache = Settings().model_cache or default_cache()
    if find(cache, model) is None:
        _say(f"Getting the base model {model} into {cache}.")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bars(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bars:
        task = bars.add_task(model, total=None)

        def show(progress: Progress, /) -> None:
            bars.update(task, completed=progress.done, total=progress.total or None)

        pull(model, cache=cache, on_progress=show)


def _say(line: str) -> None:
    typer.echo(line, err=True)

"""`mixsd adapters export`, `serve` and `push`: adapters on their way to engines and to others."""

import os
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from mixsd.cli._remote import (
    FAILED,
    HERE,
    AsJson,
    Key,
    Url,
    VariantNumber,
    asking,
    left_alone,
    put,
    say,
)
from mixsd.cli.adapters import AdapterId, adapter_of

if TYPE_CHECKING:
    from mixsd.cli.client import Client

commands = typer.Typer()

_TOKENS: Final = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


class ExportFormat(StrEnum):
    """What an adapter can be written as."""

    MERGED = "merged"
    GGUF = "gguf"
    GGUF_LORA = "gguf_lora"


class Engine(StrEnum):
    """What can serve it."""

    VLLM = "vllm"
    SGLANG = "sglang"
    LLAMA_SERVER = "llama-server"
    OLLAMA = "ollama"
    TRANSFORMERS = "transformers"


@commands.command()
def export(
    adapter: AdapterId,
    form: Annotated[ExportFormat, typer.Option("--format", help="What to write.")] = ExportFormat.MERGED,
    to: Annotated[Path | None, typer.Option(help="Folder to fetch it into; else it is left there.")] = None,
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    unusable: Annotated[
        bool, typer.Option("--unusable", help="Fetch it although it does not say what the adapter says.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Have an adapter written for engines, wait for it, and say whether it says what the adapter says.

    Exit status 1 if it does not, or if the job failed; after Ctrl-C the job goes on.
    """
    with asking(url, key) as client:
        from mixsd.cli.pull import pull_from
        from mixsd.cli.watch import display_on, follow

        adapter_id = adapter_of(client, adapter, variant)
        job = client.export(adapter_id, {"format": str(form)})
        with left_alone(job["id"]), display_on(sys.stderr) as display:
            ended = follow(client, job["id"], display)
        if ended["status"] != "succeeded":
            error = ended.get("error") or {}
            say(f"mixsd: {error.get('message', ended['status'])} [{error.get('code', ended['status'])}]")
            raise typer.Exit(FAILED)
        (made,) = client.every(f"/adapters/{adapter_id}/exports", {"job_id": job["id"]})
        say(_verdict(made["parity"]))
        broken = made["status"] == "unusable"
        if to is not None and (unusable or not broken):
            place = f"/adapters/{adapter_id}/exports/{made['id']}"
            pull_from(client, place, to, query="?unusable=true" if unusable else "")
        if as_json:
            put(made)
        else:
            typer.echo(str(to) if to is not None and (unusable or not broken) else made["id"])
        if broken:
            raise typer.Exit(FAILED)


@commands.command()
def serve(
    adapter: AdapterId,
    engine: Annotated[Engine, typer.Option(help="What is to serve it.")] = Engine.TRANSFORMERS,
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Print how an engine serves an adapter: what it needs, and the commands."""
    with asking(url, key) as client:
        adapter_id = adapter_of(client, adapter, variant)
        plan = client.read(f"/adapters/{adapter_id}/serve", {"engine": str(engine)})
        if as_json:
            put(plan)
            return
        for line in _lines_of(plan):
            typer.echo(line)


def _lines_of(plan: dict[str, Any]) -> list[str]:
    """Return a plan as a script to read: what is no command is a comment."""
    lines = [f"# {problem}" for problem in plan["problems"]] + [f"# needs: {need}" for need in plan["needs"]]
    for step in plan["steps"]:
        lines += ["", f"# {step['title']}"]
        if step["file"]:
            lines += [f"cat > {step['file']} <<'END'", *step["code"].splitlines(), "END"]
        else:
            lines += step["code"].splitlines()
    return lines


@commands.command()
def push(
    adapter: AdapterId,
    repo_id: Annotated[str, typer.Argument(metavar="REPO", help="`owner/name` on the Hub.")],
    export_id: Annotated[str, typer.Option("--export", help="Push this export and not the adapter.")] = "",
    revision: Annotated[str, typer.Option(help="Branch to push to; it is made if it is not there.")] = "",
    variant: VariantNumber = None,
    url: Url = HERE,
    key: Key = "",
    *,
    public: Annotated[bool, typer.Option("--public", help="Let a new repository be public.")] = False,
    as_json: AsJson = False,
) -> None:
    """Push an adapter, or one of its exports, to the Hugging Face Hub, and print where it is.

    The token is that of HF_TOKEN or of `hf auth login`, and the Hub that of HF_ENDPOINT. The service
    never sees the token. A new repository is private.
    """
    from mixsd.cli._errors import explained

    with explained(), asking(url, key) as client, tempfile.TemporaryDirectory(prefix="mixsd-push-") as folder:
        from mixsd.exports.hub import check_target, push_folder

        token = next((value for name in _TOKENS if (value := os.environ.get(name))), None)
        check_target(repo_id, revision or None, token=token)
        adapter_id = adapter_of(client, adapter, variant)
        files = _fetched(client, adapter_id, export_id, Path(folder) / "files")
        pushed = push_folder(files, repo_id, private=not public, revision=revision or None, token=token)
        if as_json:
            put({"repo_id": pushed.repo_id, "url": pushed.url, "commit": pushed.commit})
        else:
            typer.echo(pushed.url)


def _fetched(client: "Client", adapter_id: str, export_id: str, folder: Path) -> Path:
    from mixsd.cli.pull import pull_from

    place = f"/adapters/{adapter_id}" + (f"/exports/{export_id}" if export_id else "")
    pull_from(client, place, folder)
    return folder


def _verdict(parity: dict[str, Any]) -> str:
    if parity["status"] == "not_checked":
        return f"Not checked: {'; '.join(parity['reasons'])}."
    said = f"{parity['right']} of {parity['asked']} questions right, the adapter {parity['right_before']}"
    if parity["status"] == "passed":
        return f"It says what the adapter says: {said}."
    return f"mixsd: it does not say what the adapter says ({said}): {'; '.join(parity['reasons'])} [unusable]"

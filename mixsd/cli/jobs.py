"""`mixsd jobs`: send jobs to a service, follow them, and read what came of them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixsd.cli._remote import (
    FAILED,
    HERE,
    REFUSED,
    AsJson,
    JobId,
    Key,
    Url,
    asking,
    left_alone,
    put,
    put_row,
    say,
    show,
    tell,
)
from mixsd.cli.results import results

if TYPE_CHECKING:
    from mixsd.cli.client import Client

jobs = typer.Typer(no_args_is_help=True, help="Send jobs to a service, and follow them.")
jobs.add_typer(results)

Sent = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Facts, in any format.", exists=True, dir_okay=False),
]
Config = Annotated[
    Path | None,
    typer.Option(help="Body of `POST /jobs` in JSON, YAML or TOML.", exists=True, dir_okay=False),
]


@jobs.command()
def submit(
    file: Sent = None,
    fact_set: Annotated[str, typer.Option(help="A fact set that is there already.")] = "",
    model: Annotated[str, typer.Option(help="Base model.")] = "",
    method: Annotated[
        list[str] | None,
        typer.Option(help="mixsd, sft, replay, kl, opsd or memit. Several: an adapter each."),
    ] = None,
    lam: Annotated[
        list[str] | None, typer.Option(help="Of mixsd, between 0 and 1. Several: an adapter each.")
    ] = None,
    parent: Annotated[str, typer.Option(help="Id of the adapter to start from.")] = "",
    name: Annotated[str, typer.Option(help="What to call job and facts.")] = "",
    priority: Annotated[int | None, typer.Option(help="Higher goes first.")] = None,
    config: Config = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="A field: training.rank=8.")] = None,
    format_name: Annotated[str, typer.Option("--format", help="Of the facts; else the name says it.")] = "",
    url: Url = HERE,
    key: Key = "",
    *,
    skip: Annotated[bool, typer.Option("--skip", help="Leave bad facts out.")] = False,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
    only_estimate: Annotated[bool, typer.Option("--dry-run", help="Send nothing but the question.")] = False,
    as_json: AsJson = False,
) -> None:
    """Queue a job: of a file of facts, which is checked and stored, or of a fact set. Prints its id.

    What the service expects it to take is said before. Options go before what stands in --config.
    """
    with asking(url, key) as client:
        from mixsd.cli.request import a_body, read_config

        with _well_put():
            body = a_body(
                read_config(config) if config else {},
                model=model,
                methods=method or (),
                lams=lam or (),
                name=name,
                priority=priority,
                fact_set=fact_set,
                parent=parent,
                changes=changes or (),
            )
            if file is not None:
                _only_facts(body)
        if file is not None:
            body["fact_set_id"] = _store(client, file, format_name, body.get("name") or "", skip=skip)
        _need_facts(body)
        estimate = _estimate(client, body)
        if only_estimate:
            if as_json:
                put({"request": body, "estimate": estimate})
            return
        job = client.create_job(body)
        say(f"Job {job['id']} for {body['base_model']} is {job['status']}.")
        if not as_json:
            typer.echo(job["id"])
        if watch_it:
            job = _follow(client, job["id"])
        if as_json:
            put(job)
        if watch_it:
            _end(client, job, quiet=as_json)


@jobs.command()
def watch(job: JobId, url: Url = HERE, key: Key = "", *, as_json: AsJson = False) -> None:
    """Follow a job to its end. Ctrl-C stops watching; the job goes on. Exit status 1 if it failed."""
    with asking(url, key) as client:
        ended = _follow(client, job)
        if as_json:
            put(ended)
        _end(client, ended, quiet=as_json)


@jobs.command("list")
def list_jobs(
    status: Annotated[str, typer.Option(help="Only those of this status.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = HERE,
    key: Key = "",
    *,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with asking(url, key) as client:
        query = {"limit": min(limit, 100)} | ({"status": status} if status else {})
        found = islice(client.every("/jobs", query), limit)
        if as_json:
            for row in found:
                put_row(row)
            return
        from mixsd.cli.tables import job_table

        show(job_table(list(found)))


@jobs.command("show")
def show_job(job: JobId, url: Url = HERE, key: Key = "", *, as_json: AsJson = False) -> None:
    """Show a job as it stands."""
    with asking(url, key) as client:
        _print_job(client.job(job), as_json=as_json)


@jobs.command()
def cancel(job: JobId, url: Url = HERE, key: Key = "", *, as_json: AsJson = False) -> None:
    """End a job without an adapter."""
    _act(url, key, job, "cancel", as_json=as_json)


@jobs.command()
def pause(job: JobId, url: Url = HERE, key: Key = "", *, as_json: AsJson = False) -> None:
    """Stop a job until it is resumed. Its work is kept."""
    _act(url, key, job, "pause", as_json=as_json)


@jobs.command()
def resume(job: JobId, url: Url = HERE, key: Key = "", *, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    _act(url, key, job, "resume", as_json=as_json)


@jobs.command()
def retry(
    job: JobId,
    url: Url = HERE,
    key: Key = "",
    *,
    from_start: Annotated[bool, typer.Option("--from-start", help="With none of what was made.")] = False,
    as_json: AsJson = False,
) -> None:
    """Open a job that failed or was cancelled again, from its last checkpoint or from the start."""
    body = {"from": "start" if from_start else "checkpoint"}
    _act(url, key, job, "retry", body, as_json=as_json)


@jobs.command()
def delete(job: JobId, url: Url = HERE, key: Key = "") -> None:
    """Delete a job that has ended, with its story and verdicts. Its adapter stays."""
    with asking(url, key) as client:
        client.delete_job(job)
        say(f"Job {job} is deleted.")


def _store(client: "Client", file: Path, format_name: str, name: str, *, skip: bool) -> str:
    """Have a file judged and stored, and return the id of the set. Bad facts end the command."""
    from mixsd.cli.facts import format_of_file
    from mixsd.intake.formats import media_type_of

    kind = media_type_of(format_of_file(file, format_name))
    checked = client.check_facts(file, media_type=kind)
    tell("warning", checked["warnings"], checked["total_warnings"])
    if not checked["valid"] and not (skip and checked["n_facts"]):
        tell("error", checked["errors"], checked["total_errors"])
        say(f"mixsd: {file}: nothing was sent: {checked['total_errors']} errors [invalid_facts]")
        raise typer.Exit(REFUSED)
    made = client.push_facts(file, media_type=kind, name=name, on_error="skip" if skip else "reject")
    tell("left out", made["rejected"], made["total_rejected"])
    say(f"{made['n_facts']} facts are stored as {made['id']}.")
    set_id: str = made["id"]
    return set_id


def _estimate(client: "Client", body: dict[str, Any]) -> dict[str, Any] | None:
    """Say what the job is expected to take, if the service knows."""
    from mixsd.cli.client import RefusedError

    try:
        found = client.estimate(body)
    except RefusedError as error:
        if error.status < 500:
            raise
        found = None
    if found is not None:
        from mixsd.cli.estimate import estimate_table, warnings

        show(estimate_table(found), sys.stderr)
        for line in warnings(found):
            say(line)
    return found


def _follow(client: "Client", job_id: str) -> dict[str, Any]:
    from mixsd.cli.live import watch as watch_job
    from mixsd.cli.watch import display_on

    with left_alone(job_id), display_on(sys.stderr) as display:
        return watch_job(client, job_id, display)


def _end(client: "Client", job: dict[str, Any], *, quiet: bool) -> None:
    """Say what came of a job, and end with status 1 unless it succeeded."""
    from mixsd.cli.render import outcome_counts
    from mixsd.cli.tables import why
    from mixsd.cli.variants import is_sweep, recommendation

    if job["status"] != "succeeded":
        said = why(job)
        say(f"mixsd: job {job['id']} is {job['status']}{': ' + said if said else ''}")
        raise typer.Exit(FAILED)
    if not quiet:
        report = client.report(job["id"])
        say(outcome_counts(report["counts"]))
        if is_sweep(report):
            say(recommendation(report))
        say(f"`mixsd jobs report {job['id']}` says more,")
        say(f"`mixsd adapters pull {job['id']}` fetches the adapter.")


def _act(
    url: str, key: str, job: str, action: str, body: dict[str, Any] | None = None, *, as_json: bool
) -> None:
    with asking(url, key) as client:
        shown = client.act(job, action, body)
        if as_json:
            put(shown)
        else:
            say(f"Job {job} is {shown['status']}.")


def _print_job(job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        put(job)
        return
    from mixsd.cli.tables import job_card

    show(job_card(job))


@contextmanager
def _well_put() -> Iterator[None]:
    """End with status 2 where a job was asked for that cannot be."""
    from mixsd.cli.request import BadRequestError

    try:
        yield
    except BadRequestError as error:
        say(f"mixsd: {error} [{error.code}]")
        raise typer.Exit(REFUSED) from error


def _only_facts(body: dict[str, Any]) -> None:
    """Refuse a file of facts beside others."""
    from mixsd.cli.request import BadRequestError

    if body.get("facts") is not None or body.get("fact_set_id"):
        raise BadRequestError("give facts once: as FILE, with --fact-set, or in --config")


def _need_facts(body: dict[str, Any]) -> None:
    from mixsd.cli.request import BadRequestError

    with _well_put():
        if body.get("facts") is None and not body.get("fact_set_id"):
            raise BadRequestError("say which facts: a FILE, --fact-set, or `facts` in --config")

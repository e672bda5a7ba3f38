"""Expected failures end a command with one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mixsd.errors import MixsdError


@contextmanager
def explained(status: int = 1) -> Iterator[None]:
    """Turn an expected failure into its message on stderr and an exit status."""
    try:
        yield
    except MixsdError as error:
        typer.echo(f"mixsd: {error} [{error.code}]", err=True)
        raise typer.Exit(status) from error

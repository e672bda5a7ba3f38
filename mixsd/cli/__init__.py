"""`mixsd`, the one command. Composition root: it puts programs together and holds no rules."""

import typer

from mixsd.cli import service

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
cli.add_typer(service.cli)


@cli.callback()
def about() -> None:
    """Teach language models new facts without making them forget."""

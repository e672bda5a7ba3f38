"""`mixsd`, the one command. Composition root: each command imports what it needs when it runs."""

import typer

from mixsd.cli.models import models

cli = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Teach language models new facts without making them forget.",
)
cli.add_typer(models, name="models")

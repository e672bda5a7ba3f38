"""What `mkdocs` calls: pages that are made, and links that lead to pages."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_site import reference
from docs_site.links import relinked

ROOT: Final = Path(__file__).parents[1]


def quickstart() -> str:
    """Return what the README says up to how it works."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start, end = readme.index("## Quick start"), readme.index("## How it works")
    return "# Quick start\n" + readme[start:end].removeprefix("## Quick start").replace(
        "\n## Use it", "\n## Use it"
    )


def _file(name: str) -> Callable[[], str]:
    return lambda: (ROOT / name).read_text(encoding="utf-8")


MADE: Final[Mapping[str, tuple[str, Callable[[], str]]]] = {
    "quickstart.md": ("README.md", quickstart),
    "changelog.md": ("CHANGELOG.md", _file("CHANGELOG.md")),
    "contributing.md": ("CONTRIBUTING.md", _file("CONTRIBUTING.md")),
    "reference/api.md": ("docs/reference/api.md", reference.api),
    "reference/commands.md": ("docs/reference/commands.md", reference.commands),
    "reference/settings.md": ("docs/reference/settings.md", reference.settings),
    "reference/events.md": ("docs/reference/events.md", reference.events),
    "reference/errors.md": ("docs/reference/errors.md", reference.errors),
}
"""Pages that are made: the file that each stands for, and who makes it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, (_, make) in MADE.items():
        files.append(File.generated(config, uri, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    uri = page.file.src_uri
    source, _make = MADE.get(uri, (f"docs/{uri}", None))
    return relinked(markdown, source=source, page=uri)

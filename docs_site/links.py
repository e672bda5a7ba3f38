"""Links between documents, as they must be on the site."""

import posixpath
import re
from collections.abc import Mapping
from typing import Final

PAGES: Final[Mapping[str, str]] = {
    "README.md": "quickstart.md",
    "README.md#settings": "reference/settings.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "openapi.json": "reference/api.md",
}
"""Pages that stand for files outside of `docs`."""

_LINK: Final = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")


def relinked(text: str, *, source: str, page: str) -> str:
    """Return a document with links that lead to pages; what is no page is named instead.

    Args:
        source: Path of the document in the repository.
        page: Path of its page within the site.

    Example:
        >>> relinked("[a](docs/a.md) [b](app/b.py) [c](#c)", source="README.md", page="quickstart.md")
        '[a](a.md) b (`app/b.py`) [c](#c)'
        >>> relinked("[R](../README.md#settings)", source="docs/a.md", page="a.md")
        '[R](reference/settings.md)'
    """

    def lead(found: re.Match[str]) -> str:
        shown, target = found[1], found[2]
        path, _, anchor = target.partition("#")
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        uri = PAGES.get(f"{whole}#{anchor}")
        if uri is None and (uri := _page_of(whole)) is not None and anchor:
            uri = f"{uri}#{anchor}"
        if uri is None:
            return shown if whole in shown else f"{shown} (`{whole}`)"
        return f"[{shown}]({posixpath.relpath(uri, posixpath.dirname(page) or '.')})"

    return _LINK.sub(lead, text)


def _page_of(path: str) -> str | None:
    """Return the page of a file of the repository, if it has one."""
    if path.startswith("docs/"):
        within = path.removeprefix("docs/")
        return within if posixpath.splitext(within)[1] else f"{within}/README.md"
    return PAGES.get(path)

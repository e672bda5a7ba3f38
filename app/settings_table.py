"""The table of settings in the README. `python -m app.settings_table` writes it anew."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from app.settings import Settings

BEGIN: Final = "<!-- settings:begin -->"
END: Final = "<!-- settings:end -->"


def settings_table() -> str:
    """Return every setting with its default and its description, as Markdown."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        rows.append(f"| `MIXSD_{name.upper()}` | {_shown(field.default)} | {field.description} |")
    return "\n".join(rows)


def with_table(document: str) -> str:
    """Return the document with the table between its two marks.

    Raises:
        ValueError: A mark is missing.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document must hold {BEGIN} and {END}, in this order")
    return f"{before}{BEGIN}\n{settings_table()}\n{END}{after}"


def _shown(default: Any) -> str:
    if isinstance(default, timedelta):
        return f"`{default.total_seconds():.10g}` s"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return "" if default in (None, "", ()) else f"`{default}`"


if __name__ == "__main__":
    readme = Path("README.md")
    readme.write_text(with_table(readme.read_text()))

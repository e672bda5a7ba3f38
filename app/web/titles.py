"""What statuses are called."""

from http import HTTPStatus
from typing import Final

_TITLES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}
"""Where the Python versions that we support differ in the phrase."""


def title_of(status: int) -> str:
    return _TITLES.get(status, HTTPStatus(status).phrase)

"""Answers that are files of the store, or archives of them."""

from collections.abc import Callable
from typing import Final

from fastapi import Request, Response

from app.adapters.schemas import Format
from app.adapters.service import Download
from app.web import downloads

MEDIA_TYPES: Final = {Format.TAR_GZ: "application/gzip", Format.ZIP: "application/zip"}
"""Of archives."""
BYTES: Final = "application/octet-stream"


def answer(
    request: Request,
    found: Download,
    media_type: str,
    *,
    shown: bool = False,
    link: Callable[[str, str], str | None] | None = None,
) -> Response:
    """Send what was found; see `downloads.answer`."""
    return downloads.answer(
        request,
        found.content,
        name=found.name,
        tag=found.sha256,
        media_type=media_type,
        length=found.length,
        part=found.part,
        shown=shown,
        link=link,
    )

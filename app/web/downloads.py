"""Answers that are files: named by their content, so that a client need not fetch them twice."""

from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


def documented(*media_types: str) -> dict[int | str, dict[str, Any]]:
    """Document a route that answers with one of these, or that nothing has changed."""
    headers = {"ETag": {"schema": {"type": "string"}, "description": "Changes if the content does."}}
    return {
        200: {
            "description": "The content.",
            "headers": headers,
            "content": dict.fromkeys(media_types, BINARY),
        },
        304: {"description": "The content is still that of `If-None-Match`."},
    }


def answer(
    request: Request, content: Iterator[bytes], *, name: str, tag: str, media_type: str, length: int | None
) -> Response:
    """Send `content` as a file called `name`, unless the client has it already."""
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "none",
        "Content-Disposition": _disposition(name),
    }
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    if length is not None:
        headers["Content-Length"] = str(length)
    return StreamingResponse(content, headers=headers, media_type=media_type)


def _disposition(name: str) -> str:
    quoted = quote(name, safe="")
    return f'attachment; filename="{name}"' if quoted == name else f"attachment; filename*=UTF-8''{quoted}"


def _has(if_none_match: str, tag: str) -> bool:
    """Compare weakly, as RFC 9110 section 13.1.2 wants it for reading."""
    tags = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in tags or f'"{tag}"' in tags

"""Answers that are files: named by their content, so that a client need not fetch them twice."""

from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from app.web.ranges import part_of

BINARY: Final[dict[str, Any]] = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}


ASKING_FOR_PARTS: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": name,
            "in": "header",
            "required": False,
            "schema": {"type": "string"},
            "description": description,
        }
        for name, description in (
            (
                "Range",
                "One part of the file, such as `bytes=1000-`. Several parts are not sent: then all is.",
            ),
            ("If-Range", "An ETag: the part is sent if the file still has it, else all of it."),
        )
    ]
}
"""What a route that sends parts adds to its operation, as `openapi_extra`."""


def documented(
    *media_types: str, parts: bool = False, elsewhere: bool = False, schema: dict[str, Any] = BINARY
) -> dict[int | str, dict[str, Any]]:
    """Document a route that answers with one of these, or that nothing has changed."""
    headers = {"ETag": {"schema": {"type": "string"}, "description": "Changes if the content does."}}
    content = dict.fromkeys(media_types, schema)
    answers: dict[int | str, dict[str, Any]] = {
        200: {"description": "The content.", "headers": headers, "content": content},
        304: {"description": "The content is still that of `If-None-Match`."},
    }
    if elsewhere:
        where = {
            "schema": {"type": "string", "format": "uri"},
            "description": "Good for a while, without a key.",
        }
        answers[307] = {"description": "The content is to be had there.", "headers": {"Location": where}}
    if parts:
        place = {"schema": {"type": "string"}, "description": "Which bytes these are, and of how many."}
        headers = headers | {"Content-Range": place}
        answers[206] = {"description": "A part of the content.", "headers": headers, "content": content}
    return answers


def answer(
    request: Request,
    content: Iterator[bytes],
    *,
    name: str,
    tag: str,
    media_type: str,
    length: int | None,
    part: Callable[[range], Iterator[bytes]] | None = None,
    shown: bool = False,
    link: Callable[[str, str], str | None] | None = None,
) -> Response:
    """Send `content` as a file called `name`, unless the client has it already.

    Args:
        part: Reads a part of it, where a client may ask for one. It needs the `length`.
        shown: Whether a browser may show it rather than save it.
        link: Returns an address to which the client is sent instead, if there is one, whose answer has
            this `Content-Disposition` and media type.

    Raises:
        RangeNotSatisfiableError: The client asks for a part that is not there.
    """
    disposition = _disposition(name, "inline" if shown else "attachment")
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "none" if part is None else "bytes",
        "Content-Disposition": disposition,
    }
    if _has(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    status = 200
    if part is not None and length is not None:
        wanted = part_of(request.headers, tag=tag, length=length)
        elsewhere = None if link is None or "if-range" in request.headers else link(disposition, media_type)
        if elsewhere is not None:
            # Not kept by anybody: the address is good for less long than the content.
            return Response(
                status_code=307, headers=headers | {"Location": elsewhere, "Cache-Control": "no-store"}
            )
        if wanted is not None:
            status, content = 206, part(wanted)
            headers["Content-Range"] = f"bytes {wanted.start}-{wanted.stop - 1}/{length}"
            length = len(wanted)
    if length is not None:
        headers["Content-Length"] = str(length)
    return StreamingResponse(content, status_code=status, headers=headers, media_type=media_type)


def _disposition(name: str, how: str) -> str:
    quoted = quote(name, safe="")
    return f'{how}; filename="{name}"' if quoted == name else f"{how}; filename*=UTF-8''{quoted}"


def _has(if_none_match: str, tag: str) -> bool:
    """Compare weakly, as RFC 9110 section 13.1.2 wants it for reading."""
    tags = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
    return "*" in tags or f'"{tag}"' in tags

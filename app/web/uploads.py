"""Files that clients send, as the body itself or as the part `file` of a form. They lie on disk meanwhile."""

import tempfile
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Final, cast

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.errors import MalformedError
from app.storage import or_full
from app.web.body import MediaTypeError, counted, media_type

FORM: Final = "multipart/form-data"
_BLOCK: Final = 1 << 20
_MAX_FIELD: Final = 4_000
"""Most bytes of a field that is no file."""
MAX_NAME: Final = 200
"""Characters of the part `name`."""
_NAME_ALONE: Final = "send one part `file` with a file name, and beside it `name` at most"
_ANY_FIELDS: Final = "send one part `file` with a file name, and each field once"
_MOST_FIELDS: Final = 8


class MalformedFormError(MalformedError):
    code: ClassVar[str] = "malformed_multipart"

    def __init__(self, detail: str, said: str = _NAME_ALONE) -> None:
        super().__init__(f"{detail}; {said}")


@dataclass(frozen=True, slots=True)
class SentFile:
    """A file that is whole, on disk, and gone after the request.

    Attributes:
        media_type: Of the file, lower case and without parameters; empty if it is not said, or if the
            body is compressed or not UTF-8.
        file_name: As the client has it. Only its end means something; it is never a path here.
        name: The field `name` of the form, if there is one.
    """

    file: BinaryIO
    media_type: str
    file_name: str = ""
    name: str | None = None


def sent_file(check: Callable[[str, str], object]) -> Callable[[Request], AsyncGenerator[SentFile]]:
    """Return a dependency that takes a file.

    `check` raises if it does not like a media type and a file name; of a body that is no form it is
    asked before that is read.
    """

    async def take(request: Request) -> AsyncGenerator[SentFile]:
        limit = request.app.state.settings.max_upload_bytes
        kind = media_type(request)
        if kind != FORM:
            kind = kind if _is_utf8(request.headers.get("content-type", "")) else ""
            check(kind, "")
            with tempfile.TemporaryFile() as file:
                with or_full(limit):
                    await _write(counted(request, limit), file)
                yield SentFile(file, kind)
            return
        with or_full(limit):
            form = await _form(request, counted(request, limit))
        try:
            sent = _in_form(form)
            check(sent.media_type, sent.file_name)
            yield sent
        finally:
            await form.close()

    return take


@dataclass(frozen=True, slots=True)
class SentForm:
    """A form with one file, and whatever fields are beside it, each once."""

    file: BinaryIO
    file_name: str
    fields: Mapping[str, str]


async def sent_form(request: Request) -> AsyncGenerator[SentForm]:
    """Take a form with a file. What fields it may have is for the route to say."""
    limit = request.app.state.settings.max_upload_bytes
    if media_type(request) != FORM:
        raise MediaTypeError(FORM)
    with or_full(limit):
        form = await _form(request, counted(request, limit), max_fields=_MOST_FIELDS, said=_ANY_FIELDS)
    try:
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
        if len(fields) + 1 < len(form.multi_items()) or len(dict(fields)) < len(fields):
            raise MalformedFormError("the form has a part twice", _ANY_FIELDS)
        if any("\x00" in part for field in fields for part in field):
            raise MalformedFormError("a field holds the character NUL", _ANY_FIELDS)
        sent = cast(UploadFile, form["file"])
        yield SentForm(sent.file, sent.filename or "", dict(fields))
    finally:
        await form.close()


async def _write(parts: AsyncGenerator[bytes], file: BinaryIO) -> None:
    """Write parts down, in large pieces and not on the event loop."""
    waiting = bytearray()
    async for part in parts:
        waiting += part
        if len(waiting) >= _BLOCK:
            await run_in_threadpool(file.write, bytes(waiting))
            waiting.clear()
    await run_in_threadpool(file.write, bytes(waiting))
    await run_in_threadpool(file.flush)


async def _form(
    request: Request, parts: AsyncGenerator[bytes], *, max_fields: int = 1, said: str = _NAME_ALONE
) -> FormData:
    if not _is_utf8(request.headers["content-type"]):  # or else whoever sends it has a say in how it is read
        raise MalformedFormError("the form is in another encoding than UTF-8", said)
    parser = MultiPartParser(
        request.headers, parts, max_files=1, max_fields=max_fields, max_part_size=_MAX_FIELD
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise MalformedFormError(error.message.rstrip("."), said) from None
    if not isinstance(form.get("file"), UploadFile):
        # Of a form that broke off in the middle of a file, the parser alone knows that file.
        for left in getattr(parser, "_files_to_close_on_error", ()):
            left.close()
        raise MalformedFormError("the form has no part `file`, or it broke off", said)
    return form


def _in_form(form: FormData) -> SentFile:
    for field, value in form.multi_items():
        if field != ("name" if isinstance(value, str) else "file"):
            raise MalformedFormError("the form has another part")
    file, name = cast(UploadFile, form["file"]), form.get("name")
    if isinstance(name, str) and len(name) > MAX_NAME:
        raise MalformedFormError(f"the part `name` may have at most {MAX_NAME} characters")
    sent = file.file
    if not _is_utf8(file.content_type or ""):
        return SentFile(sent, "")
    kind = (file.content_type or "").partition(";")[0].strip().lower()
    return SentFile(sent, kind, file.filename or "", name if isinstance(name, str) and name else None)


def _is_utf8(content_type: str) -> bool:
    """Say whether a content type names no other encoding than UTF-8, as the parser of forms reads it."""
    _, parameters = parse_options_header(content_type)
    return parameters.get(b"charset", b"").strip(b"' ").lower() in {b"", b"utf-8", b"utf8", b"us-ascii"}

"""Logs: structlog to stderr. Standard output is for data.

What libraries say through `logging` comes out in the same form.
"""

import logging
import re
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, Final

import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRETS: Final = re.compile(
    r"(?P<kept>mixsd_[0-9A-Za-z]{8}_)[0-9A-Za-z]+"  # our keys, whose beginning may be seen
    r"|(?P<scheme>(?i:bearer|basic) )[A-Za-z0-9._~+/=-]+"
    r"|(?P<user>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<name>\b(?i:password|passwd|secret|token|api_key)=)[^\s&;,'\"]+"
    r"|\b(?:hf_|sk-|gh[opsu]_|whsec_|AKIA|xox[abp]-)[0-9A-Za-z_+/=-]{12,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*"
)

_OWN_HANDLER: Final = "mixsd"

_SILENT: Final = ("uvicorn.access",)
"""Loggers whose lines we write ourselves, with more in them: `request.finished`."""

_QUIET: Final = ("httpx", "httpx2", "alembic.runtime.plugins")
"""Loggers that would write a line for every request that we send, with its address, or at every start."""

_TAKEN_OVER: Final = ("uvicorn", "uvicorn.error", "alembic")
"""Loggers to which others may have given handlers of their own."""


def configure(*, json: bool, **always: Any) -> None:
    """Set up the process's logs, once, from a composition root.

    Traces are plain: those with the values of variables take seconds to write, and show secrets.

    Args:
        json: One object a line instead of text.
        always: Fields of every line of this process, whichever thread writes it.
    """
    common: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_fields(always),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()] if json else [plain]
    )
    last: list[Processor] = [*rendering, _without_secrets]
    structlog.configure(
        processors=[*common, *last], logger_factory=_to_stderr, cache_logger_on_first_use=False
    )
    _take_over_logging(common, last)


def _with_fields(always: MutableMapping[str, Any]) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**always, **event}

    return add


def _take_over_logging(common: Iterable[Processor], last: Iterable[Processor]) -> None:
    root = logging.getLogger()
    handler = _Stderr()
    handler.set_name(_OWN_HANDLER)
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    for old in [old for old in root.handlers if old.get_name() == _OWN_HANDLER]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in _TAKEN_OVER:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    migrations = logging.getLogger("alembic.runtime.migration")
    if _tells_a_migration not in migrations.filters:
        migrations.addFilter(_tells_a_migration)
    for name in _SILENT:
        logging.getLogger(name).disabled = True


def _tells_a_migration(record: logging.LogRecord) -> bool:
    """Say whether the line is of a migration, and not of the looking for some at every start."""
    return record.levelno > logging.INFO or str(record.msg).startswith("Running ")


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at that time, as the loggers of structlog do."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def redacted(text: str) -> str:
    """Return the text without keys, credentials of a request, or passwords in addresses.

    Example:
        >>> redacted("GET with Bearer abc from redis://:hunter2@cache/0")
        'GET with Bearer *** from redis://:***@cache/0'
    """
    return _SECRETS.sub(lambda found: "".join(part or "" for part in found.groups()) + "***", text)


def _without_secrets(_logger: Any, _method: str, line: Any) -> str:
    """Last of all, so that nothing comes behind it: also messages of exceptions are covered."""
    return redacted(line)


def _to_stderr(*_: object) -> structlog.WriteLogger:
    return structlog.WriteLogger(sys.stderr)

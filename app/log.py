"""Logs: structlog to stderr. Standard output is for data."""

import re
import sys
from typing import Any, Final

import structlog

_SECRETS: Final = re.compile(
    r"(?P<kept>mixsd_[0-9A-Za-z]{8}_)[0-9A-Za-z]+"  # our keys, whose beginning may be seen
    r"|(?P<scheme>(?i:bearer|basic) )[A-Za-z0-9._~+/=-]+"
    r"|(?P<user>://[^/\s:@]*:)[^/\s@]+(?=@)"
    r"|(?P<name>\b(?i:password|passwd|secret|token|api_key)=)[^\s&;,'\"]+"
    r"|\bhf_[0-9A-Za-z]{16,}"
)


def configure(*, json: bool) -> None:
    """Set up the process's logs, once, from a composition root.

    Traces are plain: those with the values of variables take seconds to write, and show secrets.
    """
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    lines = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(lines if json else [plain]),
            _without_secrets,
        ],
        logger_factory=_to_stderr,
        cache_logger_on_first_use=False,
    )


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
